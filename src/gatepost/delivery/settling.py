"""Attempts that ended are settled: spool, notices and record, many of them in one commit.

What ends while a commit is running rides on the next one. Not here: what an outcome leads to (`delivery.ending`), and
the attempts themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from gatepost.accounts.port import AccountsError
from gatepost.audit.event import Recorder, RecordError
from gatepost.delivery.ending import Ending, end
from gatepost.delivery.notices import Notices
from gatepost.delivery.outcome import Attempt
from gatepost.delivery.record import aside_event, attempt_event, made_event
from gatepost.delivery.schedule import Schedule
from gatepost.ports.clock import Clock
from gatepost.spool.model import Entry, NewEntry, Settlement, State
from gatepost.spool.port import Content, SpoolError, SpoolStore

RETRY_SECONDS: Final = 5.0  # between tries to settle when the spool cannot be written
MAX_BATCH: Final = 256
ASIDE_ALERT_SECONDS: Final = 3600.0  # one alert an hour says it; each attempt says it too

log = structlog.get_logger("gatepost.delivery")
New = list[tuple[NewEntry, Content]]


class Settler:
    """Takes attempts, and settles them in batches. `run` does the work until `finish`."""

    def __init__(
        self,
        hostname: str,
        spool: SpoolStore,
        notices: Notices,
        recorder: Recorder,
        clock: Clock,
        schedule: Schedule,
    ) -> None:
        """on_settled: called with the number of attempts that were settled. record_broken_until: no attempt should
        begin before that moment (monotonic), since the record could not be written."""
        self.on_settled: Callable[[int], None] = lambda attempts: None
        self.record_broken_until = 0.0
        self._hostname = hostname
        self._spool = spool
        self._notices = notices
        self._recorder = recorder
        self._clock = clock
        self._schedule = schedule
        self._waiting: list[tuple[Entry, Attempt]] = []
        self._wake = asyncio.Event()
        self._is_finishing = False
        self._next_aside_alert = 0.0

    def put(self, entry: Entry, attempt: Attempt) -> None:
        """The attempt has ended; it is settled soon, and what was new in it is kept in the same commit."""
        self._waiting.append((entry, attempt))
        self._wake.set()

    def finish(self) -> None:
        """`run` returns when nothing waits any more. Trouble is not waited for any longer."""
        self._is_finishing = True
        self._wake.set()

    async def run(self) -> None:
        while True:
            if not self._waiting:
                if self._is_finishing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            await self._settle(batch)
            self.on_settled(len(batch))

    async def _settle(self, batch: list[tuple[Entry, Attempt]]) -> None:
        """Tried until it works: what is not settled would be delivered again."""
        settlements: list[Settlement] = []
        new: New = []
        for entry, attempt in batch:
            attempt, endings, notices = await self._endings(entry, attempt)
            self._record(entry, attempt, endings, notices)
            settlements += [ending.settlement for ending in endings]
            new += [*attempt.new, *notices]
        while True:
            try:
                await self._spool.settle(settlements, new)
                return
            except SpoolError as error:
                log.error("attempts cannot be settled; what was delivered may be delivered again", error=str(error))
            if self._is_finishing:
                return  # the leases end with this process
            await asyncio.sleep(RETRY_SECONDS)

    async def _endings(self, entry: Entry, attempt: Attempt) -> tuple[Attempt, list[Ending], New]:
        """The attempt, what becomes of each recipient, and the notice about those that call for one."""
        now = self._clock.now()
        endings: list[Ending] = []
        try:
            endings = [end(entry, outcome, now, self._schedule) for outcome in attempt.outcomes]
            return attempt, endings, await self._notice(entry, endings)
        except (SpoolError, AccountsError):  # at shutdown only: without its notice nothing is settled
            return attempt, [_given_back(ending, self._clock.unix()) for ending in endings], []
        except Exception as error:  # a defect of ours must neither stop others nor lose mail
            log.exception("an attempt cannot be settled; its recipients are held", entry=entry.id)
            for _, content in attempt.new:
                content.discard()
            held = [_held(entry, outcome.recipient.number, error) for outcome in attempt.outcomes]
            return msgspec.structs.replace(attempt, new=()), held, []

    async def _notice(self, entry: Entry, endings: list[Ending]) -> New:
        reports = [ending.report for ending in endings if ending.report is not None]
        while reports:
            try:
                return [await self._notices.entry(entry, reports)]
            except (SpoolError, AccountsError) as error:
                if self._is_finishing:
                    raise
                log.error("a notice to a sender cannot be written yet", entry=entry.id, error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
        return []

    def _record(self, entry: Entry, attempt: Attempt, endings: list[Ending], notices: New) -> None:
        if all(ending.settlement.state is State.DUE for ending in endings):
            return  # nothing was tried
        made = [(new, "expansion") for new, _ in attempt.new] + [(new, "notice") for new, _ in notices]
        try:
            self._recorder.record(attempt_event(entry, attempt, endings, [new.id for new, _ in made]))
            for new, why in made:
                self._recorder.record(made_event(entry, new, why))
            if attempt.details.get("aside") and self._clock.monotonic() >= self._next_aside_alert:
                self._next_aside_alert = self._clock.monotonic() + ASIDE_ALERT_SECONDS
                self._recorder.record(aside_event(entry, self._hostname))
        except RecordError as error:
            self.record_broken_until = self._clock.monotonic() + RETRY_SECONDS
            log.error("the record cannot be written; no new attempts are begun", error=str(error))


def _given_back(ending: Ending, now: float) -> Ending:
    """The lease of a recipient whose notice could not be written ends untried; others are settled as they are."""
    if ending.report is None:
        return ending
    return Ending(msgspec.structs.replace(ending.settlement, state=State.DUE, due=now))


def _held(entry: Entry, number: int, error: Exception) -> Ending:
    reply = f"451 4.3.0 not settled: {error}; see the server's log, then release or bounce it"
    return Ending(Settlement(entry.id, number, State.HELD, reply=reply))
