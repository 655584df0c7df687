"""The spools of one worker as one: its own, and those that nobody holds any more, until they are empty.

A worker that died, or one of a former generation, leaves entries behind in a spool whose lock is free. Whoever looks
first takes it over; nothing is stranded by a crash, a reload or fewer workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from gatepost.ports.clock import Clock
from gatepost.ports.faults import Faults, no_fault
from gatepost.spool.model import Entry, NewEntry, Settlement
from gatepost.spool.port import Content, SpoolDamagedError, SpoolError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import Damage, SqliteSpool, ignore_damage
from gatepost.store.sqlite.spool_content import SpoolContent
from gatepost.store.sqlite.spool_layout import Layout, SpoolLock, layout_of, spools_of
from gatepost.store.sqlite.spool_reader import wants_owner

MAX_SPOOLS: Final = 1000  # names that are tried for a spool of one's own


class SpoolSet:
    """`spool.port.SpoolStore` over several spools. New entries go to the own one.

    Invariant: an entry that left a lease belongs to the spool that its `Entry.spool` names, and is settled there.
    """

    def __init__(
        self,
        data: Path,
        own: SqliteSpool,
        settings: SpoolSettings,
        clock: Clock,
        socket: str,
        on_damage: Damage,
        on_unreadable: Callable[[str], None],
        faults: Faults = no_fault,
    ) -> None:
        self._data = data
        self._own = own
        self._settings = settings
        self._clock = clock
        self._socket = socket
        self._on_damage = on_damage
        self._on_unreadable = on_unreadable
        self._faults = faults
        self._adopted: dict[str, SqliteSpool] = {}
        self._leased_from: dict[str, SqliteSpool] = {}  # IDs of entries of adopted spools
        self._turn = 0

    @classmethod
    def open(
        cls,
        data: Path,
        settings: SpoolSettings,
        clock: Clock,
        *,
        prefer: str = "0",
        socket: str = "",
        on_damage: Damage = ignore_damage,
        on_unreadable: Callable[[str], None] = lambda why: None,
        faults: Faults = no_fault,
    ) -> SpoolSet:
        """A set with a spool of its own: `prefer` where that is free, else the first free one of "0", "1", ...

        A spool has no meaning beyond its lock: after a reload the former generation still holds "0", and hands it
        over by ending. One that is damaged stays where it is for a person to look at, and the next one is taken.
        socket: as in `SqliteSpool.open`. on_unreadable: told why, of a damaged one. Raises SpoolError.
        """
        for name in dict.fromkeys((prefer, *map(str, range(MAX_SPOOLS)))):
            layout = layout_of(data, name)
            layout.make()
            lock = SpoolLock.take(layout, socket)
            if lock is not None:
                try:
                    own = SqliteSpool.open_locked(layout, lock, settings, clock, on_damage=on_damage, faults=faults)
                except SpoolDamagedError as error:
                    on_unreadable(str(error))
                    continue
                return cls(data, own, settings, clock, socket, on_damage, on_unreadable, faults)
        raise SpoolError(f"{data / 'spool'}: each of {MAX_SPOOLS} spools is held by a process; are so many running?")

    @property
    def own(self) -> SqliteSpool:
        return self._own

    @property
    def adopted(self) -> tuple[str, ...]:
        """Names of the spools that were taken over and are not empty yet."""
        return tuple(self._adopted)

    async def adopt(self) -> list[str]:
        """Take over spools that nobody holds and that have entries, and give back those that became empty.

        The names taken now: their entries are due, so wake the delivery. To be called every few seconds. A spool
        that cannot be read stays where it is, and `on_unreadable` is told why, each time.
        """
        for name, spool in list(self._adopted.items()):
            if not spool.entries:
                del self._adopted[name]
                for entry_id in [key for key, holder in self._leased_from.items() if holder is spool]:
                    del self._leased_from[entry_id]
                await spool.close()
        taken = []
        loop = asyncio.get_running_loop()
        for layout in await loop.run_in_executor(None, spools_of, self._data):
            if layout.name == self._own.name or layout.name in self._adopted:
                continue
            try:
                spool_or_none = await loop.run_in_executor(None, self._take_over, layout)
            except SpoolError as error:
                self._on_unreadable(str(error))
                continue
            if spool_or_none is not None:
                self._adopted[layout.name] = spool_or_none
                taken.append(layout.name)
        return taken

    def _take_over(self, layout: Layout) -> SqliteSpool | None:
        lock = SpoolLock.take(layout, self._socket)
        if lock is None:
            return None
        try:
            wanted = wants_owner(layout)
        except BaseException:
            lock.release()
            raise
        if not wanted:
            lock.release()
            return None
        return SqliteSpool.open_locked(
            layout, lock, self._settings, self._clock, on_damage=self._on_damage, faults=self._faults
        )

    # --- the port

    def new_content(self, *, for_sealing: bool = False) -> SpoolContent:
        return self._own.new_content(for_sealing=for_sealing)

    async def add(self, entry: NewEntry, content: Content) -> None:
        await self._own.add(entry, content)

    async def add_all(self, new: Sequence[tuple[NewEntry, Content]]) -> None:
        await self._own.add_all(new)

    async def lease(
        self, now: float, limit: int, exclude: Collection[str] = (), per_destination: int = 50
    ) -> list[Entry]:
        """As the port. Each spool has its share of `limit`, and a destination is served from one of them at a time."""
        if not self._adopted:
            return await self._own.lease(now, limit, exclude, per_destination)
        spools = [self._own, *self._adopted.values()]
        self._turn += 1
        first = self._turn % len(spools)
        excluded = set(exclude)
        leased: list[Entry] = []
        for left, spool in zip(range(len(spools), 0, -1), spools[first:] + spools[:first], strict=True):
            share = -(-(limit - len(leased)) // left)
            try:
                found = await spool.lease(now, share, frozenset(excluded), per_destination)
            except BaseException:  # cancelled or broken: those of the others would be leased to nobody
                for entry in leased:
                    self._leased_from.get(entry.id, self._own).give_back([entry])
                raise
            leased += found
            excluded |= {entry.recipients[0].destination for entry in found}
            if spool is not self._own:
                self._leased_from |= dict.fromkeys((entry.id for entry in found), spool)
        leased.sort(key=lambda entry: (entry.recipients[0].due, entry.id))
        return leased

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[tuple[NewEntry, Content]] = ()) -> None:
        """As the port, with one commit for each spool. `new` goes with the first of them: should we be stopped in
        between, a DSN is there and its cause is tried again, but nothing is lost."""
        by_spool: dict[SqliteSpool, list[Settlement]] = {}
        for settlement in settlements:
            spool = self._leased_from.get(settlement.entry_id, self._own)
            by_spool.setdefault(spool, []).append(settlement)
        if len(by_spool) == 1:
            ((spool, ended),) = by_spool.items()
            await spool.settle(ended, new)
            return
        await self._own.settle(by_spool.pop(self._own, ()), new)
        for spool, ended in by_spool.items():
            await spool.settle(ended)

    async def read(self, entry_id: str) -> AsyncIterator[bytes]:
        async for piece in self._leased_from.get(entry_id, self._own).read(entry_id):
            yield piece

    async def next_due(self, exclude: Collection[str] = ()) -> float | None:
        found = [await spool.next_due(exclude) for spool in (self._own, *self._adopted.values())]
        return min((due for due in found if due is not None), default=None)

    async def change(self, entry_id: str, action: str, now: float) -> bool:
        for spool in (self._own, *self._adopted.values()):
            if await spool.change(entry_id, action, now):
                return True
        return False

    async def close(self) -> None:
        for spool in (*self._adopted.values(), self._own):
            await spool.close()
        self._adopted.clear()
