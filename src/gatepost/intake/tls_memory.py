"""Peers whose TLS handshake failed are offered no STARTTLS for an hour: old senders never fall back by themselves,
and their mail would be lost to a cipher that we lack."""

from __future__ import annotations

from typing import Any, Final

import structlog

from gatepost.gate.gather_client import Arrival, tls_failed_key
from gatepost.gate.later import is_later, then
from gatepost.gate.session import GateSession
from gatepost.policy.facts import SUBMISSION
from gatepost.ports.wire import Wire
from gatepost.standing.port import Note, Noted, StandingError

log = structlog.get_logger()

MEMORY_SECONDS: Final = 3600.0


def offers_starttls(gate: GateSession, wire: Wire) -> Any:
    """Whether EHLO shows STARTTLS to this peer now. Submission always offers it: no password goes in clear."""
    if not wire.can_start_tls:
        return False
    if gate.facts.service in SUBMISSION or not gate.peer.ip:
        return True
    if isinstance(gate.arrival, Arrival) and gate.arrival.tls_failed is not None:
        return not gate.arrival.tls_failed
    try:
        noted = gate.parts.standing.tally([Noted(_key(gate))], gate.parts.clock.unix())
    except StandingError:
        return True
    return then(noted, lambda found: found[0] is None)


def note_failure(gate: GateSession, reason: str) -> None:
    """A handshake failed; the event says so too."""
    clock = gate.parts.clock
    try:
        noted = gate.parts.standing.tally([Note(_key(gate), b"1", clock.unix() + MEMORY_SECONDS)], clock.unix())
        if is_later(noted):
            log.warning("TLS failure not remembered: this engine answers later", client=gate.peer.ip)
    except StandingError as error:
        log.warning("TLS failure not remembered", client=gate.peer.ip, error=str(error))


def _key(gate: GateSession) -> str:
    return tls_failed_key(gate.peer.ip)
