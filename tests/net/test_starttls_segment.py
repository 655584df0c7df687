"""STARTTLS on real sockets, on both event loops, where the test decides which octets share a segment."""

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

from gatepost.audit.event import Event
from gatepost.intake.session import SmtpSession
from gatepost.intake.settings import ListenerSettings
from gatepost.mail.network import NetworkSet
from gatepost.net.clock import SystemClock
from gatepost.net.connection import TlsForPeers
from gatepost.net.listener import Listener, bind, serve
from gatepost.net.tls import ServerTls, TlsSettings
from gatepost.ports.wire import Wire

APPLICATION_DATA = 0x17


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsForPeers:
    folder: Path = tmp_path_factory.mktemp("tls")
    server = ServerTls(TlsSettings((write_pair(folder, "mx.example.org"),)), "mx.example.org", folder, SystemClock())
    return TlsForPeers(server.context, server.end_point_for)


class RawClient:
    """A client that holds its TLS in memory and sends exactly the segments it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: ssl.TLSVersion) -> None:
        self.reader, self.writer = reader, writer
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._side = context.wrap_bio(self._incoming, self._outgoing)
        self.seen_in_handshake = b""

    async def reply(self) -> list[bytes]:
        """A whole reply in clear."""
        lines = [await self.reader.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(await self.reader.readline())
        return lines

    async def say(self, line: bytes) -> list[bytes]:
        self.writer.write(line + b"\r\n")
        return await self.reply()

    async def handshake(self) -> bytes:
        """Shake hands up to our last flight, which is returned unsent: Finished, in TLS 1.3."""
        while True:
            try:
                self._side.do_handshake()
                return self._outgoing.read()
            except ssl.SSLWantReadError:
                if octets := self._outgoing.read():
                    self.writer.write(octets)
                self._incoming.write(await self._receive())

    def encrypt(self, octets: bytes) -> bytes:
        self._side.write(octets)
        return self._outgoing.read()

    async def reply_inside(self) -> list[bytes]:
        """A whole reply that came inside TLS."""
        text = b""
        while True:
            try:
                text += self._side.read(65536)
            except ssl.SSLWantReadError:
                octets = await self._receive()
                assert octets[0] == APPLICATION_DATA, f"not inside TLS: {octets[:60]!r}"
                self._incoming.write(octets)
            lines = text.splitlines(keepends=True)
            if text.endswith(b"\r\n") and lines[-1][3:4] == b" ":
                return lines

    async def _receive(self) -> bytes:
        octets = await self.reader.read(65536)
        assert octets, "the server closed the connection"
        return octets


@asynccontextmanager
async def desk_with_starttls(
    tls: TlsForPeers, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[tuple[Desk, RawClient]]:
    """A server's intake behind a real listener, and a client that has been greeted."""
    desk = Desk()

    def make(wire: Wire) -> SmtpSession:
        return SmtpSession(wire, desk.parts, ListenerSettings())

    sock = bind("127.0.0.1:0")
    served = await serve(sock, Listener("127.0.0.1:0", "mx"), make, tls, NetworkSet())
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    client = RawClient(reader, writer, version)
    assert (await client.reply())[0].startswith(b"220 ")
    try:
        yield desk, client
    finally:
        writer.transport.abort()
        served.stop()
        for connection in list(served.connections):
            connection.abort()
        sock.close()
        desk.close()


