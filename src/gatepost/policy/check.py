"""What a check is: a name, its steps (a pure function for each stage it has a say in), its settings and defaults.

Adding one is a module in `policy/checks/` and a line in `policy/registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gatepost.policy.facts import RcptFacts, Service, Stage
from gatepost.policy.verdict import Mode, Verdict


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every check's table may hold. mode: None for the check's default of each service. services: where it
    runs, when that is to be more or less than the default."""

    mode: Mode | None = None
    services: tuple[Service, ...] | None = None


class Step(msgspec.Struct, frozen=True):
    """A check's part in one stage.

    decide: (facts of the stage, settings) to a verdict, or None to let it pass; pure. needs: fields of the facts that
    must have been gathered. reads: fields (dotted below `session`) that the record shows beside a verdict.
    only_noted: for what much honest mail does wrong; it stays in shadow whatever the check's mode is.
    last: it runs after the steps of other checks in its stage, because its facts count something: what another check
    refuses is not counted.
    """

    stage: Stage
    decide: Callable[[Any, Any], Verdict | None]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    only_noted: bool = False
    last: bool = False


class Check(msgspec.Struct, frozen=True):
    """One security decision.

    name: as in configuration, record, metrics and manual. summary: one line for `policy list`. defaults: the mode in
    each service; absent means it does not run there. strangers_only: it never runs for a peer that may relay.
    optional: False for what no setting removes.
    """

    name: str
    summary: str
    steps: tuple[Step, ...]
    defaults: Mapping[Service, Mode]
    settings: CheckSettings = CheckSettings()
    strangers_only: bool = False
    optional: bool = True

    def mode_for(self, service: Service, settings: CheckSettings) -> Mode:
        """The mode in `service`: the settings where they say something, else the default."""
        if not self.optional:
            return self.defaults.get(service, "off")
        if settings.services is not None:
            if service not in settings.services:
                return "off"
            return settings.mode or self.defaults.get(service, "enforce")
        default = self.defaults.get(service, "off")
        return default if settings.mode is None or service not in self.defaults else settings.mode


def spoken_at_rcpt(name: str) -> Step:
    """The step in which check `name` speaks a refusal that waited: to strangers, at the first RCPT that is not for
    postmaster or abuse of our domains, who stay reachable (RFC 5321 §4.5.1)."""

    def decide(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
        if not facts.carried or facts.session.may_relay_by is not None:
            return None
        if facts.is_ours and facts.forward_path.local_part.lower() in ("postmaster", "abuse"):
            return None
        for verdict in facts.carried:
            if verdict.name == name:
                return msgspec.structs.replace(verdict, later=False)
        return None

    return Step(Stage.RCPT, decide, needs=("resolution",), reads=("session.helo", "forward_path"))
