"""Runs the checks of a stage over its facts: gather, then decide.

`Policy.decide` is a plain function. A fact that a check needs it takes from the caller's gatherers, where they have it
at hand; it returns the decision, or what must be waited for. The caller does, and asks again: checks are pure, so none
that has run is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from gatepost.mail.address import Path
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, Facts, Service, Stage
from gatepost.policy.verdict import Course, Decision, Evaluated, Mode, Needs, Verdict, freezing


class _Planned(msgspec.Struct, frozen=True):
    """One step of one check with its settings."""

    decide: Callable[[Any, Any], Verdict | None]
    settings: CheckSettings
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    mode: Mode
    strangers_only: bool
    passed: Evaluated


Gatherers = Mapping[str, Callable[[Any, Any], Any]]
"""By the name of a fact: (who asks, facts so far) to that fact, or an awaitable of it."""
_NONE: Final[dict[str, Any]] = {}
_Flat = tuple[Callable[[Any, Any], Verdict | None], CheckSettings, tuple[str, ...], bool, _Planned]
"""What the loop reads of a step: decide, settings, needs, strangers_only; and all of it."""


class _Plan(msgspec.Struct, frozen=True):
    steps: tuple[_Flat, ...]
    asks_for_strangers: bool
    all_passed: Decision


class Policy:
    """The checks with their settings, planned for each stage and service. Immutable; a reload makes a new one."""

    def __init__(self, checks: Iterable[Check], settings: Mapping[str, CheckSettings] | None = None) -> None:
        """Raises ValueError for settings of a check that does not exist, or that try to turn off what must stay."""
        self.checks = tuple(checks)
        self._settings = dict(settings or {})
        known = {check.name: check for check in self.checks}
        for name, given in self._settings.items():
            if name not in known:
                raise ValueError(f"policy.{name}: there is no such check; `gatepost policy list` shows them")
            if not known[name].optional and (given.mode not in (None, "enforce") or given.services is not None):
                raise ValueError(
                    f"policy.{name}: this check cannot be switched off or narrowed; remove mode and services"
                )
        self._modes: dict[tuple[str, Service], Mode] = {
            (check.name, service): check.mode_for(service, self.settings_of(check))
            for check in self.checks
            for service in SERVICES
        }
        self._plans = {(stage, service): self._plan(stage, service) for stage in Stage for service in SERVICES}

    def settings_of(self, check: Check) -> CheckSettings:
        return self._settings.get(check.name, check.settings)

    def mode(self, name: str, service: Service) -> Mode:
        """The mode of check `name` in `service`. Raises KeyError for an unknown name."""
        return self._modes[name, service]

    def is_enforced(self, name: str, service: Service) -> bool:
        """Whether check `name` is there and its mode in `service` is "enforce"."""
        return self._modes.get((name, service)) == "enforce"

    def decide(
        self,
        stage: Stage,
        facts: Facts,
        reached: Needs | None = None,
        gatherers: Gatherers | None = None,
        asker: Any = None,
    ) -> tuple[Decision | Needs, Facts]:
        """What becomes of it, or the facts that are still needed; and the facts with what was gathered.

        reached: what was answered for the same facts before those that it asked for were there. It goes on from there,
        as a check that has run would say the same again. gatherers: asked, for `asker`, for the facts that are not
        there, each once; None where nobody has more.

        Checks run in their order; the first enforced refusal ends the stage, shadow verdicts never do. Refusals
        that wait for a later stage are collected; of the checks that slow the peer down, the slowest counts. What
        freezes the message ends nothing, as a check behind it may refuse it: it waits for the message, and there for
        the last check.
        """
        plan = self._plans[stage, facts.session.service]
        steps = plan.steps
        is_authorised = plan.asks_for_strangers and facts.session.may_relay_by is not None
        first, course = (0, None) if reached is None else (reached.at, reached.course)
        for at in range(first, len(steps)):  # all in one frame: every message runs through it, six times
            decide, settings, needs, strangers_only, planned = steps[at]
            if strangers_only and is_authorised:
                course = course or _course(plan, at)
                continue
            waiting: dict[str, Any] = _NONE
            for name in needs:
                if getattr(facts, name) is UNSET:
                    value = UNSET if gatherers is None else gatherers[name](asker, facts)
                    if value is UNSET or hasattr(value, "__await__"):
                        waiting = {**waiting, name: value}
                    else:
                        facts = replace(facts, **{name: value})
            if waiting:
                return Needs(waiting, at, course), facts
            verdict = decide(facts, settings)
            if verdict is not None:
                course = course or _course(plan, at)
                if _ends(course, planned, facts, verdict):
                    return course.decision(verdict), facts
            elif course is not None:
                course.evaluated.append(planned.passed)
        if course is None:
            return plan.all_passed, facts
        return course.decision(freezing(course.later) if stage is Stage.MESSAGE else None), facts

    def _plan(self, stage: Stage, service: Service) -> _Plan:
        steps: list[_Planned] = []
        last: list[_Planned] = []
        for check in self.checks:
            settings = self.settings_of(check)
            mode = check.mode_for(service, settings)
            if mode == "off":
                continue
            for step in check.steps:
                if step.stage is stage:
                    (last if step.last else steps).append(_planned(check, step, mode, settings))
        steps += last
        flat = tuple((each.decide, each.settings, each.needs, each.strangers_only, each) for each in steps)
        return _Plan(
            flat, any(each.strangers_only for each in steps), Decision(None, tuple(planned.passed for planned in steps))
        )


def _planned(check: Check, step: Step, mode: Mode, settings: CheckSettings) -> _Planned:
    mode = "shadow" if step.only_noted else mode
    passed = Evaluated(check.name, mode, "pass")
    return _Planned(step.decide, settings, step.needs, step.reads, mode, check.strangers_only, passed)


def _course(plan: _Plan, count: int) -> Course:
    """The first `count` steps have passed."""
    return Course([planned.passed for *_, planned in plan.steps[:count]])


def _ends(course: Course, planned: _Planned, facts: Facts, verdict: Verdict) -> bool:
    """Whether `verdict`, which is noted, ends the stage."""
    course.evaluated.append(_evaluated(planned, facts, verdict))
    if planned.mode != "enforce":
        return False
    course.wait = max(course.wait, verdict.wait)
    if verdict.action in ("slow", "note"):
        return False
    if verdict.later or verdict.freezes:
        course.later.append(verdict)
        return False
    return True


def _evaluated(planned: _Planned, facts: Facts, verdict: Verdict) -> Evaluated:
    read = {name: _plain(_field(facts, name)) for name in planned.reads}
    return Evaluated(verdict.name, planned.mode, verdict.word, verdict.reason, read)


def _field(facts: Facts, dotted: str) -> Any:
    value: Any = facts
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def _plain(value: Any) -> Any:
    """`value` as the record shows it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple) and value and isinstance(value[0], Path):
        return [str(path) for path in value]
    return value
