"""What one peer may use now, by its rights and the policy: the `Offer` that the greeting and EHLO tell.

Not here: how an offer is written (`protocol.smtp.extensions`), and the check that keeps to it (`command.allowed`).
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from gatepost.gate.login import offered_mechanisms
from gatepost.gate.session import GateSession
from gatepost.intake.parts import IntakeParts
from gatepost.intake.settings import ListenerSettings
from gatepost.mail.network import NetworkSet
from gatepost.policy.checks import command_allowed, content_framing, message_size
from gatepost.policy.engine import Policy
from gatepost.policy.facts import Service, SessionFacts
from gatepost.protocol.smtp.extensions import Offer


class _Plan(msgspec.Struct, frozen=True):
    """What a policy says about offers in one service. sizes, commands: None where that check refuses nothing. repair:
    whose bare LF is repaired."""

    sizes: message_size.Settings | None
    commands: command_allowed.Settings | None
    repair: NetworkSet

    def may_use(self, verb: str, facts: SessionFacts) -> bool:
        """Whether the command or extension is this peer's to use."""
        return self.commands is None or command_allowed.may_use(verb, facts, self.commands)

    def mends_line_ends(self, facts: SessionFacts) -> bool:
        return facts.network_may_relay and facts.client_ip in self.repair


@lru_cache(maxsize=64)
def _plan(policy: Policy, service: Service) -> _Plan:
    sizes = policy.settings_of(message_size.CHECK)
    commands = policy.settings_of(command_allowed.CHECK)
    framing = policy.settings_of(content_framing.CHECK)
    assert isinstance(sizes, message_size.Settings)
    assert isinstance(commands, command_allowed.Settings)
    assert isinstance(framing, content_framing.Settings)
    return _Plan(
        sizes if message_size.CHECK.mode_for(service, sizes) == "enforce" else None,
        commands if command_allowed.CHECK.mode_for(service, commands) == "enforce" else None,
        NetworkSet(framing.repair),
    )


def mends_line_ends(gate: GateSession) -> bool:
    """Whether this peer is one of those whose bare LF is repaired (`content.framing`)."""
    return _plan(gate.parts.policy, gate.facts.service).mends_line_ends(gate.facts)


def current_offer(gate: GateSession, parts: IntakeParts, listener: ListenerSettings, *, starttls: bool) -> Offer:
    """What this peer may use now. starttls: TLS can be had, and is not there yet."""
    facts = gate.facts
    plan = _plan(gate.parts.policy, facts.service)
    may_use = plan.may_use
    return Offer(
        hostname=facts.hostname,
        lmtp=facts.service == "lmtp",
        size_limit_octets=0 if plan.sizes is None else plan.sizes.at_most(facts),
        starttls=starttls,
        auth=offered_mechanisms(gate) if may_use("AUTH", facts) else (),
        rcptmax=parts.recipient_limits.get(facts.service),
        expn=facts.may_relay_by is not None and may_use("EXPN", facts),
        smtputf8=may_use("SMTPUTF8", facts),
        chunking=may_use("CHUNKING", facts) and not plan.mends_line_ends(facts),  # a chunk's octets count as sent
        dsn=may_use("DSN", facts),
        xclient=listener.xclient and facts.trusted,
        # Old programs write "MAIL FROM: bob@example.org". From peers that are known it is no sign of evil.
        strict=not (facts.trusted or facts.may_relay_by or facts.granted),
    )
