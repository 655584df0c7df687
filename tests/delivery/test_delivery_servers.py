"""The whole of delivery on real stores and real sockets: SQLite spool, Maildir, DNS, and aiosmtpd as the next hop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path as File
from typing import Any

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as ServerEnvelope
from tests.delivery.parts import Record
from tests.support.dns_server import DnsServer

from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account, Alias, Domain, MailingList
from gatepost.delivery.assembly import assemble
from gatepost.delivery.loop import DeliveryLoop
from gatepost.delivery.settings import DeliverySettings, parse_hop_url
from gatepost.mail.address import Path, parse_mailbox
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.net.clock import SystemClock, SystemIds
from gatepost.net.connector import StreamConnector
from gatepost.net.dns.resolver import DnsResolver
from gatepost.net.dns.settings import DnsSettings
from gatepost.spool.destination import destination
from gatepost.spool.model import NewEntry
from gatepost.spool.settings import SpoolSettings
from gatepost.store.maildir.store import MaildirStore
from gatepost.store.sqlite.accounts import SqliteAccounts
from gatepost.store.sqlite.spool import SqliteSpool

ZONE = {
    "example.net": {"MX": ["10 mx.example.net."]},
    "mx.example.net": {"A": ["127.0.0.1"]},
    "null.example.net": {"MX": ["0 ."]},
}
BIG = b"From: bob@example.org\r\nSubject: big\r\n\r\n" + b".dots and \xc3\xa4\r\n" * 60_000


class Sink:
    """Takes what is for anybody but nobody@."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], bytes]] = []
        self.greetings = 0

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: ServerEnvelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: ServerEnvelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.got.append((list(envelope.rcpt_tos), envelope.content))
        return "250 2.0.0 taken"


@asynccontextmanager
async def listening(make: Callable[[], SMTP], unix: File | None = None) -> AsyncIterator[int]:
    made: list[SMTP] = []

    def factory() -> SMTP:
        made.append(make())
        return made[-1]

    loop = asyncio.get_running_loop()
    if unix is not None:
        server = await loop.create_unix_server(factory, str(unix))
    else:
        server = await loop.create_server(factory, "127.0.0.1", 0)
    try:
        yield 0 if unix is not None else server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in made:
            if isinstance(one.transport, asyncio.Transport):
                one.transport.abort()
        await asyncio.sleep(0)


class House:
    """A server's data folder with delivery running over it."""

    def __init__(self, data: File, dns: DnsServer, **settings: Any) -> None:
        self.clock, self.ids, self.record = SystemClock(), SystemIds(), Record()
        self.accounts = SqliteAccounts(data / "accounts.db")
        self.accounts.put(Account("ada@example.org"))
        self.accounts.put(Alias("info@example.org", ("ada@example.org", "eve@example.net")))
        self.accounts.put(
            MailingList("club@example.org", ("ada@example.org", "nobody@example.net"), ("bea@example.org",))
        )
        self.accounts.put(Account("bea@example.org"))
        domains = {"example.org": Domain("example.org"), "inner.example.org": Domain("inner.example.org", "lmtp")}
        self.directory = Directory(domains, self.accounts, "mx.example.org")
        self.maildrops = MaildirStore(data / "maildrops", host="mx.example.org", clock=self.clock)
        self.spool = SqliteSpool.open(data, "0", SpoolSettings(free_limit_octets=0), self.clock)
        self._changed = asyncio.Event()
        self.spool.settle = self._settle  # type: ignore[assignment,method-assign]
        self.loop: DeliveryLoop = assemble(
            DeliverySettings(hostname="mx.example.org", private=True, idle=0.1, **settings),
            spool=self.spool,
            addresses=self.directory,
            maildrops=self.maildrops,
            resolver=DnsResolver(DnsSettings((dns.address,)), self.clock),
            connector=StreamConnector(),
            recorder=self.record,
            clock=self.clock,
            ids=self.ids,
            draw=random.random,
        )

    async def send(
        self, *to: str, body: bytes = b"Subject: x\r\n\r\nhello\r\n", sender: str = "bea@example.org"
    ) -> str:
        paths = [parse_mailbox(one) for one in to]
        content = self.spool.new_content()
        content.write(body)
        content.finish()
        entry = NewEntry(
            id=self.ids.new(),
            envelope=Envelope(parse_mailbox(sender), tuple(Recipient(path) for path in paths), body="8BITMIME"),
            received_at=self.clock.unix(),
            prefix=b"Received: here\r\n",
            octets=content.octets + len(b"Received: here\r\n"),
            destinations=tuple(destination(path, kept_here=self._is_kept(path)) for path in paths),
            has_8bit=not body.isascii(),
        )
        await self.spool.add(entry, content)
        self.loop.notify()
        return entry.id

    async def empty(self) -> None:
        """Returns when nothing waits in the spool."""
        async with asyncio.timeout(30):
            while self.spool.entries:
                self._changed.clear()
                await self._changed.wait()

    async def _settle(self, *what: Any) -> None:
        await SqliteSpool.settle(self.spool, *what)
        self._changed.set()

    async def mailbox(self, address: str) -> list[bytes]:
        drop = await self.maildrops.open(address)
        try:
            return [b"".join([piece async for piece in drop.read(index)]) for index in range(len(drop.messages))]
        finally:
            drop.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield self
        finally:
            await self.loop.stop(5)
            await task
            await self.spool.close()
            self.maildrops.close()
            self.accounts.close()

    def _is_kept(self, path: Path) -> bool:
        found: Any = self.directory.resolve(path)
        return found.kind not in ("foreign", "relay")


