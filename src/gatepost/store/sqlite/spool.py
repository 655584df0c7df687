"""`spool.port.SpoolStore` on one SQLite database and a folder of content files, owned by this process.

Not here: the statements (`spool_rows`), the thread that commits (`writer`), several spools at once (`spool_set`).
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import apsw

from gatepost.ports.clock import Clock
from gatepost.ports.faults import Faults, no_fault
from gatepost.spool.model import Entry, NewEntry, Settlement, State
from gatepost.spool.port import Content, SpoolError
from gatepost.spool.settings import SpoolSettings
from gatepost.spool.transitions import parse_action
from gatepost.store.sqlite.connection import connect
from gatepost.store.sqlite.spool_cipher import SpoolCipher, TamperedError, is_encrypted, new_key
from gatepost.store.sqlite.spool_content import PIECE_OCTETS, Memory, SpoolContent
from gatepost.store.sqlite.spool_layout import Layout, SpoolLock, layout_of
from gatepost.store.sqlite.spool_opening import (
    move_aside,
    open_rows,
    remove_files,
    remove_useless_files,
    translated,
)
from gatepost.store.sqlite.spool_reading import Stored, pieces
from gatepost.store.sqlite.spool_room import Room
from gatepost.store.sqlite.spool_schema import Prepared, prepare
from gatepost.store.sqlite.writer import GroupCommitWriter, Statement, Work

FILE_THREADS: Final = 4  # large messages that are synced at the same time

Damage = Callable[[str, str], None]
"""Called with the ID of an entry that was set aside, and why."""


def ignore_damage(entry_id: str, reason: str) -> None:
    """Damage that nobody asked to hear of."""


class SqliteSpool:
    """One spool, from `open` to `close`. Every method is for the loop's thread."""

    def __init__(
        self,
        layout: Layout,
        lock: SpoolLock,
        settings: SpoolSettings,
        clock: Clock,
        on_damage: Damage,
        faults: Faults,
    ) -> None:
        self._layout = layout
        self._lock = lock
        self._settings = settings
        self._on_damage = on_damage
        self._faults = faults
        self._memory = Memory(settings.memory_octets)
        self._cipher = SpoolCipher(*settings.keys) if settings.keys else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._file_threads: ThreadPoolExecutor | None = None
        self._room = Room(layout, settings, clock)
        self._is_open = True
        self._connection, self._rows = open_rows(layout, clock.unix)
        try:
            self._reader = connect(layout.database, read_only=True)
            remove_useless_files(layout, self._rows)
        except BaseException:
            self._connection.close()
            raise
        for entry_id, reason in self._rows.take_damage():
            on_damage(entry_id, reason)
        self._writer = GroupCommitWriter(
            self._connection, self, name=f"spool-{layout.name}", translate=self._translated, fault=faults
        )

    @classmethod
    def open(
        cls,
        data: Path,
        name: str,
        settings: SpoolSettings,
        clock: Clock,
        *,
        socket: str = "",
        on_damage: Damage = ignore_damage,
        faults: Faults = no_fault,
    ) -> SqliteSpool:
        """The spool data/spool/NAME, made if it is not there, held until `close` or the end of the process.

        socket: the file name of this process's control socket in data/run, for commands that look for the holder.
        Raises SpoolError: another process holds it, a newer Gatepost wrote it, or it cannot be read.
        """
        layout = layout_of(data, name)
        layout.make()
        lock = SpoolLock.take(layout, socket)
        if lock is None:
            raise SpoolError(f"spool {layout.folder} is held by another process; it writes, and nobody else may")
        return cls.open_locked(layout, lock, settings, clock, on_damage=on_damage, faults=faults)

    @classmethod
    def open_locked(
        cls,
        layout: Layout,
        lock: SpoolLock,
        settings: SpoolSettings,
        clock: Clock,
        *,
        on_damage: Damage = ignore_damage,
        faults: Faults = no_fault,
    ) -> SqliteSpool:
        """The same with a lock that was taken before; it is released when this fails."""
        try:
            return cls(layout, lock, settings, clock, on_damage, faults)
        except BaseException:
            lock.release()
            raise

    @property
    def name(self) -> str:
        return self._layout.name

    @property
    def octets(self) -> int:
        """Prefixes and contents of all entries."""
        return self._rows.octets

    @property
    def entries(self) -> int:
        return self._rows.entries

    # --- the port

    def new_content(self, *, for_sealing: bool = False) -> SpoolContent:
        is_ephemeral = for_sealing and not self._settings.key
        key = new_key() if is_ephemeral or self._settings.key else None
        inline_octets = self._settings.inline_octets
        return SpoolContent(
            self._layout, inline_octets, self._faults, self._memory, key, has_ephemeral_key=is_ephemeral
        )

    async def add(self, entry: NewEntry, content: Content) -> None:
        prepared = await self._prepare(entry, content)
        await self._commit_new(prepared, 1, prepared.octets, [content])

    async def add_all(self, new: Sequence[tuple[NewEntry, Content]]) -> None:
        added = [await self._prepare(entry, content) for entry, content in new]
        octets = sum(prepared.octets for prepared in added)
        await self._commit_new(partial(self._settle, added, ()), len(added), octets, [content for _, content in new])

    async def lease(
        self, now: float, limit: int, exclude: Collection[str] = (), per_destination: int = 50
    ) -> list[Entry]:
        work = partial(self._rows.lease, now, limit, frozenset(exclude), per_destination)
        leased = self._submit(work, 1, 0, rides=True)  # a lease ends with its owner
        try:
            return cast(list[Entry], await asyncio.shield(leased))
        except asyncio.CancelledError:
            leased.add_done_callback(self._lease_was_abandoned)
            raise

    def give_back(self, entries: Sequence[Entry]) -> None:
        """End leases that nobody will settle, as if they had never been; does not wait for the commit."""
        ended = tuple(
            Settlement(entry.id, recipient.number, State.DUE, recipient.due)
            for entry in entries
            for recipient in entry.recipients
        )
        if self._is_open and ended:
            given_back = self._submit(partial(self._settle, [], ended), len(ended), 0)
            given_back.add_done_callback(lambda done: done.exception())  # a failure is the next one's to tell

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[tuple[NewEntry, Content]] = ()) -> None:
        if not settlements and not new:
            return
        added = [await self._prepare(entry, content, is_own=True) for entry, content in new]
        work = partial(self._settle, added, tuple(settlements))
        octets = sum(prepared.octets for prepared in added)
        self._faults("settle.before")
        weight = len(added) + len(settlements)
        if added:
            await self._commit_new(work, weight, octets, [content for _, content in new])
        else:  # undone by a power cut, it is delivered again; with new entries it might be lost (`spool_set`)
            await self._submit(work, weight, octets, rides=True)
        self._faults("settle.after")

    async def read(self, entry_id: str) -> AsyncIterator[bytes]:
        self._ensure_open()
        try:
            row = self._reader.execute(
                "SELECT e.octets, e.crc, e.in_file, c.prefix, c.octets "
                "FROM entry e LEFT JOIN content c ON c.number = e.number WHERE e.id = ?",
                (entry_id,),
            ).fetchone()
        except apsw.Error as error:
            raise self._translated(error) from error
        if row is None:
            raise SpoolError(f"spool {self.name} has no entry {entry_id}")
        octets, crc, in_file, prefix, content = cast(tuple[int, int, int, bytes | None, bytes | None], row)
        if not isinstance(prefix, bytes) or not isinstance(content, bytes):
            raise await self._damaged(entry_id, "its content is missing from the database")
        if in_file or is_encrypted(prefix):
            file = self._layout.content / entry_id if in_file else None
            stored = Stored(entry_id, octets, crc, prefix, content, file)
            try:
                async with aclosing(pieces(stored, self._cipher, self._run)) as found:
                    async for piece in found:
                        yield piece
            except TamperedError as error:
                raise await self._damaged(entry_id, str(error)) from error
            return
        if len(prefix) + len(content) != octets or zlib.crc32(prefix, zlib.crc32(content)) != crc:
            raise await self._damaged(entry_id, "its octets are not those that were stored")
        if octets <= PIECE_OCTETS:
            yield prefix + content
            return
        if prefix:
            yield prefix
        for at in range(0, len(content), PIECE_OCTETS):
            yield content[at : at + PIECE_OCTETS]

    async def next_due(self, exclude: Collection[str] = ()) -> float | None:
        """As the port; `exclude`: destinations that do not count, as in `lease`."""
        found = await self._submit(partial(self._rows.waiting.next_due, frozenset(exclude)), 1, 0, rides=True)
        return cast(float | None, found)

    async def change(self, entry_id: str, action: str, now: float) -> bool:
        done = await self._submit(partial(self._rows.change, entry_id, parse_action(action), now), 1, 0)
        return cast(bool, done)

    async def close(self) -> None:
        """What was submitted is committed; then the lock is free. A second call does nothing."""
        if not self._is_open:
            return
        self._is_open = False
        self._writer.hand_over()
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    # --- what the writer's thread calls

    def at_once(self, works: Sequence[Work]) -> Statement | None:
        return self._rows.at_once(works)

    def perform(self, works: Sequence[Work]) -> None:
        self._rows.perform(works)

    def committed(self) -> None:
        self._rows.committed()

    def rolled_back(self) -> None:
        self._rows.rolled_back()

    def tidy(self, *, is_synced: bool) -> None:
        if is_synced:
            remove_files(self._layout, self._rows.take_useless_files(), self._faults)
        damage = self._rows.take_damage()
        if damage and self._loop is not None:
            for entry_id, reason in damage:
                move_aside(self._layout, entry_id)
                with contextlib.suppress(RuntimeError):  # the loop is closed: it is in the table `damaged`
                    self._loop.call_soon_threadsafe(self._on_damage, entry_id, reason)

    # --- inside

    def _settle(self, added: list[Prepared], settlements: tuple[Settlement, ...]) -> None:
        if added:
            self._rows.insert(added)
        self._rows.settle(settlements)

    async def _commit_new(self, item: Any, weight: int, octets: int, contents: Sequence[Content]) -> None:
        """Submit what has new entries. From here their content is the spool's, even when the caller goes away while
        the commit is under way; only where the commit fails does it come back."""
        committed = self._submit(item, weight, octets)
        for content in contents:
            cast(SpoolContent, content).take()
        try:
            await committed
        except Exception:
            for content in contents:
                cast(SpoolContent, content).give_back()
            raise

    def _lease_was_abandoned(self, leased: asyncio.Future[list[Entry]]) -> None:
        if leased.exception() is None:
            self.give_back(leased.result())

    def _submit(self, item: Any, weight: int, octets: int, *, rides: bool = False) -> asyncio.Future[Any]:
        self._ensure_open()
        return self._writer.submit(item, weight, octets, rides=rides)

    def _ensure_open(self) -> None:
        if not self._is_open:
            raise SpoolError(f"spool {self.name} is closed")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()

    async def _prepare(self, entry: NewEntry, content: Content, *, is_own: bool = False) -> Prepared:
        """The rows of an entry whose content is safe as soon as they are. is_own: made by us in place of something
        that the spool has (a DSN), so it passes the caps."""
        if not isinstance(content, SpoolContent) or not content.is_finished or content.is_taken:
            raise SpoolError(f"entry {entry.id}: the content must come from new_content() and be finished, once")
        if not is_own:
            self._room.take(len(entry.prefix) + content.octets, held=self._rows.octets)
        in_file = content.path is not None
        prepared = prepare(entry, b"" if in_file else content.inline(), content.crc, content.octets, in_file)
        if self._cipher is not None and content.key is not None and not content.has_ephemeral_key:
            prepared = self._cipher.sealed(prepared, content.key)
        if in_file:
            await self._place(content, entry.id)
        return prepared

    async def _place(self, content: SpoolContent, entry_id: str) -> None:
        loop = asyncio.get_running_loop()
        placed = loop.run_in_executor(self._threads(), content.place, self._layout, entry_id)
        content.take()  # or the caller, when it is cancelled, would discard it while the thread moves it
        try:
            await asyncio.shield(placed)
        except asyncio.CancelledError:
            placed.add_done_callback(lambda _: content.abandon())
            raise
        except SpoolError:
            content.give_back()
            raise
        content.give_back()

    def _threads(self) -> ThreadPoolExecutor:
        if self._file_threads is None:
            self._file_threads = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix=f"spool-{self.name}-files")
        return self._file_threads

    def _run(self, function: Callable[..., bytes], *arguments: Any) -> Awaitable[bytes]:
        self._ensure_open()
        return asyncio.get_running_loop().run_in_executor(self._threads(), function, *arguments)

    async def _damaged(self, entry_id: str, reason: str) -> SpoolError:
        await self._submit(partial(self._rows.set_aside_by_id, entry_id, reason), 1, 0)
        return SpoolError(f"entry {entry_id} of spool {self.name} is damaged: {reason}; it was set aside")

    def _translated(self, error: Exception) -> Exception:
        return translated(error, self._layout)

    def _close(self) -> None:
        self._writer.stop()
        if self._file_threads is not None:
            self._file_threads.shutdown()
        self._reader.close()
        self._connection.close()
        self._lock.release()
