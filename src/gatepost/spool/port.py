"""The durable queue, as ports: writing (the worker that owns a spool) and reading (commands, pages)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

from gatepost.spool.model import Entry, NewEntry, Settlement


class SpoolError(Exception):
    """The spool cannot be read or written; the message says which file, and what to do."""


class SpoolDamagedError(SpoolError):
    """What is on the disk is no spool, or one that cannot be read any more."""


class SpoolFullError(SpoolError):
    """No room: the disk is full or the spool is at its cap. The peer hears 452 4.3.1."""


class Content(Protocol):
    """A message's octets while they arrive and until the spool has them: in memory, above a threshold in a file.

    `write` and `finish` do not sync; `SpoolStore.add` does.
    """

    @property
    def octets(self) -> int:
        """Written so far."""
        ...

    def write(self, octets: bytes) -> None:
        """Raises SpoolFullError and SpoolError; what was written before is kept until `discard`."""
        ...

    def finish(self) -> None:
        """No more `write`. `add` wants it finished."""
        ...

    def discard(self) -> None:
        """Forget it; a file is removed. Does nothing once `add` took it over."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """What was written, in pieces, before or after `add` (checks that read it whole)."""
        ...


class ContentStore(Protocol):
    """What a spool does with content alone; whoever only reads messages and writes notices needs no more."""

    def new_content(self) -> Content: ...

    def read(self, entry_id: str) -> AsyncIterator[bytes]:
        """As `SpoolStore.read`."""
        ...


class SpoolStore(Protocol):
    """One spool, owned by this worker. A call that changes it returns after the commit is on stable storage."""

    def new_content(self, *, for_sealing: bool = False) -> Content:
        """for_sealing: what of it goes to the disk before `add` can be read by this process alone, and by nobody once
        that is gone."""
        ...

    async def add(self, entry: NewEntry, content: Content) -> None:
        """The entry is kept: from here it is delivered or bounced, whatever happens. Calls that come together share
        one sync. Raises SpoolFullError, SpoolError: then nothing of it is kept."""
        ...

    async def add_all(self, new: Sequence[tuple[NewEntry, Content]]) -> None:
        """The same for the entries that one message became: all of them are kept in one commit, or none."""
        ...

    async def lease(
        self, now: float, limit: int, exclude: Collection[str] = (), per_destination: int = 50
    ) -> list[Entry]:
        """Up to `limit` entries with recipients that are due, oldest first, at most `per_destination` of one
        destination and none of the destinations in `exclude`. Where a destination has many more than it gets, some
        are those that came last, so that nobody waits for all of a large mailing. Each holds only recipients of one
        destination, which are LEASED now. The same entry may come again for another destination. A lease ends with
        `settle` or with the owner."""
        ...

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[tuple[NewEntry, Content]] = ()) -> None:
        """Record what became of leased recipients, and add `new` entries (DSNs, expanded lists), in one commit.
        An entry whose recipients are all settled is removed with its content. Without `new` it may be on stable storage
        a moment after this returns: a power cut may have it delivered again, and loses nothing."""
        ...

    def read(self, entry_id: str) -> AsyncIterator[bytes]:
        """Prefix and content, in pieces of at most 256 KiB. Raises SpoolError when it is damaged or missing."""
        ...

    async def next_due(self, exclude: Collection[str] = ()) -> float | None:
        """When the next recipient is due that is not leased or held, destinations in `exclude` left out; None for
        never."""
        ...

    async def change(self, entry_id: str, action: str, now: float) -> bool:
        """A person's "retry", "hold", "release", "bounce" or "drop" of every recipient that is not settled; False
        when no such entry is here. "bounce" makes them due with attempts at their end: the delivery loop sends the
        DSN. What is leased changes when its attempt has ended. Raises SpoolError for an unknown action."""
        ...

    async def close(self) -> None: ...


class SpoolReader(Protocol):
    """Reads the spools of this machine in short statements, while their owners write."""

    def list(self, *, states: Collection[str] = (), limit: int = 1000) -> list[Entry]:
        """Entries, oldest first; with `states` only those that have a recipient in one of them."""
        ...

    def show(self, entry_id: str) -> Entry | None: ...

    def content(self, entry_id: str) -> bytes | None:
        """Prefix and content whole; None when there is no such entry."""
        ...

    def counts(self) -> dict[str, int]:
        """Recipients by state, and "entries"."""
        ...