async def test_mail_goes_out_by_mx_in_by_maildir_and_comes_back_as_a_report(tmp_path: File) -> None:
    sink = Sink()
    async with (
        DnsServer(ZONE) as dns,
        listening(lambda: SMTP(sink, hostname="mx.example.net")) as port,
        House(tmp_path, dns, smtp_port=port).running() as house,
    ):
        await house.send("eve@example.net", "nobody@example.net", "zoe@example.net", "ada@example.org", body=BIG)
        await house.send("x@null.example.net")
        await house.empty()
        ((recipients, content),) = sink.got
        assert recipients == ["eve@example.net", "zoe@example.net"]
        assert content == b"Received: here\r\n" + BIG
        (kept,) = await house.mailbox("ada@example.org")
        assert kept == (b"Return-Path: <bea@example.org>\r\nDelivered-To: ada@example.org\r\nReceived: here\r\n" + BIG)
        reports = await house.mailbox("bea@example.org")
        assert len(reports) == 2
        assert sum(b"550 5.1.1 no such user" in report for report in reports) == 1
        assert sum(b"Status: 5.1.10" in report for report in reports) == 1


async def test_aliases_and_lists_reach_everybody_and_bounces_reach_the_owner(tmp_path: File) -> None:
    sink = Sink()
    async with (
        DnsServer(ZONE) as dns,
        listening(lambda: SMTP(sink, hostname="mx.example.net")) as port,
        House(tmp_path, dns, smtp_port=port).running() as house,
    ):
        await house.send("info@example.org", "club@example.org", sender="bob@far.example.net")
        await house.empty()
        assert [recipients for recipients, _ in sink.got] == [["eve@example.net"]]
        assert sink.got[0][1].startswith(b"Delivered-To: info@example.org\r\n")
        to_ada = await house.mailbox("ada@example.org")
        assert sorted(octets.split(b"\r\n")[0] for octets in to_ada) == [
            b"Return-Path: <bea@example.org>", b"Return-Path: <bob@far.example.net>",
        ]  # fmt: skip
        (bounce,) = await house.mailbox("bea@example.org")
        assert b"Final-Recipient: rfc822;nobody@example.net" in bounce


async def test_an_inner_server_gets_its_domain_over_lmtp_on_a_unix_socket(tmp_path: File) -> None:
    sink = Sink()
    socket = tmp_path / "lmtp.sock"
    async with DnsServer({}) as dns, listening(lambda: LMTP(sink, hostname="inner"), socket):
        relay_to = {"inner.example.org": parse_hop_url(f"lmtp:unix:{socket}")}
        async with House(tmp_path, dns, relay_to=relay_to).running() as house:
            await house.send("kim@inner.example.org", "nobody@inner.example.org")
            await house.empty()
            assert [recipients for recipients, _ in sink.got] == [["kim@inner.example.org"]]
            (bounce,) = await house.mailbox("bea@example.org")
            assert b"nobody@inner.example.org" in bounce


async def test_many_messages_share_few_connections(tmp_path: File) -> None:
    sink = Sink()
    servers: list[SMTP] = []

    def make() -> SMTP:
        servers.append(SMTP(sink, hostname="mx.example.net"))
        return servers[-1]

    async with (
        DnsServer(ZONE) as dns,
        listening(make) as port,
        House(tmp_path, dns, smtp_port=port, per_destination=4).running() as house,
    ):
        await asyncio.gather(*(house.send(f"u{number}@example.net") for number in range(200)))
        await house.empty()
        assert len(sink.got) == 200
        assert len(servers) <= 8


async def test_what_was_not_delivered_when_we_stopped_is_delivered_by_the_next(tmp_path: File) -> None:
    sink = Sink()
    async with DnsServer(ZONE) as dns, listening(lambda: SMTP(sink, hostname="mx.example.net")) as port:
        first = House(tmp_path, dns, smtp_port=port, per_destination=1)
        async with first.running():
            for number in range(20):
                await first.send(f"u{number}@example.net")
        assert len(sink.got) < 20
        async with House(tmp_path, dns, smtp_port=port).running() as second:
            await second.empty()
        assert {recipients[0] for recipients, _ in sink.got} == {f"u{number}@example.net" for number in range(20)}
