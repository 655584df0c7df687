"""What detectors look at and what they find, as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

Deed = Literal["failure", "login", "unknown", "known", "relay", "sent"]
LOCAL: Final = "this machine"
"""The network of programs that run here."""
DAY: Final = 86400.0
EVENTS_NAMED: Final = 10


class Seen(msgspec.Struct, frozen=True):
    """What a peer or an account did, once or several times in a few minutes.

    failure: a login that failed; login: one that went well; unknown, known: a stranger's recipient of ours that does
    not exist, that does; relay: a stranger's recipient elsewhere; sent: a message of an account that was taken.
    at, last: of the first and the last time, seconds since 1970. network: an address, the /64 of an IPv6 one, or
    LOCAL. account: that logged in, failed to (hidden where there is no such account), or sent. whom: the recipient that
    was refused. sender: of what should have been relayed. count: how often. recipients: of what was sent.
    event: the first one's ID.
    """

    at: float
    deed: Deed
    network: str
    account: str = ""
    whom: str = ""
    sender: str = ""
    count: int = 1
    recipients: int = 0
    event: str = ""
    last: float = 0.0

    @property
    def until(self) -> float:
        return max(self.at, self.last)


class Finding(msgspec.Struct, frozen=True):
    """Somebody abuses the server.

    detector: which one says so. pattern: how it was noticed; with `subject`, a network or an account, it is told once
    and not again until there is as much again. reason: for a person. since, last: of the events that it rests on, of
    which `events` are a few. networks: to be banned. accounts: to be held.
    """

    detector: str
    pattern: str
    subject: str
    reason: str
    since: float
    last: float
    events: tuple[str, ...]
    networks: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


Detector = Callable[[str, Sequence[Seen]], Finding | None]
"""(a network or an account, all that was seen of it) to what was found. Pure; in no particular order."""


def found(
    detector: str,
    pattern: str,
    subject: str,
    reason: str,
    seen: Sequence[Seen],
    networks: Sequence[str] = (),
    accounts: Sequence[str] = (),
) -> Finding:
    """The finding that rests on `seen`, at least one."""
    ordered = sorted(seen, key=lambda each: each.at)
    events = dict.fromkeys(each.event for each in ordered if each.event)
    return Finding(
        detector,
        pattern,
        subject,
        reason,
        ordered[0].at,
        max(each.until for each in ordered),
        tuple(events)[-EVENTS_NAMED:],
        tuple(networks),
        tuple(accounts),
    )
