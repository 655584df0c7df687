"""`LmdbStanding`: the port's store on one machine, for several processes. Joins the counters, the facts and the slot of
this process; how the files are opened is in `opening`, what an operation does in `counting`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import lmdb

from gatepost.ports.faults import Faults, no_fault
from gatepost.standing.port import Fact, Operation, Result, StandingError, Table
from gatepost.store.lmdb import counting
from gatepost.store.lmdb.facts import Facts
from gatepost.store.lmdb.layout import AT_ONCE, WITH_END, pack_shares, shares
from gatepost.store.lmdb.opening import COUNTERS, Report, grow, open_files, this_boot
from gatepost.store.lmdb.probe import MAP_OCTETS
from gatepost.store.lmdb.room import Transaction, entries_from, give_up, is_crowded, is_full, reserve

SWEPT_AT_ONCE: Final = 500  # entries a transaction: 0.3 ms at most
PIECES_A_SWEEP: Final = 20
RESERVED_FOR_FACTS: Final = 1024 * 1024
REPORTED_EACH: Final = 60.0  # seconds: a flood of keys must not become a flood of log lines
WRITES_BETWEEN_LOOKS: Final = 64  # at the room that is left


class LmdbStanding:
    """`StandingStore` over LMDB; answers at once. Opened after the fork, once in a process.

    Invariant: what this process entered is undone when it ends, however it ends, by the next process that opens the
    folder or sweeps it.
    """

    def __init__(
        self,
        folder: Path,
        report: Report = lambda _: None,
        *,
        map_octets: int = MAP_OCTETS,
        boot: str | None = None,
        faults: Faults = no_fault,
    ) -> None:
        """Opens `folder`, makes it if need be. report: told what an operator must know (damage, lack of room).

        boot: the ID of this boot, None for the kernel's. Raises StandingError.
        """
        self._folder = folder
        self._report = report
        self._holder, self._counters, environment = open_files(
            folder, this_boot() if boot is None else boot, map_octets, report
        )
        self._facts = Facts(environment, map_octets, report, faults)
        self._map_octets = map_octets
        self._writes = 0
        self._lost, self._reported_at = 0, 0.0
        self._swept_to = b""
        try:
            reserve(environment, min(RESERVED_FOR_FACTS, map_octets))
            self._clear_dead(own_too=True)
        except lmdb.Error as error:  # a full disk: counting is tried again and again, connections go on
            report(str(self._told(error)))

    def tally(self, operations: Sequence[Operation], now: float) -> list[Result]:
        """The results in order, one transaction for all; a reading one where nothing is to be written."""
        write = not counting.READS_ONLY.issuperset(map(type, operations))
        addressed = counting.addressed(operations)
        try:
            if write:
                self._writes += 1
                if not self._writes % WRITES_BETWEEN_LOOKS:
                    self._keep_room(now)
            return self._apply(addressed, now, write)
        except lmdb.MapResizedError:
            self._follow()
        except lmdb.Error as error:
            if not is_full(error):
                raise self._told(error) from error
            self._find_room(now)
        try:
            return self._apply(addressed, now, write)
        except lmdb.Error as error:
            raise self._told(error) from error

    def recall(self, table: Table, key: str, now: float) -> bytes | None:
        """The fact at `key` if it has not ended."""
        try:
            return self._facts.recall(table, key, now)
        except lmdb.Error as error:
            raise self._told(error) from error

    def recall_all(self, table: Table, now: float) -> list[Fact]:
        """Every fact of `table` that has not ended, ordered by key."""
        try:
            return self._facts.recall_all(table, now)
        except lmdb.Error as error:
            raise self._told(error) from error

    async def remember(self, table: Table, key: str, value: bytes, until: float) -> None:
        """Returns when the fact is on stable storage; those that come together share a commit."""
        await self._facts.remember(table, key, value, until)

    async def replace(
        self, table: Table, key: str, before: bytes | None, value: bytes, until: float, now: float
    ) -> bool:
        """Whether the fact is there now: only if what was there is `before`."""
        return await self._facts.replace(table, key, before, value, until, now)

    async def forget(self, table: Table, key: str) -> bool:
        """Whether there was such a fact; it is gone, durably."""
        return await self._facts.forget(table, key)

    async def sweep(self, now: float) -> int:
        """How many entries that have ended were removed; to be called every few seconds by each worker.

        Looks at the next ten thousand of each file, in short transactions between which others run, and at what
        processes left behind that ended without a word.
        """
        removed = 0
        try:
            self._follow()
            self._clear_dead()
            for _ in range(PIECES_A_SWEEP):
                removed += self._sweep_counters(now) + await self._facts.sweep(now)
                if self._swept_to == self._facts.swept_to == b"":
                    break
                await asyncio.sleep(0)
        except lmdb.Error as error:
            raise self._told(error) from error
        return removed

    def close(self) -> None:
        """Undo what this process entered, and let go of everything."""
        try:
            self._follow()
            self._clear({self._holder.slot})
        except lmdb.Error as error:  # the next who opens the folder will do it
            self._report(str(self._told(error)))
        self._facts.close()
        self._counters.close()
        self._holder.release()

    def _apply(self, operations: counting.Addressed, now: float, write: bool) -> list[Result]:
        slot = self._holder.slot
        with self._counters.begin(write=write) as txn:
            return counting.apply_all(txn, operations, now, slot)

    def _sweep_counters(self, now: float) -> int:
        with self._counters.begin(write=True) as txn:
            entries, self._swept_to = entries_from(txn, self._swept_to, WITH_END, SWEPT_AT_ONCE)
            return sum(txn.delete(key) for end, key in entries if end <= now)

    def _keep_room(self, now: float) -> None:
        """Look whether the file gets crowded."""
        with self._counters.begin() as txn:
            if not is_crowded(txn, self._counters.info()["map_size"]):
                return
        self._find_room(now)

    def _follow(self) -> None:
        """What another process has made room for is seen here too."""
        if (self._folder / COUNTERS).stat().st_size > self._counters.info()["map_size"]:
            grow(self._folder, self._counters, self._map_octets, wait=True)

    def _find_room(self, now: float) -> None:
        """More of the disk; without it, give up the half that ends soonest of the next thousand entries: they are worth
        least."""
        if grow(self._folder, self._counters, self._map_octets):
            return
        with self._counters.begin(write=True) as txn:
            ends, self._swept_to = give_up(txn, self._swept_to, WITH_END)
        self._lost += sum(end > now for end in ends)
        if self._lost and not 0 <= now - self._reported_at < REPORTED_EACH:
            self._report(f"{self._counters.path()} is full: {self._lost} counters were given up before their end")
            self._lost, self._reported_at = 0, now

    def _clear_dead(self, *, own_too: bool = False) -> None:
        """Undo what processes entered that are gone; at the start also what is left of an owner of our own slot."""
        slots: set[int] = set()
        with self._counters.begin() as txn:
            for _, packed in _at_once(txn):
                slots.update(slot for slot, _ in shares(packed))
        own = self._holder.slot
        if own_too and own in slots:
            self._clear({own})
        for slot in slots - {own}:
            with self._holder.held_if_dead(slot) as is_dead:
                if is_dead:
                    self._clear({slot})

    def _clear(self, slots: set[int]) -> None:
        with self._counters.begin(write=True) as txn:
            for key, packed in list(_at_once(txn)):
                counts = dict(shares(packed))
                left = {slot: count for slot, count in counts.items() if slot not in slots}
                if left == counts:
                    continue
                if left:
                    txn.put(key, pack_shares(left))
                else:
                    txn.delete(key)

    def _told(self, error: lmdb.Error) -> StandingError:
        return StandingError(
            f"{self._folder}: what is remembered there cannot be had ({error}); see that the disk has room"
        )


def _at_once(txn: Transaction) -> list[tuple[bytes, bytes]]:
    """Every count at once: there are no more than connections."""
    entries = []
    cursor = txn.cursor()
    found = cursor.set_range(AT_ONCE)
    while found and cursor.key().startswith(AT_ONCE):
        entries.append(cursor.item())
        found = cursor.next()
    return entries
