"""Events as those read them that count over all of them, reports and detectors: a few fields, decoded quickly.

Dialogues and what checks read are passed over. Not here: whole events (`scan.decode`), and who reads which files.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

from gatepost.audit.criteria import unix_of
from gatepost.audit.event import Kind
from gatepost.mail.network import holder_of

NOBODY: Final = msgspec.Raw(b"{}")


class LineClient(msgspec.Struct, frozen=True):
    """The peer."""

    ip: str = ""


class LineFacts(msgspec.Struct, frozen=True):
    """Of what a check read."""

    forward_path: Any = None


class LineVerdict(msgspec.Struct, frozen=True):
    """What a check said."""

    check: str = ""
    mode: str = ""
    verdict: str = ""
    facts: LineFacts = LineFacts()


class Line(msgspec.Struct, frozen=True):
    """One event. `details` are decoded when somebody asks for them: `told`."""

    kind: str = ""
    id: str = ""
    time: str = ""
    session: str = ""
    service: str = ""
    client: LineClient = LineClient()
    login: str = ""
    sender: str | None = None
    recipients: list[str] = []
    octets: int | None = None
    verdicts: list[LineVerdict] = []
    reply: str = ""
    details: msgspec.Raw = NOBODY

    @property
    def at(self) -> float:
        """Seconds since 1970."""
        return unix_of(self.time)

    @property
    def holder(self) -> str:
        """What the peer holds: its address, or the /64 of an IPv6 one; "" for a program of this machine."""
        return holder(self.client.ip)

    def told(self) -> dict[str, Any]:
        """The details."""
        try:
            details = msgspec.json.decode(self.details)
        except (msgspec.DecodeError, RecursionError):
            return {}
        return details if isinstance(details, dict) else {}

    def refusals(self) -> Iterator[LineVerdict]:
        """The verdicts that counted and let it not pass."""
        return (each for each in self.verdicts if each.verdict in ("reject", "defer") and each.mode == "enforce")


def begins(*kinds: Kind) -> tuple[bytes, ...]:
    """With what a line of one of these kinds begins: others need not be decoded."""
    return tuple(f'{{"kind":"{kind}"'.encode() for kind in kinds)


def read_line(octets: bytes) -> Line | None:
    """The event of a line, None for what is none."""
    try:
        return _decoder.decode(octets)
    except (msgspec.DecodeError, RecursionError):
        return None


@lru_cache(maxsize=8192)
def holder(ip: str) -> str:
    """As `mail.network.holder_of`, "" for what is no address."""
    try:
        return holder_of(ip)
    except ValueError:
        return ""


_decoder: Final = msgspec.json.Decoder(Line)
