"""The gatherer that tells how a message is encrypted as a whole. It may read all of the content, so it asks first
whether anybody has to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.policy.checks import content_sealed
from gatepost.policy.facts import MessageFacts
from gatepost.policy.findings import Unavailable
from gatepost.seal.process import SealProcessError
from gatepost.spool.port import SpoolError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession


def sealed(session: GateSession, facts: MessageFacts) -> Any:
    """The kind of encryption, "" for none; None where no recipient requires any."""
    settings = session.parts.policy.settings_of(content_sealed.CHECK)
    assert isinstance(settings, content_sealed.Settings)
    if not settings.concerns(facts):
        return None
    return _kind(session)


async def _kind(session: GateSession) -> str | Unavailable:
    content, work = session.content, session.parts.seal_work
    if content is None or work is None:
        return Unavailable("the content is not at hand")
    try:
        return await work.kind_of(content.chunks(), content.octets) or ""
    except (SpoolError, SealProcessError) as error:
        return Unavailable(str(error))
