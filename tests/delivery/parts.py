"""What delivery stands on, as small fakes with behaviour, and a loop joined from them that runs in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.memory_maildrops import MemoryMaildrops
from tests.support.memory_spool import MemoryContent, MemorySpool
from tests.support.virtual_time import LoopClock

from gatepost.accounts.model import Resolution, Target
from gatepost.audit.event import Event, RecordError
from gatepost.delivery.assembly import pool_settings
from gatepost.delivery.expansion import Expansion
from gatepost.delivery.local import LocalDelivery
from gatepost.delivery.loop import DeliveryLoop
from gatepost.delivery.next_hop import Job, NextHop
from gatepost.delivery.notices import Notices
from gatepost.delivery.outbound import OpenFailed, RecipientResult
from gatepost.delivery.pool import Pool
from gatepost.delivery.remote import RemoteDelivery
from gatepost.delivery.routing import Router
from gatepost.delivery.settings import DeliverySettings
from gatepost.delivery.settling import Settler
from gatepost.mail.address import NULL_PATH, Path, parse_mailbox
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.ids import make_id
from gatepost.mail.reply import Reply
from gatepost.ports.connect import TlsState
from gatepost.ports.resolver import Answer, Outcome
from gatepost.spool.destination import destination
from gatepost.spool.model import NewEntry

HOSTNAME = "mx.example.org"
BODY = b"From: bob@example.org\r\nSubject: Lunch\r\nMessage-ID: <1@example.org>\r\n\r\nAt noon?\r\n"


class ZoneResolver:
    """Resolver over {"example.net": {"MX": ["10 mx.example.net"]}}; a name maps to an Outcome to fail so."""

    def __init__(self, zone: dict[str, dict[str, list[str]] | Outcome]) -> None:
        self.zone = zone
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        found = self.zone.get(name, Outcome.NO_NAME)
        if isinstance(found, Outcome):
            return Answer(found, error="timeout" if found is Outcome.FAILED else "")
        records = tuple(found.get(rdtype, ()))
        return Answer(Outcome.FOUND if records else Outcome.NO_DATA, records, name)

    def cached(self, name: str, rdtype: str) -> Answer | None:
        return None


class Book:
    """Addresses: {"ada@example.org": [targets]}; a domain in `ours` that has no such address is unknown there."""

    def __init__(self, ours: set[str], book: dict[str, list[Target]] | None = None) -> None:
        self.ours = ours
        self.book = book or {}
        self.error: Exception | None = None
        self.notices: list[str] = []

    def resolve(self, path: Path) -> Resolution:
        if str(path) in self.book:
            return Resolution("account", str(path))
        return Resolution("unknown" if path.domain in self.ours else "foreign", str(path))

    def expand(self, path: Path, *, is_notice: bool = False) -> list[Target] | Awaitable[list[Target]]:
        if is_notice:
            self.notices.append(str(path))
        if self.error is not None:
            raise self.error
        if str(path) in self.book:
            return self.book[str(path)]
        return [] if path.domain in self.ours else [Target("remote", path)]


class Record:
    """Recorder that keeps events; with `broken` it cannot write."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.broken = False

    def record(self, event: Event) -> None:
        if self.broken:
            raise RecordError("the disk is full")
        self.events.append(event)

    def record_all(self, events: Sequence[Event]) -> None:
        for event in events:
            self.record(event)

    def attempts(self) -> list[Event]:
        return [event for event in self.events if event.kind == "delivery.attempt"]


class CountedIds:
    def __init__(self) -> None:
        self._number = 1000

    def new(self) -> str:
        self._number += 1
        return make_id(self._number, 0)


Answering = Callable[[Job], list[RecipientResult]]


def result(
    code: int, esc: str = "", text: str = "", at: Any = "data", *, by_peer: bool = True, dsn: bool = False
) -> RecipientResult:
    kind = "delivered" if code < 400 else "deferred" if code < 500 else "failed"
    return RecipientResult(Reply(code, esc, text), at, kind, by_peer, dsn)  # type: ignore[arg-type]


def takes_all(job: Job) -> list[RecipientResult]:
    return [result(250, "2.0.0", "taken") for _ in job.envelope.recipients]


def refuses_to_connect(text: str = "connection refused") -> OpenFailed:
    return OpenFailed(result(451, "4.4.1", text, "connect", by_peer=False), [])


