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
    rights = (facts.trusted, facts.network_may_relay, facts.login, facts.certificate, facts.grant, facts.granted)
    offer, may_log_in = _offer(
        gate.parts.policy,
        facts.service,
        facts.hostname,
        facts.client_ip,
        rights,
        parts.recipient_limits.get(facts.service),
        starttls,
        listener.xclient,
    )
    return msgspec.structs.replace(offer, auth=offered_mechanisms(gate)) if may_log_in else offer


_Rights = tuple[bool, bool, str, str, str, tuple[str, ...]]
"""What the facts of a session say of: trusted, network_may_relay, login, certificate, grant, granted."""


@lru_cache(maxsize=4096)
def _offer(
    policy: Policy,
    service: Service,
    hostname: str,
    client_ip: str,
    rights: _Rights,
    rcptmax: int | None,
    starttls: bool,
    xclient: bool,
) -> tuple[Offer, bool]:
    """The offer to a peer, AUTH left out, and whether it may use that: the same for each of its connections."""
    trusted, network_may_relay, login, certificate, grant, granted = rights
    facts = SessionFacts(
        service=service,
        hostname=hostname,
        client_ip=client_ip,
        trusted=trusted,
        network_may_relay=network_may_relay,
        login=login,
        certificate=certificate,
        grant=grant,
        granted=granted,
    )
    plan = _plan(policy, service)
    may_use = plan.may_use
    offer = Offer(
        hostname=facts.hostname,
        lmtp=facts.service == "lmtp",
        size_limit_octets=0 if plan.sizes is None else plan.sizes.at_most(facts),
        starttls=starttls,
        rcptmax=rcptmax,
        expn=facts.may_relay_by is not None and may_use("EXPN", facts),
        smtputf8=may_use("SMTPUTF8", facts),
        chunking=may_use("CHUNKING", facts) and not plan.mends_line_ends(facts),  # a chunk's octets count as sent
        dsn=may_use("DSN", facts),
        xclient=xclient and facts.trusted,
        # Old programs write "MAIL FROM: bob@example.org". From peers that are known it is no sign of evil.
        strict=not (facts.trusted or facts.may_relay_by or facts.granted),
    )
    return offer, may_use("AUTH", facts)
