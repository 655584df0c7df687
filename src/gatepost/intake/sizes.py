"""How large a message a peer may send: how much of a content is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatepost.gate.session import GateSession
from gatepost.mail.address import Path
from gatepost.policy.checks import message_size

NO_LIMIT: Final = 1 << 62  # octets; the room of the spool is the limit then


def content_limit(gate: GateSession, recipients: Iterable[Path]) -> int:
    """Octets of a content for `recipients` that are worth keeping: a larger one will be refused."""
    settings = _enforced(gate)
    return NO_LIMIT if settings is None else settings.for_recipients(gate.facts, recipients)


def _enforced(gate: GateSession) -> message_size.Settings | None:
    """None where nothing is refused for its size: then nothing may be cut either."""
    settings = gate.parts.policy.settings_of(message_size.CHECK)
    assert isinstance(settings, message_size.Settings)
    return settings if message_size.CHECK.mode_for(gate.facts.service, settings) == "enforce" else None
