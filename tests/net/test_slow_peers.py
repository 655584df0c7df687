"""Peers that are silent, slow, or that ask faster than they listen: each costs a limited time and a limited room."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.desk import Desk
from tests.support.loops import LOOPS, run_on
from tests.support.server_pairs import write_pair
from tests.support.system_clock import SystemClock

from gatepost.gate.parts import GateParts
from gatepost.intake.parts import IntakeParts
from gatepost.intake.session import BUSY_READ_AHEAD, SmtpSession
from gatepost.intake.settings import IntakeSettings, ListenerSettings
from gatepost.mail.network import NetworkSet
from gatepost.net import connection as connection_module
from gatepost.net.connection import TlsForPeers
from gatepost.net.listener import Listener, bind, serve
from gatepost.net.tls import ServerTls, TlsSettings
from gatepost.ports.wire import Wire

ENVELOPE = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\n"


class Stand:
    """A desk behind a real listener, with the real time and little patience."""

    def __init__(self, desk: Desk, parts: IntakeParts, address: tuple[str, int], sessions: list[SmtpSession]) -> None:
        self.desk = desk
        self.parts = parts
        self.address = address
        self.sessions = sessions

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)


@asynccontextmanager
async def stand(timeout: float, tls: TlsForPeers | None = None, service: str = "mx") -> AsyncIterator[Stand]:
    desk = Desk()
    gate = GateParts(**{**vars(desk.parts.gate), "clock": SystemClock()})
    parts = IntakeParts(**{**vars(desk.parts), "gate": gate, "settings": IntakeSettings(timeout=timeout)})
    sessions: list[SmtpSession] = []

    def make(wire: Wire) -> SmtpSession:
        sessions.append(SmtpSession(wire, parts, ListenerSettings()))
        return sessions[-1]

    sock = bind("127.0.0.1:0")
    served = await serve(sock, Listener("127.0.0.1:0", service), make, tls, NetworkSet())
    try:
        yield Stand(desk, parts, sock.getsockname(), sessions)
    finally:
        served.stop()
        for connection in list(served.connections):
            connection.abort()
        await asyncio.sleep(0.01)
        sock.close()
        desk.close()


@pytest.mark.parametrize("loop", sorted(LOOPS))
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"", 0),
        (b"EHLO c.example\r\n", 0),
        (ENVELOPE + b"DATA\r\nFrom: a@b.example\r\n\r\nhalf a mess", 0),
        (ENVELOPE + b"BDAT 1000\r\nFrom: a@b.example\r\n", 0),
        (ENVELOPE + b"BDAT 26 LAST\r\nFrom: a@b.example\r\n\r\nall\r\n", 1),
    ],
    ids=["nothing", "EHLO", "half a DATA", "half a chunk", "a message"],
)
def test_a_peer_that_falls_silent_is_told_so_and_disconnected(loop: str, said: bytes, kept: int) -> None:
    async def main() -> None:
        async with stand(0.2) as server:
            reader, writer = await server.dial()
            writer.write(said)
            heard = await reader.read()
            assert heard.endswith(b"421 4.4.2 Timeout: no command for too long\r\n")
            assert len(server.desk.spool.entries) == kept
            writer.close()

    run_on(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_peer_that_starts_tls_and_falls_silent_is_disconnected(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_SECONDS", 0.2)
    server_tls = ServerTls(
        TlsSettings((write_pair(tmp_path, "mx.example.org"),)), "mx.example.org", tmp_path, SystemClock()
    )
    tls = TlsForPeers(server_tls.context, server_tls.end_point_for)

    async def main() -> None:
        async with stand(60.0, tls) as server:
            reader, writer = await server.dial()
            writer.write(b"EHLO c.example\r\nSTARTTLS\r\n")
            heard = await reader.read()
            assert b"220 2.0.0 Ready to start TLS\r\n" in heard
            (event,) = server.desk.recorder.of("smtp.session")
            assert "TLS handshake failed" in event.details["lost"]
            writer.close()

    run_on(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_peer_that_is_silent_inside_tls_is_told_so_there(loop: str, tmp_path: Path) -> None:
    server_tls = ServerTls(
        TlsSettings((write_pair(tmp_path, "mx.example.org"),)), "mx.example.org", tmp_path, SystemClock()
    )
    tls = TlsForPeers(server_tls.context, server_tls.end_point_for)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    async def main() -> None:
        async with stand(0.2, tls, "submissions") as server:
            reader, writer = await asyncio.open_connection(*server.address, ssl=context)
            assert (await reader.read()).endswith(b"421 4.4.2 Timeout: no command for too long\r\n")
            writer.close()

    run_on(loop, main)


async def test_an_octet_now_and_then_is_no_command_and_keeps_no_connection() -> None:
    """What an attacker did elsewhere: one octet a minute, and every place was taken for days."""
    desk = Desk()
    client = desk.connect()
    await client.read()
    for _ in range(6):
        desk.clock.at += 60
        client.session.data_received(b"N")
        client.wire.timers[-1].callback()
    assert await client.read() == ["421 4.4.2 Timeout: no command for too long"]
    assert client.wire.is_closed


async def test_content_that_comes_slowly_is_still_content() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    await client.say(ENVELOPE + b"DATA\r\n")
    for _ in range(6):
        desk.clock.at += 60
        client.session.data_received(b"X-Slow: %s\r\n" % (b"yes " * 60))
        client.wire.timers[-1].callback()
    assert not client.wire.is_closed
    assert (await client.say(b"From: a@b.example\r\n\r\n.\r\n"))[0].startswith("250 ")


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_peer_that_sends_ahead_while_it_waits_is_slowed_down(loop: str) -> None:
    """What went wrong: reading went on after each answer, so that what lay unread grew with every command."""

    async def main() -> None:
        async with stand(60.0) as server:
            reader, writer = await server.dial()
            await reader.readline()
            (session,) = server.sessions
            most = 0
            hear = session.data_received

            def measured(octets: bytes) -> None:
                nonlocal most
                hear(octets)
                most = max(most, session.parser.read_ahead)

            session.data_received = measured  # type: ignore[method-assign]
            message = ENVELOPE.partition(b"\r\n")[2] + b"BDAT 26 LAST\r\nFrom: a@b.example\r\n\r\nall\r\n"
            count = 8000
            writer.write(b"EHLO c.example\r\n" + message * count + b"QUIT\r\n")
            heard = await reader.read()
            assert heard.count(b"250 2.0.0 Message accepted") == count
            assert len(server.desk.spool.entries) == count
            assert most <= BUSY_READ_AHEAD + 256 * 1024  # one read of the event loop on top
            writer.close()

    run_on(loop, main, 40)
