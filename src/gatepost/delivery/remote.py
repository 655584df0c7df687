"""One attempt for an entry whose recipients leave this host: route, session, transaction, other hops if one fails.

Not here: when to try again (`delivery.settling`), and what is said (`delivery.outbound`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from gatepost.delivery.course import Ahead, Course
from gatepost.delivery.expansion import MAX_HEADER_OCTETS, read_header
from gatepost.delivery.lanes import Lane
from gatepost.delivery.mx import Candidates, NoRoute, arrange
from gatepost.delivery.next_hop import Job, NextHop
from gatepost.delivery.outbound import OpenFailed, RecipientResult
from gatepost.delivery.outcome import Attempt, Ended, Outcome, Verdict
from gatepost.delivery.pool import NoRoom, Pool, Session
from gatepost.delivery.routing import Router
from gatepost.mail.reply import Reply
from gatepost.ports.clock import Clock
from gatepost.spool.model import Entry, EntryRecipient
from gatepost.spool.port import ContentStore, SpoolError
from gatepost.spool.transitions import is_at_end

MAX_DIALOGUE_LINES: Final = 60


class Crowded(Exception):
    """The peer takes no more connections while others of ours are at work there: try again on one of those."""


class RemoteDelivery:
    """Delivers recipients to other hosts. draw: 0 <= x < 1, each time another."""

    def __init__(
        self, router: Router, pool: Pool, spool: ContentStore, clock: Clock, draw: Callable[[], float]
    ) -> None:
        self._router = router
        self._pool = pool
        self._spool = spool
        self._clock = clock
        self._draw = draw

    async def attempt(self, lane: Lane, entry: Entry, course: Course) -> Attempt:
        """One outcome for each recipient of `entry`. Raises Crowded, and then nothing has happened."""
        run = _Run(entry, self._clock, course)
        course.so_far = run.so_far
        ahead, course.ahead = course.ahead, None
        if ahead is not None:
            run.details["route"] = ahead.route.by
            await self._try_hops(lane, run, ahead.route, ahead)
            return run.attempt()
        now = self._clock.monotonic()
        if lane.is_down(now) and lane.why is not None:
            return run.untried(lane.why, self._clock.unix() + lane.rest(now))
        route = lane.known_route(now) or await self._router.find(lane.key)
        if isinstance(route, NoRoute):
            return run.refused(route.reply)
        if lane.route is None:
            lane.keep_route(route, now)
        run.details["route"] = route.by
        await self._try_hops(lane, run, route)
        return run.attempt()

    async def _try_hops(self, lane: Lane, run: _Run, route: Candidates, ahead: Ahead | None = None) -> None:
        """Hop by hop while recipients are left that another hop may take. ahead: where it is begun already."""
        reached = False
        spent: set[NextHop] = set()  # that had their turn
        hops: Iterator[NextHop] | None = None
        while run.waiting and run.wants_another_hop:
            ready: tuple[NextHop, Session] | None
            if ahead is not None:
                ready = ahead.hop, ahead.session
            else:
                ready = self._pool.take([hop for hop in arrange_for(run.entry, tuple(lane.used)) if hop not in spent])
            if ready is None:
                hops = hops or iter(arrange_for(run.entry, arrange(route, self._draw)))
                if (hop := next((hop for hop in hops if hop not in spent), None)) is None:
                    break
                if (ready := await self._open(lane, run, hop)) is None:
                    continue
            hop, session = ready
            lane.used[hop] = None
            await self._deliver(lane, run, route, hop, session, ahead)
            if ahead is not None and session.was_stale:
                lane.may_overlap = False
            ahead = None
            if not session.was_stale:
                reached = True
                spent.add(hop)
        if reached:
            lane.succeeded(self._clock.monotonic() - run.began)
        elif run.had_no_room and run.last is None:
            run.postpone(self._clock.unix() + lane.postponed(self._draw()))
        elif not run.had_no_room and run.last is not None and run.last.kind == "deferred":
            lane.failed(self._clock.monotonic(), run.last.reply)

    async def _open(self, lane: Lane, run: _Run, hop: NextHop) -> tuple[NextHop, Session] | None:
        """A session with the hop, in clear when its TLS is broken and need not be; None: it is noted why not."""
        if (kept := self._pool.take((hop,))) is not None:  # another destination's, at the same host
            return kept
        try:
            return hop, await self._pool.open(hop)
        except NoRoom:
            run.no_room(hop)
            return None
        except OpenFailed as failed:
            if failed.tls_failed and hop.tls == "may" and not hop.implicit_tls:
                run.note(hop, failed, "TLS failed; tried again without")
                return await self._open(lane, run, msgspec.structs.replace(hop, tls="off"))
            run.could_not_open(hop, failed)
            if failed.result.by_peer and failed.result.kind == "deferred" and lane.running > 1 and not run.settled:
                raise Crowded from failed
            return None

    async def _deliver(
        self, lane: Lane, run: _Run, route: Candidates, hop: NextHop, session: Session, ahead: Ahead | None = None
    ) -> None:
        """One job over the session, for all who wait. Whatever ends it, the session is given back, closed, or kept for
        the entry that was taken ahead meanwhile."""
        course = run.course
        damage: list[SpoolError] = [] if ahead is None else ahead.damage
        try:
            if ahead is not None:
                job = ahead.job
            else:
                utf8_header = _may_have_utf8_header(run.entry) and await self._has_utf8_header(run.entry.id)
                following = partial(self._take_ahead, lane, course, route, hop, session)
                job = self._job(run.entry, run.waiting, course, damage, following, utf8_header=utf8_header)
            results = await session.deliver(job)
        except SpoolError as error:
            self._pool.give_back(hop, session)
            run.damaged(error)
            return
        except BaseException:
            if course.ahead is not None:
                lane.queue.appendleft(course.ahead.entry)
                course.ahead = None
            run.was_cut_off(hop, session)
            self._pool.drop(session)
            raise
        run.delivered(hop, session, results, damage[0] if damage else None)
        if course.ahead is None:
            self._pool.give_back(hop, session)

    def _take_ahead(self, lane: Lane, course: Course, route: Candidates, hop: NextHop, session: Session) -> Job | None:
        """The next of the lane, which then follows over the same session; None where it should go its own way."""
        may_overlap = lane.queue and lane.is_quick and lane.may_overlap and not course.is_cut
        if not may_overlap or not self._pool.goes_on(hop, session) or not _is_plain(lane.queue[0]):
            return None
        entry = lane.queue.popleft()
        damage: list[SpoolError] = []
        following = partial(self._take_ahead, lane, course, route, hop, session)
        job = self._job(entry, entry.recipients, course, damage, following)
        course.ahead = Ahead(entry, job, hop, session, route, damage)
        return job

    async def _has_utf8_header(self, entry_id: str) -> bool:
        return not (await read_header(self._spool, entry_id, MAX_HEADER_OCTETS)).isascii()

    def _job(
        self,
        entry: Entry,
        waiting: Sequence[EntryRecipient],
        course: Course,
        damage: list[SpoolError],
        following: Callable[[], Job | None],
        *,
        utf8_header: bool = False,
    ) -> Job:
        """damage: what turns out while the content is read."""
        recipients = tuple([recipient.recipient for recipient in waiting])
        return Job(
            msgspec.structs.replace(entry.envelope, recipients=recipients),
            partial(self._content, entry.id, damage),
            entry.octets,
            entry.has_8bit,
            utf8_header,
            course.in_doubt,
            following,
        )

    async def _content(self, entry_id: str, damage: list[SpoolError]) -> AsyncIterator[bytes]:
        try:
            async for octets in self._spool.read(entry_id):
                yield octets
        except SpoolError as error:
            damage.append(error)
            raise


class _Run:
    """What one attempt has come to. waiting: recipients that no hop has settled yet."""

    def __init__(self, entry: Entry, clock: Clock, course: Course) -> None:
        self.entry = entry
        self.course = course
        self.waiting: list[EntryRecipient] = list(entry.recipients)
        self.settled: list[Outcome] = []
        self.details: dict[str, Any] = {"destination": entry.recipients[0].destination}
        self.last: RecipientResult | None = None
        self.had_no_room = False
        self.wants_another_hop = True
        self._last_remote = ""
        self._clock = clock
        self.began = clock.monotonic()

    def attempt(self) -> Attempt:
        """The whole; who still waits has the last hop's answer."""
        if self.waiting and self.last is not None:
            last = self.last
            reply = last.reply
            remote = self._last_remote if last.by_peer else ""
            # Not by the reply's code: a 5yz to AUTH or STARTTLS is ours to mend, and bounces nothing.
            self._settle([Outcome(recipient, last.kind, reply, remote, at=last.at) for recipient in self.waiting])
        elif self.waiting:
            reply = Reply(451, "4.4.1", "no next hop could be reached")
            self._settle([Outcome(recipient, "deferred", reply) for recipient in self.waiting])
        return self._settled()

    def so_far(self) -> list[Ended]:
        """Those that are settled. The others are as if they had never been tried."""
        return [(self.entry, self._settled())] if self.settled else []

    def _settled(self) -> Attempt:
        took_ms = round((self._clock.monotonic() - self.began) * 1000)
        return Attempt(tuple(self.settled), took_ms, (), self.details)

    def was_cut_off(self, hop: NextHop, session: Session) -> None:
        """The job over `session` did not come to its end: what the hop has said until then counts."""
        known = session.known
        if known:
            self._record(hop, session)
            self._settle([_outcome(self.waiting[number], result, hop.name) for number, result in sorted(known.items())])

    def untried(self, why: Reply, not_before: float) -> Attempt:
        self.details["untried"] = True
        reply = Reply(why.code, why.esc, f"not tried, since a moment ago it went so: {why.text}")
        self._settle([Outcome(recipient, "deferred", reply, not_before=not_before) for recipient in self.waiting])
        return self.attempt()

    def postpone(self, until: float) -> None:
        """Every place at the next hops is taken: nobody's fault, and no attempt."""
        reply = Reply(451, "4.4.5", "as many connections with the next hop are open as may be")
        self._settle([Outcome(recipient, "postponed", reply, not_before=until) for recipient in self.waiting])

    def refused(self, reply: Reply) -> Attempt:
        self._settle([Outcome(recipient, _verdict(reply), reply, at="route") for recipient in self.waiting])
        return self.attempt()

    def note(self, hop: NextHop, failed: OpenFailed, what: str) -> None:
        """A hop that did not work, for the record."""
        self.details.setdefault("tried", []).append(
            {"hop": str(hop), "what": what, "reply": str(failed.result.reply), "dialogue": failed.dialogue[-10:]}
        )

    def could_not_open(self, hop: NextHop, failed: OpenFailed) -> None:
        self.note(hop, failed, "no session")
        # A deferral outweighs a refusal: the host that did not answer may be the one that takes the mail (RFC 7504 §4).
        if self.last is None or failed.result.kind == "deferred":
            self.last, self._last_remote = failed.result, hop.name

    def no_room(self, hop: NextHop) -> None:
        self.had_no_room = True
        self.details.setdefault("tried", []).append({"hop": str(hop), "what": "no place for another connection"})

    def damaged(self, error: SpoolError) -> None:
        reply = Reply(451, "4.3.0", "the message cannot be read")
        self._settle([Outcome(recipient, "held", reply, at=str(error)) for recipient in self.waiting])
        self.wants_another_hop = False

    def delivered(
        self, hop: NextHop, session: Session, results: Sequence[RecipientResult], damage: SpoolError | None
    ) -> None:
        """Take note of a job's results; who waits afterwards may have better luck elsewhere."""
        self._record(hop, session)
        if damage is not None:
            self.damaged(damage)
            return
        if session.was_stale:
            return  # nothing happened: the same hop again, on a new connection
        waiting, outcomes = [], []
        for recipient, result in zip(self.waiting, results, strict=True):
            if _may_go_elsewhere(result):
                waiting.append(recipient)
                self.last, self._last_remote = result, hop.name
            else:
                outcomes.append(_outcome(recipient, result, hop.name))
        self._settle(outcomes)
        self.waiting = waiting
        self.wants_another_hop = bool(waiting)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        self.settled += outcomes
        done = {outcome.recipient.number for outcome in outcomes}
        self.waiting = [recipient for recipient in self.waiting if recipient.number not in done]

    def _record(self, hop: NextHop, session: Session) -> None:
        details = self.details
        details["hop"] = str(hop)
        if session.local_address:
            details["local"] = session.local_address
        if (tls := session.tls) is not None:
            details["tls"] = {"version": tls.version, "cipher": tls.cipher, "verified": tls.verified}
            if tls.error:
                details["tls"]["error"] = tls.error
        dialogue = session.take_dialogue()
        if len(dialogue) > MAX_DIALOGUE_LINES:
            dialogue = [*dialogue[: MAX_DIALOGUE_LINES - 10], "... (cut here)", *dialogue[-10:]]
        details["dialogue"] = dialogue


