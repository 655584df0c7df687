"""The synced file: bans, grants, greylist. What changes together shares one commit, in a thread; reads are direct."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import lmdb

from gatepost.ports.faults import Faults, no_fault
from gatepost.standing.port import Fact, StandingError, Table
from gatepost.store.lmdb.layout import END, TABLES, fact, fact_value, octets_of, pack_fact
from gatepost.store.lmdb.room import Transaction, entries_from, give_up, is_crowded

MAX_BATCH: Final = 256
SWEPT_AT_ONCE: Final = 500
EVERYTHING: Final = (b"", b"\xff")
GIVEN_UP_FIRST: Final[tuple[Table, ...]] = ("greylist", "good")  # a full file never costs a ban or a grant

Change = Callable[[Transaction], int]  # returns how many entries it removed or changed


class Facts:
    """Facts with an end, durable when the call that writes them returns."""

    def __init__(
        self, environment: lmdb.Environment, map_octets: int, report: Callable[[str], None], faults: Faults = no_fault
    ) -> None:
        self._environment = environment
        self._map_octets = map_octets
        self._report = report
        self._faults = faults
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="standing")
        self._waiting: list[tuple[Change, asyncio.Future[int]]] = []
        self._writer: asyncio.Task[None] | None = None
        self.swept_to = self._given_up_to = b""

    def recall(self, table: Table, key: str, now: float) -> bytes | None:
        """The value, None where there is none or it has ended."""
        with self._environment.begin() as txn:
            packed = txn.get(octets_of(TABLES[table], key))
        return fact_value(packed, now) if packed is not None else None

    def recall_all(self, table: Table, now: float) -> list[Fact]:
        """All of them, ordered by key. Copied in one go: a reader that stays open makes the file grow."""
        prefix = TABLES[table]
        with self._environment.begin() as txn:
            copies = list(_from(txn, prefix))
        facts = [fact(key, packed) for key, packed in copies if fact_value(packed, now) is not None]
        return sorted(facts, key=lambda remembered: remembered.key)

    async def remember(self, table: Table, key: str, value: bytes, until: float) -> None:
        """Returns when it is on stable storage."""
        octets, packed = octets_of(TABLES[table], key), pack_fact(key, value, until)
        await self._change(lambda txn: txn.put(octets, packed))

    async def replace(
        self, table: Table, key: str, before: bytes | None, value: bytes, until: float, now: float
    ) -> bool:
        """Whether it is remembered, on stable storage: only where `before` is what there was."""
        octets, packed = octets_of(TABLES[table], key), pack_fact(key, value, until)

        def change(txn: Transaction) -> int:
            there = txn.get(octets)
            if (fact_value(there, now) if there is not None else None) != before:
                return False
            return txn.put(octets, packed)

        return bool(await self._change(change))

    async def forget(self, table: Table, key: str) -> bool:
        """Whether it was there."""
        octets = octets_of(TABLES[table], key)
        return bool(await self._change(lambda txn: txn.delete(octets)))

    async def sweep(self, now: float) -> int:
        """How many of the next SWEPT_AT_ONCE entries had ended; they are gone."""
        with self._environment.begin() as txn:
            entries, self.swept_to = entries_from(txn, self.swept_to, EVERYTHING, SWEPT_AT_ONCE)
        ended = [key for end, key in entries if end <= now]
        if not ended:
            return 0
        return await self._change(lambda txn: _delete_ended(txn, ended, now))

    def close(self) -> None:
        """Waits for the commit under way."""
        self._thread.shutdown()
        self._environment.close()

    async def _change(self, change: Change) -> int:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        self._waiting.append((change, done))
        if self._writer is None:
            self._writer = loop.create_task(self._write(), name="standing: facts")
        return await done

    async def _write(self) -> None:
        """Commit what waits, until nothing does; what arrives meanwhile shares the next commit."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                results: Iterable[int | StandingError]
                try:
                    results = await loop.run_in_executor(self._thread, self._commit, [change for change, _ in batch])
                except Exception as error:  # each asker hears it; the writer goes on with the next batch
                    results = [self._told(error) for _ in batch]
                for (_, done), result in zip(batch, results, strict=True):
                    if done.done():
                        continue
                    if isinstance(result, StandingError):
                        done.set_exception(result)
                    else:
                        done.set_result(result)
        finally:
            self._writer = None

    def _commit(self, changes: list[Change]) -> list[int]:
        for table in GIVEN_UP_FIRST:
            with self._environment.begin() as txn:
                crowded = is_crowded(txn, self._map_octets)
            if not crowded or self._give_up(table):
                break
        try:
            return self._commit_once(changes)
        except lmdb.MapResizedError:
            self._environment.set_mapsize(0)
            return self._commit_once(changes)

    def _commit_once(self, changes: list[Change]) -> list[int]:
        with self._environment.begin(write=True) as txn:
            done = [int(change(txn)) for change in changes]
            self._faults("facts.before")
        self._faults("facts.after")
        return done

    def _give_up(self, table: Table) -> int:
        """Make room: how many entries of `table` are gone, more than one commit adds."""
        first = TABLES[table]
        with self._environment.begin(write=True) as txn:
            ends, self._given_up_to = give_up(txn, self._given_up_to, (first, bytes([first[0] + 1])))
        if ends:
            self._report(f"{self._environment.path()} is full: {len(ends)} entries of {table} were given up")
        return len(ends)

    def _told(self, error: Exception) -> StandingError:
        told = StandingError(f"{self._environment.path()} cannot be written ({error}); see that the disk has room")
        told.__cause__ = error
        return told


def _from(txn: Transaction, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
    cursor = txn.cursor()
    found = cursor.set_range(prefix)
    while found and cursor.key().startswith(prefix):
        yield cursor.item()
        found = cursor.next()


def _delete_ended(txn: Transaction, keys: list[bytes], now: float) -> int:
    """Those that have still ended: one may have been remembered anew since it was seen."""
    removed = 0
    for key in keys:
        packed = txn.get(key)
        if packed is not None and END.unpack_from(packed)[0] <= now:
            removed += txn.delete(key)
    return removed
