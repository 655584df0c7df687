"""Passing a message on before it is accepted (`intake.cut_through.Passage`).

One attempt, as for a message in the spool, on content that is not in it.

Not here: what the peer hears of it, and what is kept when a next hop takes it for some recipients only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import structlog

from gatepost.accounts.port import AccountsError
from gatepost.audit.event import Event
from gatepost.delivery.course import Course
from gatepost.delivery.ending import end
from gatepost.delivery.lanes import Lane
from gatepost.delivery.notices import Notices
from gatepost.delivery.outcome import Attempt, Outcome
from gatepost.delivery.pool import Pool
from gatepost.delivery.probe import HostClient, Line
from gatepost.delivery.record import made_event, passed_on_event
from gatepost.delivery.remote import RemoteDelivery
from gatepost.delivery.routing import Router
from gatepost.delivery.schedule import Schedule
from gatepost.mail.envelope import Envelope
from gatepost.mail.reply import Reply
from gatepost.ports.clock import Clock
from gatepost.protocol.smtp.client_transaction import STAGES, Kind, RecipientResult, Stage
from gatepost.spool.model import Entry, EntryRecipient, NewEntry, State
from gatepost.spool.port import Content, SpoolError, SpoolStore

# The peer waits 10 minutes for the answer to its final dot (RFC 5321 §4.5.3.2.6); what came later it would send again.
LONGEST_SECONDS: Final = 480.0
MAX_HOSTS: Final = 2

log = structlog.get_logger("gatepost.delivery")


class Passage:
    """Reaches next hops for a session that waits. draw: 0 <= x < 1, each time another."""

    def __init__(
        self,
        hosts: HostClient,
        router: Router,
        pool: Pool,
        spool: SpoolStore,
        notices: Callable[[Message], Notices],
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        """notices: writes those about a message."""
        self._hosts = hosts
        self._router = router
        self._pool = pool
        self._spool = spool
        self._notices = notices
        self._clock = clock
        self._draw = draw

    async def line(self, domain: str, envelope: Envelope) -> Line | RecipientResult:
        """A line to the next hop of `domain`, or what came in the way."""
        hops = await self._hosts.find(domain)
        if isinstance(hops, Reply):
            return _untried(hops)
        found: Line | RecipientResult = _untried(Reply(451, "4.4.4", f"{domain} has no next hop"))
        for hop in hops[:MAX_HOSTS]:
            found = await self._hosts.line(hop, envelope)
            if isinstance(found, Line):
                break
        return found

    def part(self, line: Any) -> None:
        """The line is ended; nobody waits for it."""
        self._hosts.part(line)

    async def hand_over(self, entry: NewEntry, content: Content) -> tuple[Sequence[RecipientResult], Sequence[Event]]:
        """What the next hop says of each recipient, and the events that tell of it. A notice of success that is ours to
        send, since the next hop sends none, is in the spool then."""
        whole, message = _as_entry(entry), Message(entry, content, self._spool)
        remote = RemoteDelivery(self._router, self._pool, message, self._clock, self._draw)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                attempt = await remote.attempt(Lane(entry.destinations[0], 1), whole, Course())
        except TimeoutError:
            reply = Reply(451, "4.4.2", f"the next hop did not take the message within {LONGEST_SECONDS:.0f} s")
            attempt = Attempt(tuple(Outcome(recipient, "deferred", reply, at="data") for recipient in whole.recipients))
        outcomes = sorted(attempt.outcomes, key=lambda outcome: outcome.recipient.number)
        made = await self._tell_success(whole, message, outcomes)
        events = [passed_on_event(whole, attempt, [new.id for new in made])]
        events += [made_event(whole, new, "notice") for new in made]
        return [_result(outcome) for outcome in outcomes], events

    async def _tell_success(self, whole: Entry, message: Message, outcomes: Sequence[Outcome]) -> list[NewEntry]:
        now, schedule = self._clock.now(), Schedule()
        ends = [end(whole, outcome, now, schedule) for outcome in outcomes if outcome.verdict == "delivered"]
        reports = [ending.report for ending in ends if ending.report is not None]
        if not reports:
            return []
        try:
            new, content = await self._notices(message).entry(whole, reports)
            await self._spool.add(new, content)
        except (SpoolError, AccountsError) as error:
            log.error("a notice of success cannot be written", entry=whole.id, error=str(error))
            return []
        return [new]


class Message:
    """A message that is in no spool, read as if it were (`spool.port.ContentStore`)."""

    def __init__(self, entry: NewEntry, content: Content, spool: SpoolStore) -> None:
        self._prefix = entry.prefix
        self._content = content
        self._spool = spool

    def new_content(self) -> Content:
        return self._spool.new_content()

    async def read(self, entry_id: str) -> AsyncIterator[bytes]:
        """Prefix and content."""
        if self._prefix:
            yield self._prefix
        async for octets in self._content.chunks():
            yield octets


def _as_entry(entry: NewEntry) -> Entry:
    recipients = zip(entry.envelope.recipients, entry.destinations, strict=True)
    return Entry(
        id=entry.id,
        envelope=entry.envelope,
        received_at=entry.received_at,
        octets=entry.octets,
        login=entry.login,
        client=entry.client,
        has_8bit=entry.has_8bit,
        require_tls=entry.require_tls,
        recipients=tuple(
            EntryRecipient(number, recipient, where, State.LEASED)
            for number, (recipient, where) in enumerate(recipients)
        ),
    )


def _result(outcome: Outcome) -> RecipientResult:
    kind: Kind = outcome.verdict if outcome.verdict in ("delivered", "failed") else "deferred"
    at: Stage = next((stage for stage in STAGES.values() if stage == outcome.at), "connect")
    return RecipientResult(outcome.reply, at, kind, by_peer=bool(outcome.remote))


def _untried(reply: Reply) -> RecipientResult:
    return RecipientResult(reply, "connect", "deferred", by_peer=False)