def arrange_for(entry: Entry, hops: tuple[NextHop, ...]) -> tuple[NextHop, ...]:
    """The hops as this entry may use them: with REQUIRETLS only over verified TLS (RFC 8689 §4.2.1)."""
    if not entry.require_tls:
        return hops
    return tuple(msgspec.structs.replace(hop, tls="verify") for hop in hops)


def _may_have_utf8_header(entry: Entry) -> bool:
    return entry.envelope.smtputf8 and entry.has_8bit


def _is_plain(entry: Entry) -> bool:
    """Whether nothing has to be looked up or chosen before it can go over a session that stands."""
    if entry.require_tls or _may_have_utf8_header(entry):
        return False
    return True not in [is_at_end(recipient.attempts) for recipient in entry.recipients]


def _verdict(reply: Reply) -> Verdict:
    return "deferred" if reply.is_transient else "failed"


def _may_go_elsewhere(result: RecipientResult) -> bool:
    """Whether another host of the domain may do better: the session broke before the content could have arrived.

    After that, a second try might deliver twice; and a host's 4yz to MAIL or RCPT is the domain's answer.
    """
    return result.kind == "deferred" and not result.by_peer and result.at in ("connect", "helo", "mail", "rcpt")


def _outcome(recipient: EntryRecipient, result: RecipientResult, remote: str) -> Outcome:
    return Outcome(
        recipient,
        result.kind,
        result.reply,
        remote if result.by_peer else "",
        success="" if result.dsn_passed_on else "relayed",
        at=result.at,
    )
