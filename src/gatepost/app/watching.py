"""Watching the record for abuse: one worker of all does it, and if it ends, another one goes on.

It reads the record as it grows, lets the detectors look, puts what they found on the record as alerts, bans and holds
as they say, and has alerts told. It keeps nothing that it could not read again. Not here: what abuse is
(`audit.detectors`).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gatepost.audit import alerts
from gatepost.audit.alerts import Courier
from gatepost.audit.detectors import engine
from gatepost.audit.detectors.engine import Detectors, Ruling
from gatepost.audit.event import Event, Recorder, RecordError
from gatepost.audit.files import CannotRead
from gatepost.audit.watcher import RecordWatcher
from gatepost.gate.bans import Bans
from gatepost.gate.holds import Holds, frozen_event
from gatepost.ports.clock import Clock
from gatepost.spool.port import SpoolError
from gatepost.standing.port import StandingError
from gatepost.store.data_folder import DataFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger()

SEAT_FILE: Final = "watch.lock"
SEAT_SECONDS: Final = 5.0  # between two tries to be the one that watches
LOOK_SECONDS: Final = 2.0  # between two looks at the record
AGAIN_SECONDS: Final = 60.0  # after a look that failed

Freeze = Callable[[str], Awaitable[list[str]]]


class Watching:
    """What one worker needs to watch."""

    def __init__(
        self,
        data: DataFolder,
        detectors: Detectors,
        couriers: Sequence[Courier],
        recorder: Recorder,
        bans: Bans,
        holds: Holds,
        clock: Clock,
        freeze: Freeze,
    ) -> None:
        """freeze: what an account that is held has in the queue; tells the entries' IDs."""
        self._seat = data.run / SEAT_FILE
        self._folder = data.audit
        self._detectors = detectors
        self._couriers = couriers
        self._recorder = recorder
        self._bans = bans
        self._holds = holds
        self._clock = clock
        self._freeze = freeze
        self._ends = threading.Event()  # tells the thread that reads the past to stop

    async def run(self) -> None:
        """Watch, once nobody else does, until cancelled."""
        try:
            while True:
                with _taken(self._seat) as is_ours:
                    if is_ours:
                        await self._watch()
                await asyncio.sleep(SEAT_SECONDS)
        finally:
            self._ends.set()

    async def _watch(self) -> None:
        while True:
            try:
                # A state of its own each time: what was read twice would count twice.
                detectors, reader = self._detectors.anew(), self._reader()
                await asyncio.to_thread(self._read_past, detectors, reader)
                while True:
                    await self.look(detectors, reader)
                    await asyncio.sleep(LOOK_SECONDS)
            except (CannotRead, RecordError, StandingError) as error:
                log.error("the record is not watched for abuse", error=str(error))
            except Exception:
                log.exception("the record is not watched for abuse")
            await asyncio.sleep(AGAIN_SECONDS)

    def _reader(self) -> RecordWatcher:
        wanted = dict.fromkeys((*engine.WANTED, *alerts.WANTED))
        seconds = max(self._detectors.window_seconds, alerts.KEPT_SECONDS)
        return RecordWatcher(self._folder, tuple(wanted), seconds, self._clock.unix())

    def _read_past(self, detectors: Detectors, reader: RecordWatcher) -> None:
        for lines in reader.past():
            if self._ends.is_set():
                return
            detectors.take(lines)
            for courier in self._couriers:
                courier.take(lines)

    async def look(self, detectors: Detectors, reader: RecordWatcher) -> None:
        """Once: what is new, what is found in it, and who is told. Raises CannotRead, RecordError, StandingError."""
        for ruling in await asyncio.to_thread(self._look, detectors, reader):
            await self._act(ruling)
        for courier in self._couriers:
            event = await courier.go(self._clock.unix())
            if event is not None:
                self._record(event)

    def _look(self, detectors: Detectors, reader: RecordWatcher) -> list[Ruling]:
        lines = reader.news()
        detectors.take(lines)
        for courier in self._couriers:
            courier.take(lines)
        return list(detectors.rulings())

    async def _act(self, ruling: Ruling) -> None:
        """The alert first: bans and holds name it."""
        finding = ruling.finding
        event = ruling.event()
        self._record(event)
        if ruling.mode != "enforce":
            return
        reason = f"{finding.detector}: {finding.reason}"
        for network in finding.networks if ruling.ban else ():
            await self._bans.lay(network, ruling.ban, reason, event.id)
        for account in finding.accounts:
            if await self._holds.lay(account, reason, event.id):
                await self._frozen(account)

    async def _frozen(self, account: str) -> None:
        """What the account had in the queue is held with it. The hold stands, whatever becomes of that."""
        try:
            entries = await self._freeze(account)
        except SpoolError as error:
            log.error("queued messages not held; use `gatepost queue hold`", account=account, error=str(error))
            return
        if entries:
            self._record(frozen_event(account, entries))

    def _record(self, event: Event) -> None:
        self._recorder.record(event)
        if event.kind == "alert":
            log.warning(event.details["what"], problem=event.details["problem"], id=event.id)
        elif event.details.get("what") == alerts.NOT_TOLD:
            log.error("alerts are not told", way=event.details["way"], error=event.details.get("note", ""))


@contextmanager
def _taken(seat: Path) -> Iterator[bool]:
    """Whether the lock is ours until the block ends. The end of a process ends it too."""
    descriptor = os.open(seat, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        is_ours = False
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        yield is_ours
    finally:
        os.close(descriptor)
