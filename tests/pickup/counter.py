"""A server's POP3 counter on fakes: maildrops in memory, a wire that a test types on, the gate of `tests.support`."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Callable
from typing import Any

import msgspec
from tests.support.desk import Desk, FakeTimer, FakeWire
from tests.support.memory_maildrops import MemoryMaildrops

from gatepost.gate.parts import GateParts
from gatepost.maildrop.port import MaildropStore
from gatepost.pickup.parts import PickupParts
from gatepost.pickup.session import Pop3Session
from gatepost.pickup.settings import PickupSettings
from gatepost.ports.wire import Peer, PeerCertificate, PeerTls

ADA = "ada@example.org"
TLS = PeerTls("TLSv1.3", "TLS_AES_256_GCM_SHA384", b"end point")
ID = re.compile(r" \([0-9A-HJKMNP-TV-Z]{26}\)")


class SlowWire(FakeWire):
    """A peer that takes what is written only when the test lets it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.takes = asyncio.Event()
        self.takes.set()
        self.has_timer = asyncio.Event()
        self.is_aborted = False

    async def drained(self) -> None:
        await self.takes.wait()
        if self.is_closed:
            raise ConnectionError("the peer is gone")

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        self.has_timer.set()
        return super().call_later(seconds, callback)

    def abort(self) -> None:
        self.is_aborted = self.is_closed = True


class Counter:
    """One server with the accounts of `Desk`; ada has three messages."""

    def __init__(
        self, *, settings: PickupSettings | None = None, maildrops: MaildropStore | None = None, **desk: Any
    ) -> None:
        self.desk = Desk(**desk)
        self.memory = MemoryMaildrops()
        self.memory.put(
            ADA,
            b"Subject: one\r\n\r\nfirst\r\n",
            b"Subject: two\r\n\r\n.dot\r\n..\r\n.\r\nlast\r\n",
            b"Subject: three\r\n\r\n",
        )
        self.parts = PickupParts(
            gate=self.gate, maildrops=maildrops or self.memory, settings=settings or PickupSettings(auth_delay=0.0)
        )

    @property
    def gate(self) -> GateParts:
        return self.desk.parts.gate

    def connect(
        self,
        service: str = "pop3",
        ip: str = "192.0.2.7",
        *,
        tls: bool = False,
        certificate: bool = True,
        shows: PeerCertificate | None = None,
    ) -> Client:
        """shows: the client certificate; the connection has TLS then."""
        state = msgspec.structs.replace(TLS, certificate=shows) if tls or shows is not None else None
        wire = SlowWire(Peer(ip, 40112, service), self.desk.clock, state, certificate)
        client = Client(Pop3Session(wire, self.parts), wire)
        client.session.connection_made()
        return client


class Client:
    """The peer's side: says octets, reads what comes back (IDs taken out)."""

    def __init__(self, session: Pop3Session, wire: SlowWire) -> None:
        self.session, self.wire = session, wire

    async def octets(self, said: bytes = b"") -> bytes:
        if said:
            self.session.data_received(said)
        while (task := self.session._task) is not None and self.wire.takes.is_set():
            await asyncio.wait([task], timeout=5)
        return self.wire.take()

    async def say(self, *lines: str) -> list[str]:
        """Send lines in one go; the lines that come back."""
        octets = await self.octets("".join(f"{line}\r\n" for line in lines).encode())
        return ID.sub("", octets.decode()).splitlines()

    async def line(self, text: str) -> str:
        """Send a line; the reply's lines joined by a newline."""
        return "\n".join(await self.say(text))

    async def start_tls(self, shows: PeerCertificate | None = None) -> None:
        """The handshake that STLS asked for succeeds. shows: the client certificate."""
        assert self.wire.is_upgrading
        self.wire.is_upgrading = False
        self.wire.tls = msgspec.structs.replace(TLS, certificate=shows)
        self.session.tls_started()

    def hang_up(self, reason: str = "") -> None:
        self.wire.is_closed = True
        self.session.connection_lost(reason)

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(20):
            await asyncio.sleep(0)


async def talk(transcript: str, counter: Counter | None = None, **peer: Any) -> Counter:
    """Play a transcript: `C:` lines are sent, `S:` lines must come back, in this order; `(TLS)` is a handshake."""
    counter = counter or Counter()
    client = counter.connect(**peer)
    waiting = ID.sub("", (await client.octets()).decode()).splitlines()
    for raw in textwrap.dedent(transcript).strip().splitlines():
        side, _, text = raw.partition(" ")
        if side == "C:":
            assert waiting == [], f"before {raw!r} the server said also {waiting}"
            waiting = await client.say(text)
        elif side == "S:":
            assert waiting, f"{raw!r} was expected, and nothing came"
            came = waiting.pop(0)
            assert came == text, f"{raw!r} was expected, and {came!r} came"
        elif raw == "(TLS)":
            await client.start_tls()
        else:
            raise AssertionError(f"not a line of a transcript: {raw!r}")
    assert waiting == []
    client.hang_up()
    return counter