@pytest.mark.parametrize("loop", sorted(LOOPS))
@pytest.mark.parametrize("pieces", ["one", "two", "octets"])
def test_finished_and_ehlo_in_one_segment_are_answered_inside_tls(loop: str, tls: TlsForPeers, pieces: str) -> None:
    """What went wrong elsewhere: the EHLO reached the session before the new transport was stored, and its answer
    left in clear, so that the client waited for ever."""

    async def main() -> None:
        async with desk_with_starttls(tls) as (desk, client):
            await client.say(b"EHLO client.example.net")
            assert (await client.say(b"STARTTLS"))[0].startswith(b"220 2.0.0")
            finished = await client.handshake()
            octets = finished + client.encrypt(b"EHLO inside.example.net\r\n")
            match pieces:
                case "one":
                    client.writer.write(octets)
                case "two":
                    client.writer.write(octets[: len(finished) + 7])
                    await asyncio.sleep(0.01)
                    client.writer.write(octets[len(finished) + 7 :])
                case "octets":
                    for octet in octets:
                        client.writer.write(bytes([octet]))
                        await asyncio.sleep(0)
            reply = await client.reply_inside()
            assert reply[0] == b"250-mx.example.org\r\n"
            assert not any(b"STARTTLS" in line for line in reply)
            client.writer.write(client.encrypt(b"QUIT\r\n"))
            assert (await client.reply_inside())[0].startswith(b"221 ")
            event = await _recorded(desk, client)
            assert event.helo == "inside.example.net"
            assert event.client is not None
            assert event.client.tls == "TLSv1.3"

    run_on(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_whole_group_right_behind_finished_is_answered_inside_tls(loop: str, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with desk_with_starttls(tls) as (desk, client):
            await client.say(b"EHLO client.example.net")
            await client.say(b"STARTTLS")
            group = (
                b"EHLO inside.example.net\r\nMAIL FROM:<bob@example.net>\r\nRCPT TO:<ada@example.org>\r\n"
                b"BDAT 25 LAST\r\nFrom: bob@example.net\r\n\r\nQUIT\r\n"
            )
            client.writer.write(await client.handshake() + client.encrypt(group))
            codes = [line[:3] for line in await client.reply_inside() if line[3:4] == b" "]
            while codes[-1] != b"221":
                codes += [line[:3] for line in await client.reply_inside() if line[3:4] == b" "]
            assert codes == [b"250", b"250", b"250", b"250", b"221"]
            assert desk.spool.only[1] == b"From: bob@example.net\r\n\r\n"
            assert b"with ESMTPS" in desk.spool.only[0].prefix

    run_on(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_was_sent_in_clear_behind_starttls_is_dropped(
    loop: str, tls: TlsForPeers, version: ssl.TLSVersion
) -> None:
    """What an attacker in the middle did elsewhere (CVE-2011-0411): commands that he put behind STARTTLS in clear were
    carried out as if the client had sent them inside."""

    async def main() -> None:
        async with desk_with_starttls(tls, version) as (desk, client):
            await client.say(b"EHLO client.example.net")
            said = await client.say(b"STARTTLS\r\nEHLO mallory.example\r\nMAIL FROM:<mallory@example.net>")
            assert said[0].startswith(b"220 ")
            client.writer.write(await client.handshake())
            client.writer.write(client.encrypt(b"EHLO inside.example.net\r\n"))
            assert (await client.reply_inside())[-1].startswith(b"250 ")
            client.writer.write(client.encrypt(b"RCPT TO:<ada@example.org>\r\n"))
            assert (await client.reply_inside())[0].startswith(b"503 ")
            client.writer.write(client.encrypt(b"QUIT\r\n"))
            await client.reply_inside()
            event = await _recorded(desk, client)
            assert "C: (55 octets behind STARTTLS, dropped)" in event.dialogue
            assert not any("mallory" in line for line in event.dialogue)

    run_on(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_words_in_clear_where_a_handshake_should_be_fail_it_and_reach_no_session(loop: str, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with desk_with_starttls(tls) as (desk, client):
            await client.say(b"EHLO client.example.net")
            await client.say(b"STARTTLS")
            client.writer.write(b"EHLO mallory.example\r\nMAIL FROM:<mallory@example.net>\r\n")
            rest = await client.reader.read()
            assert b"250" not in rest
            event = await _recorded(desk, client)
            assert "TLS handshake failed" in event.details["lost"]
            assert not any("mallory" in line for line in event.dialogue)

    run_on(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_after_a_failed_handshake_the_address_is_offered_no_starttls(loop: str, tls: TlsForPeers) -> None:
    """An old sender that shares no cipher with us never falls back by itself: its mail would be lost."""

    async def main() -> None:
        async with desk_with_starttls(tls) as (desk, client):
            assert b"250-STARTTLS\r\n" in await client.say(b"EHLO client.example.net")
            await client.say(b"STARTTLS")
            client.writer.write(b"no ClientHello\r\n")
            await client.reader.read()
            await _recorded(desk, client)
            again = desk.connect(ip="127.0.0.1")
            await again.read()
            assert "STARTTLS" not in await again.line("EHLO client.example.net")
            other = desk.connect(ip="192.0.2.8")
            await other.read()
            assert "250-STARTTLS" in await other.line("EHLO client.example.net")

    run_on(loop, main)


async def _recorded(desk: Desk, client: RawClient) -> Event:
    """Hang up; the session's event."""
    client.writer.close()
    async with asyncio.timeout(5):
        while not desk.recorder.of("smtp.session"):  # noqa: ASYNC110 - the recorder is the desk's, and tells nobody
            await asyncio.sleep(0.005)
    (event,) = desk.recorder.of("smtp.session")
    return event
