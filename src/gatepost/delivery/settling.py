"""Attempts that ended are settled: spool, notices and record, many of them in one commit.

What ends while a commit is running rides on the next one. Not here: what an outcome leads to (`delivery.ending`), and
the attempts themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog

from gatepost.accounts.port import AccountsError
from gatepost.audit.event import BatchRecorder, Event, RecordError
from gatepost.delivery.clock_steps import ClockSteps
from gatepost.delivery.ending import Ending, end, without_entries, without_notice
from gatepost.delivery.notices import Notices
from gatepost.delivery.outcome import Attempt, Ended
from gatepost.delivery.record import aside_event, attempt_event, made_event
from gatepost.delivery.schedule import Schedule
from gatepost.mail.dsn import RecipientReport
from gatepost.ports.clock import Clock
from gatepost.spool.model import Entry, NewEntry, Settlement, State
from gatepost.spool.port import Content, SpoolError, SpoolStore

RETRY_SECONDS: Final = 5.0  # between tries to settle when the spool cannot be written
LATER_SECONDS: Final = 60.0  # until what could not be settled as it should be is attempted again
MAX_FAILURES: Final = 3  # of one attempt to be settled, before it is settled without new entries
MAX_BATCH: Final = 256
ASIDE_ALERT_SECONDS: Final = 3600.0  # one alert an hour says it; each attempt says it too

log = structlog.get_logger("gatepost.delivery")
New = list[tuple[NewEntry, Content]]


class _Item(msgspec.Struct):
    """One attempt, ready to be settled. without_new: how, when nothing can be added to the spool."""

    entry_id: str
    settlements: list[Settlement]
    new: New
    without_new: list[Settlement]
    failures: int = 0


class Settler:
    """Takes attempts, and settles them in batches. `run` does the work until `finish`."""

    def __init__(
        self,
        hostname: str,
        spool: SpoolStore,
        notices: Notices,
        recorder: BatchRecorder,
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
        self._steps = ClockSteps(clock)
        self._waiting: list[Ended] = []
        self._wake = asyncio.Event()
        self._is_finishing = False
        self._next_aside_alert = 0.0

    def put(self, ended: Iterable[Ended]) -> None:
        """These attempts have ended; they are settled soon, and what was new in them is kept in the same commit."""
        self._waiting += ended
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

    async def _settle(self, batch: list[Ended]) -> None:
        """Tried until it works: what is not settled would be delivered again."""
        events: list[Event] = []
        items = [await self._item(entry, attempt, events) for entry, attempt in batch]
        self._record(events)
        try:
            await self._spool.settle(
                [settlement for item in items for settlement in item.settlements],
                [new for item in items for new in item.new],
            )
            return
        except SpoolError as error:
            log.error("attempts cannot be settled; what was delivered may be delivered again", error=str(error))
        # One by one from here: should one of them be the trouble, it must not hold up the others.
        while items and not self._is_finishing:  # at the end of the process its leases end by themselves
            await asyncio.sleep(RETRY_SECONDS)
            items = [item for item in items if not await self._settle_one(item)]

    async def _settle_one(self, item: _Item) -> bool:
        """Whether it is settled, in the end without what it wants to add."""
        try:
            await self._spool.settle(item.settlements, item.new)
            return True
        except SpoolError as error:
            item.failures += 1
            if item.failures < MAX_FAILURES:
                return False
            log.error("an attempt cannot be settled as it should be", entry=item.entry_id, error=str(error))
        try:
            await self._spool.settle(item.without_new)
        except SpoolError:
            return False
        for _, content in item.new:
            content.discard()
        return True

    async def _item(self, entry: Entry, attempt: Attempt, events: list[Event]) -> _Item:
        """What is to be settled for one attempt; what is to be recorded of it is among `events` then."""
        now = self._clock.now()
        later = now.timestamp() + LATER_SECONDS
        try:
            skipped = self._steps.skipped(entry.received_at)
            endings = [end(entry, outcome, now, self._schedule, skipped) for outcome in attempt.outcomes]
            reports = [ending.report for ending in endings if ending.report is not None]
            if reports or attempt.new:
                notices = await self._notice(entry, reports)
                if notices is None:
                    endings = [without_notice(ending, later) for ending in endings]
                without = [without_entries(*pair, later) for pair in zip(endings, attempt.outcomes, strict=True)]
            else:
                notices, without = [], endings
        except Exception as error:  # a defect of ours must neither stop others nor lose mail
            log.exception("an attempt cannot be settled; its recipients are held", entry=entry.id)
            for _, content in attempt.new:
                content.discard()
            attempt = msgspec.structs.replace(attempt, new=())
            endings = without = [_held(entry, outcome.recipient.number, error) for outcome in attempt.outcomes]
            notices = []
        events += self._events(entry, attempt, endings, notices or [])
        settlements = [ending.settlement for ending in endings]
        return _Item(
            entry.id,
            settlements,
            [*attempt.new, *(notices or [])],
            settlements if without is endings else [ending.settlement for ending in without],
        )

    async def _notice(self, entry: Entry, reports: list[RecipientReport]) -> New | None:
        """The notice that tells `reports`; None when it cannot be written now."""
        if not reports:
            return []
        try:
            return [await self._notices.entry(entry, reports)]
        except (SpoolError, AccountsError) as error:
            log.error("a notice to a sender cannot be written yet", entry=entry.id, error=str(error))
            return None

    def _events(self, entry: Entry, attempt: Attempt, endings: list[Ending], notices: New) -> list[Event]:
        """What the record says of one attempt; nothing where nothing was tried."""
        states = [ending.settlement.state for ending in endings]
        if states.count(State.DUE) == len(states):
            return []
        made = [new for new, _ in (*attempt.new, *notices)]
        events = [attempt_event(entry, attempt, endings, [new.id for new in made] if made else ())]
        for at, new in enumerate(made):
            events.append(made_event(entry, new, "expansion" if at < len(attempt.new) else "notice"))
        if attempt.details.get("aside") and self._clock.monotonic() >= self._next_aside_alert:
            self._next_aside_alert = self._clock.monotonic() + ASIDE_ALERT_SECONDS
            events.append(aside_event(entry, self._hostname))
        return events

    def _record(self, events: list[Event]) -> None:
        """In one write, before the attempts are settled."""
        if not events:
            return
        try:
            self._recorder.record_all(events)
        except RecordError as error:
            self.record_broken_until = self._clock.monotonic() + RETRY_SECONDS
            log.error("the record cannot be written; no new attempts are begun", error=str(error))


def _held(entry: Entry, number: int, error: Exception) -> Ending:
    reply = f"451 4.3.0 not settled: {error}; see the server's log, then release or bounce it"
    return Ending(Settlement(entry.id, number, State.HELD, reply=reply))
