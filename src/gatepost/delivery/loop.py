"""The delivery loop: leases what is due, gives it to lanes, lets workers deliver it, and settles what they did.

Not here: one attempt (`delivery.local`, `delivery.remote`), and what it leads to (`delivery.settling`).
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from gatepost.delivery.course import Course
from gatepost.delivery.lanes import Lane
from gatepost.delivery.local import LocalDelivery
from gatepost.delivery.outcome import Attempt, Ended, Outcome, broken_inside
from gatepost.delivery.pool import Pool
from gatepost.delivery.remote import Crowded, RemoteDelivery
from gatepost.delivery.settings import DeliverySettings
from gatepost.delivery.settling import Settler
from gatepost.mail.reply import Reply
from gatepost.ports.clock import Clock
from gatepost.spool.destination import LOCAL
from gatepost.spool.model import Entry, EntryRecipient
from gatepost.spool.port import SpoolError, SpoolStore
from gatepost.spool.transitions import is_at_end

LEASE: Final = 256  # entries taken at once
LEASE_PER_DESTINATION: Final = 100
LANE_FULL: Final = 200  # entries that wait in one lane: more of that destination stay in the spool
MAX_LEASED: Final = 4000  # entries in the lanes or under way
SPOOL_TROUBLE_SECONDS: Final = 5.0
MIN_SLEEP: Final = 1.0
MAX_SLEEP: Final = 3600.0  # a clock that was set back must not delay mail for longer
# Beyond the drain, for next hops that have the whole message and have not answered yet: nearly all do within a second,
# and whoever stops a server does not wait the ten minutes of RFC 5321 §4.5.3.2.6.
ANSWER_SECONDS: Final = 5.0
LOCAL_TOGETHER: Final = 64  # entries whose maildrop copies share syncs and a settlement
REMOTE_LOAD: Final = 4  # entries for a quick next hop that another session is used for
GATHER_SECONDS: Final = 0.25  # that less than so many wait for one who is at work, before another one begins
LANES_KEPT: Final = 1000  # lanes without work are forgotten above this

log = structlog.get_logger("gatepost.delivery")


class DeliveryLoop:
    """Delivers what is in the spool, from `run` to `stop`."""

    def __init__(
        self,
        settings: DeliverySettings,
        spool: SpoolStore,
        local: LocalDelivery,
        remote: RemoteDelivery,
        settler: Settler,
        pool: Pool,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._local = local
        self._remote = remote
        self._settler = settler
        settler.on_settled = self._settled
        self._pool = pool
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._workers: dict[asyncio.Task[None], Course] = {}
        self._gathering: set[Lane] = set()  # where less than a full load waits for a worker that is busy
        self._leased = 0  # entries that are leased and not settled
        self._wake = asyncio.Event()
        self._lanes_limit = LANES_KEPT
        self._trouble_until = 0.0
        self._has_starved = False  # a lane had to wait for one of `total` workers
        self._is_stopping = False
        self._drained = asyncio.Event()  # attempts have ended, or are to be cut off
        self._running: asyncio.Future[None] | None = None

    @property
    def pool(self) -> Pool:
        """The sessions with next hops, for who passes mail on before it is in the spool."""
        return self._pool

    def notify(self) -> None:
        """There may be something due: called after an entry was added or changed, as often as one likes."""
        if not self._settings.paused:
            self._wake.set()

    def _settled(self, attempts: int) -> None:
        self._leased -= attempts
        self._wake.set()

    async def run(self) -> None:
        """Delivers until `stop`. Never raises for what peers, the spool or a single message do."""
        self._running = asyncio.get_running_loop().create_future()
        settling = asyncio.create_task(self._settler.run(), name="delivery-settler")
        try:
            while not self._is_stopping:
                self._wake.clear()
                if not await self._lease():
                    await self._sleep()
            await self._drained.wait()
        finally:
            await self._cut_off()
            self._settler.finish()
            await settling
            await self._pool.close()
            self._running.set_result(None)

    async def stop(self, drain: float) -> None:
        """Nothing new is begun; attempts under way have `drain` seconds to end, then they are cut off.

        What is cut off or still waits in a lane stays leased, and is due again for whoever opens the spool next. What
        somebody may have got already is not cut off: a maildrop is written to its end, a next hop that has the whole
        message has ANSWER_SECONDS more to say so. What is known of an attempt then is settled and on the record.
        """
        self._is_stopping = True
        for lane in self._lanes.values():
            lane.queue.clear()
        self.hurry(drain)
        self._wake.set()
        if self._running is not None:
            await self._running

    def hurry(self, drain: float) -> None:
        """The limit of a stop that is under way, counted from now; it can only become shorter."""
        if not self._is_stopping:
            return
        if drain <= 0 or not self._workers:
            self._drained.set()
        else:
            asyncio.get_running_loop().call_later(drain, self._drained.set)

    async def _cut_off(self) -> None:
        for course in self._workers.values():
            course.cut()
        if self._workers:
            await asyncio.wait(self._workers, timeout=ANSWER_SECONDS)
        for course in self._workers.values():
            course.abandon()
        if self._workers:
            await asyncio.wait(self._workers)

    async def _lease(self) -> bool:
        """Whether it makes sense to ask again at once."""
        room = min(LEASE, MAX_LEASED - self._leased)
        if self._settings.paused or room <= 0 or self._clock.monotonic() < self._pause_until():
            return False
        try:
            entries = await self._spool.lease(self._clock.unix(), room, self._full(), LEASE_PER_DESTINATION)
        except SpoolError as error:
            self._trouble(error)
            return False
        if self._is_stopping:
            return False  # given back by the end of this process
        self._leased += len(entries)
        for entry in entries:
            lane = self._lane(entry.recipients[0].destination)
            lane.queue.append(entry)
        for key in {entry.recipients[0].destination for entry in entries}:
            self._start(self._lanes[key])
        return bool(entries)

    async def _sleep(self) -> None:
        """Until something is due, an attempt was settled or an entry was added."""
        if self._is_stopping:
            return
        seconds = MAX_SLEEP
        if self._leased < MAX_LEASED and not self._settings.paused:
            try:
                due = await self._spool.next_due(self._full())
                seconds = MAX_SLEEP if due is None else min(due - self._clock.unix(), MAX_SLEEP)
            except SpoolError as error:
                self._trouble(error)
        if (pause := self._pause_until() - self._clock.monotonic()) > 0:
            seconds = pause
            self._wake.clear()  # whatever came: nothing is begun before that
        if self._wake.is_set() or self._is_stopping:
            return
        # What is due now was asked for a moment ago; should it not be given out, asking must not spin.
        seconds = max(seconds, MIN_SLEEP)
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _pause_until(self) -> float:
        return max(self._trouble_until, self._settler.record_broken_until)

    def _trouble(self, error: SpoolError) -> None:
        self._trouble_until = self._clock.monotonic() + SPOOL_TROUBLE_SECONDS
        log.error("mail waits: the spool cannot be used", error=str(error))

    def _full(self) -> list[str]:
        """The destinations of which enough waits here."""
        return [key for key, lane in self._lanes.items() if len(lane.queue) >= LANE_FULL]

    def _lane(self, key: str) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= self._lanes_limit:
                self._forget_lanes()
            if key == LOCAL:
                lane = Lane(key, self._settings.local, self._settings.local, together=LOCAL_TOGETHER)
            else:
                lane = Lane(key, self._settings.per_destination, load=REMOTE_LOAD)
            self._lanes[key] = lane
        return lane

    def _forget_lanes(self) -> None:
        now = self._clock.monotonic()
        for key in [key for key, lane in self._lanes.items() if lane.is_idle(now)]:
            del self._lanes[key]
        self._lanes_limit = max(LANES_KEPT, 2 * len(self._lanes))

    def _start(self, lane: Lane, at_least: int = 0) -> None:
        """As many workers as the lane and the whole allow; each goes on until the lane has nothing for it."""
        if self._is_stopping:
            return
        waiting = max(lane.wanted, at_least)
        if lane.queue and not waiting and lane not in self._gathering:
            self._gathering.add(lane)
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._gathered, lane, lane.queue[0])
        while waiting > 0 and lane.running < lane.window:
            if len(self._workers) >= self._settings.total:
                self._has_starved = True
                return
            waiting -= 1
            lane.running += 1
            worker = asyncio.create_task(self._work(lane))
            self._workers[worker] = Course(worker)
            worker.add_done_callback(self._ended)

    def _gathered(self, lane: Lane, first: Entry) -> None:
        """Who is at work was given time to take `first` along; if it did not, another worker does."""
        self._gathering.discard(lane)
        if lane.queue:
            self._start(lane, at_least=int(lane.queue[0] is first))

    def _ended(self, worker: asyncio.Task[None]) -> None:
        del self._workers[worker]
        if self._is_stopping and not self._workers:
            self._drained.set()
        if self._has_starved:
            self._has_starved = False
            for lane in list(self._lanes.values()):
                self._start(lane)

    async def _work(self, lane: Lane) -> None:
        worker = asyncio.current_task()
        assert worker is not None
        course = self._workers[worker]
        try:
            while course.ahead or (lane.queue and lane.running <= lane.window and not self._is_stopping):
                entries = [course.ahead.entry] if course.ahead else lane.take()
                course.begins()
                try:
                    ended = await self._attempts(lane, entries, course)
                except Crowded:
                    lane.queue.extendleft(reversed(entries))
                    lane.crowded()
                    return
                except asyncio.CancelledError:
                    self._settler.put(course.so_far())
                    raise
                self._settler.put(ended)
                if lane.running < lane.window and lane.queue:
                    self._start(lane)
                if not lane.has_load and not course.ahead:
                    return
        finally:
            lane.running -= 1
            if lane.queue:
                asyncio.get_running_loop().call_soon(self._start, lane)

    async def _attempts(self, lane: Lane, entries: list[Entry], course: Course) -> list[Ended]:
        """One attempt for each of `entries`, whatever happens in it; raises Crowded and CancelledError only."""
        gone: dict[str, Attempt] = {}
        for at, entry in enumerate(entries):
            given_up = tuple([recipient for recipient in entry.recipients if is_at_end(recipient.attempts)])
            if given_up:
                gone[entry.id] = give_up(given_up)
                rest = tuple(recipient for recipient in entry.recipients if recipient not in given_up)
                entries[at] = msgspec.structs.replace(entry, recipients=rest)
        ended = await self._tried([entry for entry in entries if entry.recipients], lane, course)
        if not gone:
            return ended
        by_id = {entry.id: attempt for entry, attempt in ended}
        return [(entry, _joined(gone.get(entry.id), by_id.get(entry.id))) for entry in entries]

    async def _tried(self, entries: list[Entry], lane: Lane, course: Course) -> list[Ended]:
        if lane.key == LOCAL:
            return await self._local.attempt_all(entries, course) if entries else []
        ended = []
        for entry in entries:
            try:
                attempt = await self._remote.attempt(lane, entry, course)
            except Crowded:
                raise
            except Exception as error:  # a defect of ours: this message waits, all others go on
                attempt = Attempt(tuple(broken_inside(entry, recipient, error) for recipient in entry.recipients))
            ended.append((entry, attempt))
        return ended


def _joined(gone: Attempt | None, attempt: Attempt | None) -> Attempt:
    """Both in one; there is at least one of them."""
    if gone is None or attempt is None:
        joined = gone or attempt
        assert joined is not None
        return joined
    return msgspec.structs.replace(attempt, outcomes=gone.outcomes + attempt.outcomes)


def give_up(recipients: tuple[EntryRecipient, ...]) -> Attempt:
    """The attempt that is none: a person asked to give the message back to its sender."""
    outcomes = []
    for recipient in recipients:
        last = f"; the last answer was: {recipient.reply}" if recipient.reply else ""
        reply = Reply(554, "5.0.0", f"given up by the postmaster{last}")
        outcomes.append(Outcome(recipient, "failed", reply, at="person"))
    return Attempt(tuple(outcomes), details={"destination": recipients[0].destination, "untried": True})
