"""One thread that writes to a database for all tasks of a worker: what comes together shares one commit and one sync.

What may be lost in a power cut has no sync of its own: it rides on the next one, which comes soon in any case.

Not here: what is written (the caller's `perform`), and opening the database (`connection`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

import apsw

MAX_BATCH: Final = 256
MAX_BATCH_OCTETS: Final = 4 * 1024 * 1024
GATHERING_TURNS: Final = 4  # of the loop, at most, before the thread gets what was submitted in them
CHECKPOINT_OCTETS: Final = 8 * 1024 * 1024
RIDE_SECONDS: Final = 0.2  # at most, until what was committed without a sync has one
# A shorter log is left as it is: written back after each message of a quiet server, it would cost three syncs more.
IDLE_CHECKPOINT_OCTETS: Final = 2 * 1024 * 1024
IDLE_SECONDS: Final = 1.0  # without work, then free pages are given up and the log is written back
VACUUM_PAGES: Final = 64  # a step, so that whoever comes meanwhile waits under 20 ms
VACUUM_FROM_PAGES: Final = 1024  # fewer are soon used again
VACUUM_PAUSE_SECONDS: Final = 0.02

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""
COMMIT: Final[Statement] = ("COMMIT", ())


class Work:
    """One change that waits for its commit. weight, octets: its part of a batch. rides: a power cut may undo it."""

    __slots__ = ("error", "future", "item", "octets", "result", "rides", "weight")

    def __init__(self, item: Any, future: asyncio.Future[Any], weight: int, octets: int, *, rides: bool) -> None:
        self.item = item
        self.future = future
        self.weight = weight
        self.octets = octets
        self.rides = rides
        self.result: Any = None
        self.error: Exception | None = None


class Engine(Protocol):
    """What the thread works with; every method is called in the thread and nowhere else."""

    def at_once(self, works: Sequence[Work]) -> Statement | None:
        """The one statement that carries all of them out, which is then a transaction by itself; None where there is
        none, and nothing was done. Their `result` is None."""
        ...

    def perform(self, works: Sequence[Work]) -> None:
        """Carry all of them out in the open transaction and set each `result`; raising undoes all."""
        ...

    def committed(self) -> None:
        """The transaction is done: count it."""
        ...

    def rolled_back(self) -> None:
        """Nothing of it happened: forget what was noted."""
        ...

    def tidy(self, *, is_synced: bool) -> None:
        """After the callers were told: what may happen late; where all that was committed is on stable storage, that
        is what cannot be undone too (the end of files that nothing refers to any more)."""
        ...


class GroupCommitWriter:
    """Runs each batch in one transaction. A batch that fails is undone and its members are tried one by one, so that
    one that cannot be written harms no other."""

    def __init__(
        self,
        connection: apsw.Connection,
        engine: Engine,
        *,
        name: str,
        translate: Callable[[Exception], Exception],
        fault: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._engine = engine
        self._translate = translate
        self._fault = fault
        self._queue: SimpleQueue[list[Work] | None] = SimpleQueue()
        self._submitted: list[Work] = []  # not handed over yet
        self._gathered = 0  # how many there were a turn of the loop ago
        self._turns = 0  # of the loop, since the first of them
        self._left: list[Work] = []  # taken from the queue, too many for the batch before
        self._loop: asyncio.AbstractEventLoop | None = None
        page_octets = int(connection.pragma("page_size"))
        self._checkpoint_pages = CHECKPOINT_OCTETS // page_octets
        self._idle_checkpoint_pages = IDLE_CHECKPOINT_OCTETS // page_octets
        self._syncs_commits = True  # as `connection` made it
        self._is_synced = True
        self._synced_at = time.monotonic()
        self._patience: float | None = IDLE_SECONDS  # for the next work; None once there is nothing to tidy
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Any, weight: int, octets: int, *, rides: bool = False) -> asyncio.Future[Any]:
        """A future that is done when `item` is committed, or has the error it met. From the loop's thread only.

        rides: it is done before it is on stable storage; after a power cut it may be as if it had not been.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._submitted:
            self._gathered = self._turns = 0
            loop.call_soon(self._turn)
        self._submitted.append(Work(item, future, weight, octets, rides=rides))
        return future

    def _turn(self) -> None:
        """Hand over after the first turn of the loop in which nothing came: an idle loop loses some microseconds by
        that, and a busy one shares a commit, its sync and the thread's wake-up among more."""
        gathered = len(self._submitted)
        self._turns += 1
        if gathered > self._gathered and self._turns < GATHERING_TURNS and self._loop is not None:
            self._gathered = gathered
            self._loop.call_soon(self._turn)
        else:
            self.hand_over()

    def hand_over(self) -> None:
        """The thread gets what was submitted and not handed over yet, together: woken for the first of it, it would
        commit that alone. From the loop's thread only."""
        if self._submitted:
            submitted, self._submitted = self._submitted, []
            self._queue.put(submitted)

    def stop(self) -> None:
        """Carries out what was handed over and ends the thread. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._collect()
            if batch:
                self._patience = IDLE_SECONDS
                self._commit(batch)
                self._resolve(batch)
                if not self._is_synced and time.monotonic() - self._synced_at >= RIDE_SECONDS:
                    self._sync()
                self._engine.tidy(is_synced=self._is_synced)
                self._checkpoint_if_long()
            elif not self._is_synced:
                self._sync()
                self._engine.tidy(is_synced=self._is_synced)
            elif running:
                self._idle()
        if not self._is_synced:
            self._sync()
            self._engine.tidy(is_synced=self._is_synced)

    def _collect(self) -> tuple[list[Work], bool]:
        """The next batch, empty after a while without work, and whether to go on after it."""
        queue = self._queue
        works, self._left = self._left, []
        batch: list[Work] = []
        weight = octets = 0
        try:
            taken = works or queue.get(timeout=self._patience if self._is_synced else RIDE_SECONDS)
            while taken is not None:
                for at, work in enumerate(taken, 1):
                    batch.append(work)
                    weight += work.weight
                    octets += work.octets
                    if weight >= MAX_BATCH or octets >= MAX_BATCH_OCTETS:
                        self._left = taken[at:]
                        return batch, True
                taken = queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _commit(self, batch: list[Work]) -> None:
        error = self._try(batch)
        if error is None:
            return
        if len(batch) == 1:
            batch[0].error = error
            return
        for work in batch:
            work.error = self._try([work])

    def _try(self, works: list[Work]) -> Exception | None:
        connection, engine = self._connection, self._engine
        rides = all(work.rides for work in works)
        try:
            self._will_sync(not rides)
            statement = engine.at_once(works)
            if statement is None:
                connection.execute("BEGIN IMMEDIATE")
                engine.perform(works)
                statement = COMMIT
            self._fault("commit.before")
            connection.execute(*statement)
            self._fault("commit.after")
        except Exception as error:
            if connection.in_transaction:  # a full disk ends it without us
                with contextlib.suppress(apsw.Error):
                    connection.execute("ROLLBACK")
            engine.rolled_back()
            return self._translate(error)
        engine.committed()
        self._note_sync(not rides)
        return None

    def _will_sync(self, is_so: bool) -> None:
        """Whether the next commit syncs the log, and so all that was committed before."""
        if is_so is not self._syncs_commits:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_so else 'NORMAL'}")
            self._syncs_commits = is_so

    def _note_sync(self, is_synced: bool) -> None:
        if is_synced:
            self._is_synced, self._synced_at = True, time.monotonic()
        elif self._is_synced:
            self._is_synced, self._synced_at = False, time.monotonic()

    def _sync(self) -> None:
        """The log is on stable storage with all that rode."""
        try:
            # Another descriptor of the same file: SQLite keeps its locks on the database, not on its log.
            log = os.open(self._connection.filename_wal, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(log)
            finally:
                os.close(log)
        except OSError:
            self._synced_at = time.monotonic()  # tried again; the next commit with a sync of its own tells
            return
        self._note_sync(True)

    def _resolve(self, batch: list[Work]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_tell, batch)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _logged_pages(self, *, forget: bool = False) -> int:
        """Pages written to the log since the last checkpoint; a hook would have to win the interpreter's lock."""
        return int(self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, forget)[0])

    def _checkpoint_if_long(self) -> None:
        # Since the last one: while a reader keeps the log from starting anew, it must not cost each commit a sync.
        if self._logged_pages() >= self._checkpoint_pages:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Here, between two commits, nobody writes: the whole log goes back and the next commit starts it anew."""
        self._fault("checkpoint.before")
        with contextlib.suppress(apsw.Error):  # the disk is full or failing: the log keeps all, the next commit tells
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._logged_pages(forget=True)

    def _idle(self) -> None:
        connection = self._connection
        self._patience = None
        with contextlib.suppress(apsw.Error):  # as above; room is given back another time
            if int(connection.pragma("freelist_count")) >= VACUUM_FROM_PAGES:
                connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
                self._patience = VACUUM_PAUSE_SECONDS
                self._checkpoint_if_long()
                return
        if self._logged_pages() >= self._idle_checkpoint_pages:
            self._checkpoint()


def _tell(batch: list[Work]) -> None:
    for work in batch:
        future = work.future
        if future.done():  # the caller was cancelled
            continue
        if work.error is None:
            future.set_result(work.result)
        else:
            future.set_exception(work.error)