class World:
    """The other hosts, by address. answers: what a session there says to a job. down: opening fails so.

    gates: jobs there wait for it, before anything is sent: a host that does not answer. late: they wait for it with the
    whole message sent.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answering] = {}
        self.down: dict[str, OpenFailed] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.late: dict[str, asyncio.Event] = {}
        self.opening_seconds: dict[str, float] = {}
        self.opened: list[NextHop] = []
        self.jobs: list[tuple[str, Job]] = []
        self.contents: list[bytes] = []
        self.open_now: dict[str, int] = {}
        self.most_open: dict[str, int] = {}
        self.limit: dict[str, int] = {}
        self.stale: set[str] = set()

    async def open(self, hop: NextHop) -> FakeSession:
        self.opened.append(hop)
        if (seconds := self.opening_seconds.get(hop.address)) is not None:
            await asyncio.sleep(seconds)
        if (failed := self.down.get(hop.address)) is not None:
            raise failed
        open_now = self.open_now.get(hop.address, 0)
        if open_now >= self.limit.get(hop.address, 10_000):
            raise OpenFailed(result(421, "4.7.0", "too many connections", "connect"), [])
        self.open_now[hop.address] = open_now + 1
        self.most_open[hop.address] = max(self.most_open.get(hop.address, 0), open_now + 1)
        return FakeSession(self, hop)


class FakeSession:
    """`pool.Session`."""

    def __init__(self, world: World, hop: NextHop) -> None:
        self.hop = hop
        self.messages = 0
        self.was_stale = False
        self.known: dict[int, RecipientResult] = {}
        self.local_address = "192.0.2.1"
        self.tls = TlsState("TLSv1.3", "TLS_AES_128_GCM_SHA256") if hop.tls != "off" else None
        self._world = world
        self._is_open = True

    @property
    def is_reusable(self) -> bool:
        return self._is_open

    def take_dialogue(self) -> list[str]:
        return ["C: DATA", "S: 250 ok"]

    async def deliver(self, job: Job) -> list[RecipientResult]:
        world, address = self._world, self.hop.address
        if address in world.stale and self.messages:
            self.close()
            self.was_stale = True
            return [result(421, "4.4.2", "idle for too long", "mail") for _ in job.envelope.recipients]
        if (gate := world.gates.get(address)) is not None:
            await gate.wait()
        await asyncio.sleep(0)
        self.messages += 1
        world.jobs.append((address, job))
        try:
            world.contents.append(b"".join([piece async for piece in job.content()]))
        except Exception:
            self.close()
            return [result(451, "4.3.0", "unreadable", by_peer=False) for _ in job.envelope.recipients]
        if (late := world.late.get(address)) is not None:
            await self._wait_in_doubt(job, late)
        results = world.answers.get(address, takes_all)(job)
        assert len(results) == len(job.envelope.recipients)
        if not all(one.by_peer for one in results):
            self.close()
        return results

    async def _wait_in_doubt(self, job: Job, late: asyncio.Event) -> None:
        job.in_doubt(True)
        try:
            await late.wait()
        except asyncio.CancelledError:
            unanswered = result(451, "4.4.2", "no answer to the end of data", by_peer=False)
            self.known = dict.fromkeys(range(len(job.envelope.recipients)), unanswered)
            raise
        finally:
            job.in_doubt(False)

    async def quit(self) -> None:
        self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._world.open_now[self.hop.address] -= 1


class Post:
    """A delivery loop with everything around it; use it inside a virtual-time loop."""

    def __init__(
        self,
        zone: dict[str, dict[str, list[str]] | Outcome] | None = None,
        book: dict[str, list[Target]] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = LoopClock()
        self.settings = DeliverySettings(hostname=HOSTNAME, **settings)
        self.spool = MemorySpool()
        self.addresses = Book({"example.org"}, book)
        self.maildrops = MemoryMaildrops()
        self.record = Record()
        self.world = World()
        self.ids = CountedIds()
        self.resolver = ZoneResolver(zone or {})
        draw = random.Random(7).random
        self.pool = Pool(self.world.open, pool_settings(self.settings), self.clock)
        router = Router(self.settings, self.resolver, draw)
        expansion = Expansion(HOSTNAME, self.spool, self.ids, self.clock)
        notices = Notices(HOSTNAME, self.addresses, self.spool, self.ids, self.clock, self.settings.full_dsn_octets)
        self.settler = Settler(HOSTNAME, self.spool, notices, self.record, self.clock, self.settings.schedule)
        self.loop = DeliveryLoop(
            self.settings,
            self.spool,
            LocalDelivery(HOSTNAME, self.addresses, self.maildrops, self.spool, expansion, self.clock),
            RemoteDelivery(router, self.pool, self.spool, self.clock, draw),
            self.settler,
            self.pool,
            self.clock,
        )
        self._number = 0

    async def send(
        self,
        *to: str | Recipient,
        sender: str = "bob@example.org",
        body: bytes = BODY,
        content: MemoryContent | None = None,
        **more: Any,
    ) -> str:
        """The ID of a message that is in the spool now; the loop is told."""
        self._number += 1
        recipients = tuple(one if isinstance(one, Recipient) else Recipient(parse_mailbox(one)) for one in to)
        envelope = Envelope(parse_mailbox(sender) if sender else NULL_PATH, recipients, **more.pop("mail", {}))
        content = content or self.spool.new_content()
        content.write(body)
        keys = tuple(
            destination(recipient.path, kept_here=recipient.path.domain in self.addresses.ours)
            for recipient in recipients
        )
        entry = NewEntry(
            id=make_id(self._number, 0), envelope=envelope, received_at=self.clock.unix(), prefix=b"",
            octets=len(body), destinations=keys, has_8bit=not body.isascii(), **more,
        )  # fmt: skip
        await self.spool.add(entry, content)
        self.loop.notify()
        return entry.id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield
        finally:
            await self.loop.stop(0)
            await task

    async def passes(self, seconds: float) -> None:
        """That much time goes by, and whatever is due in it happens."""
        await asyncio.sleep(seconds)

    def notices(self) -> list[tuple[Path, bytes]]:
        """The notices that were made so far: to whom, and the message."""
        return [
            (entry.recipients[0].recipient.path, octets)
            for entry, octets in self.spool.made()
            if entry.envelope.reverse_path.is_null and b"multipart/report" in octets
        ]
