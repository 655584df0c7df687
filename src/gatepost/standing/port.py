"""What is remembered between sessions, as a port: counters that are exact across workers, and facts with an end.

Two kinds of memory, by what losing it costs. *Counters* (rates, connections at once, short notes) are cheap to
write and may vanish in a power cut. *Facts* (bans, grants, greylist) are on stable storage when `remember` returns.
Times are seconds since 1970, as `Clock.unix()` gives them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

import msgspec

Table = Literal["ban", "grant", "greylist", "good"]
"""What a fact is about: `good` holds the peers that did well lately (an administrator's login, a known client)."""


class Rate(msgspec.Struct, frozen=True):
    """`units` per `period` seconds; as many may come at once after a quiet period."""

    units: int
    period: float


class Charge(msgspec.Struct, frozen=True):
    """Count `cost` units against `rate` at `key` (GCRA). What would exceed the rate is not counted.

    together: of the charges of one tally that say so, all count or none does; each still tells how its own rate
    stands. So what is refused by one rate uses up no other.
    """

    key: str
    rate: Rate
    cost: int = 1
    together: bool = False


class Refund(msgspec.Struct, frozen=True):
    """Take back `cost` units that a `Charge` counted: what they were for did not come about. Never below none."""

    key: str
    rate: Rate
    cost: int = 1


class Peek(msgspec.Struct, frozen=True):
    """What a `Charge` of `cost` would answer; nothing is counted."""

    key: str
    rate: Rate
    cost: int = 1


class Enter(msgspec.Struct, frozen=True):
    """One more at once at `key`. It is undone by `Leave`, or by the end of the process that entered."""

    key: str


class Leave(msgspec.Struct, frozen=True):
    """One less at once at `key`."""

    key: str


class Note(msgspec.Struct, frozen=True):
    """Keep `value` at `key` until `until`."""

    key: str
    value: bytes
    until: float


class Noted(msgspec.Struct, frozen=True):
    """What `Note` kept at `key`, if it has not ended."""

    key: str


Operation = Charge | Refund | Peek | Enter | Leave | Note | Noted


class Level(msgspec.Struct, frozen=True):
    """How a rate stands. used: units counted now, 0 to `rate.units`. wait: seconds until the cost would fit, 0 if it
    did (or would, for `Peek`)."""

    allowed: bool
    used: float
    wait: float


Result = Level | int | bytes | None
"""Level for Charge, Refund and Peek; the count after it for Enter and Leave; bytes or None for Noted; None for Note."""


class Fact(msgspec.Struct, frozen=True):
    """One remembered fact with its end."""

    key: str
    value: bytes
    until: float


class StandingStore(Protocol):
    """The memory that workers (and in a cluster, nodes) share."""

    def tally(self, operations: Sequence[Operation], now: float) -> list[Result] | Awaitable[list[Result]]:
        """The results of `operations`, in order, done in one step that no other worker comes between.

        An engine that answers at once (LMDB) returns the list, one that asks a server (Valkey) an awaitable.
        Raises StandingError when the memory cannot be had.
        """
        ...

    def recall(self, table: Table, key: str, now: float) -> bytes | None | Awaitable[bytes | None]:
        """The fact at `key` if there is one that has not ended."""
        ...

    def recall_all(self, table: Table, now: float) -> list[Fact]:
        """Every fact of `table` that has not ended, ordered by key (commands list them; may block for a while)."""
        ...

    async def remember(self, table: Table, key: str, value: bytes, until: float) -> None:
        """Returns when the fact is on stable storage. An older fact at `key` is replaced."""
        ...

    async def replace(
        self, table: Table, key: str, before: bytes | None, value: bytes, until: float, now: float
    ) -> bool:
        """Whether `value` is at `key` now, durably: only if what was there is `before` (None: nothing, or what had
        ended). So two workers that change what they have read do not undo each other."""
        ...

    async def forget(self, table: Table, key: str) -> bool:
        """Whether there was such a fact; it is gone, durably."""
        ...


class StandingError(Exception):
    """The memory cannot be read or written; the message says which file or server, and what to do."""
