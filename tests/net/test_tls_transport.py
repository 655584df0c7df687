"""TLS over an accepted connection, with a client that decides on every octet: what leaves, when, and how it ends."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from tests.net.test_connection import Driver, Stand, stand, trusting
from tests.support.loops import LOOPS, run_on
from tests.support.server_pairs import write_pair

from gatepost.net import connection as connection_module
from gatepost.net import tls_transport
from gatepost.net.clock import SystemClock
from gatepost.net.connection import TlsForPeers
from gatepost.net.tls import ServerTls, TlsSettings

ALERT = 0x15  # the type of a record (RFC 8446 §5.1)
Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test's inside on each loop."""
    return lambda main: run_on(request.param, main)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsForPeers:
    folder = tmp_path_factory.mktemp("tls")
    server = ServerTls(TlsSettings((write_pair(folder, "mx.example.org"),)), "mx.example.org", folder, SystemClock())
    return TlsForPeers(server.context, server.end_point_for)


class Client:
    """A TLS client in memory over a socket of its own."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.side = context.wrap_bio(self.incoming, self.outgoing, session=session)
        self._loop = asyncio.get_running_loop()

    async def handshake(self) -> bytes:
        """Shakes hands; the last flight is returned unsent."""
        while True:
            try:
                self.side.do_handshake()
                return self.outgoing.read()
            except ssl.SSLWantReadError:
                await self.send(self.outgoing.read())
                await self.receive()

    async def send(self, octets: bytes) -> None:
        await self._loop.sock_sendall(self.sock, octets)

    async def say(self, octets: bytes) -> None:
        self.side.write(octets)
        await self.send(self.outgoing.read())

    async def receive(self) -> bytes:
        """One segment, as it came; b"" at the end."""
        octets = await self._loop.sock_recv(self.sock, 65536)
        self.incoming.write(octets)
        return octets

    async def hears(self, length: int) -> bytes:
        """So much of what was said inside; less if it ends before."""
        heard = b""
        while len(heard) < length:
            try:
                octets = self.side.read(65536)
            except ssl.SSLWantReadError:
                if not await self.receive():
                    break
                continue
            if not octets:
                break
            heard += octets
        return heard


@asynccontextmanager
async def upgrading(tls: TlsForPeers) -> AsyncIterator[tuple[Stand, socket.socket, Driver]]:
    """A connection whose STARTTLS has been answered; the handshake is the client's to begin."""
    async with stand(tls=tls) as server:
        sock = await server.raw()
        driver = await server.driver()
        driver.wire.start_tls(b"220 go\r\n")
        said = b""
        while said != b"220 hello\r\n220 go\r\n":
            said += await asyncio.get_running_loop().sock_recv(sock, 19 - len(said))
        try:
            yield server, sock, driver
        finally:
            sock.close()


def test_what_is_said_during_the_handshake_never_leaves_in_clear(run: Run, tls: TlsForPeers) -> None:
    """What went wrong: a session whose idle time ended in the handshake said so in clear, between its records."""

    async def main() -> None:
        async with upgrading(tls) as (_, sock, driver):
            driver.wire.write(b"421 in clear\r\n")
            client = Client(sock, trusting())
            await client.send(await client.handshake())
            await driver.upgraded.wait()
            driver.wire.write(b"inside")
            assert await client.hears(6) == b"inside"

    run(main)


def test_a_session_that_had_paused_before_starttls_is_upgraded_all_the_same(run: Run, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with stand(tls=tls) as server:
            reader, writer, driver = await server.connect()
            assert await reader.readline() == b"220 hello\r\n"
            driver.wire.pause()
            driver.wire.start_tls(b"220 go\r\n")
            assert await reader.readline() == b"220 go\r\n"
            await writer.start_tls(trusting())
            await driver.upgraded.wait()
            writer.write(b"inside")
            await driver.hears(b"inside")

    run(main)


def test_much_goes_both_ways_unharmed(run: Run, tls: TlsForPeers) -> None:
    async def main() -> None:
        much = bytes(range(256)) * 20_000
        async with stand(service="submissions", tls=tls) as server:
            reader, writer, driver = await server.connect(trusting())
            driver.wire.write(much)
            assert await reader.readexactly(11 + len(much)) == b"220 hello\r\n" + much
            writer.write(much)
            await driver.hears(much)

    run(main)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_though_its_ticket_came_with_the_first_words(
    run: Run, tls: TlsForPeers, version: ssl.TLSVersion
) -> None:
    context = trusting()
    context.minimum_version = context.maximum_version = version

    async def talk(session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        async with upgrading(tls) as (server, sock, driver):
            client = Client(sock, context, session)
            await client.send(await client.handshake())
            await driver.upgraded.wait()
            state = driver.wire.tls
            assert state is not None
            assert state.resumed is (session is not None)
            if version is ssl.TLSVersion.TLSv1_3:
                await server.connect()  # a whole accept later it would have arrived
                with pytest.raises(BlockingIOError):
                    sock.recv(1)
            driver.wire.write(b"250 first words\r\n")
            if version is ssl.TLSVersion.TLSv1_3:
                assert 17 + 200 < len(await client.receive()) < 17 + 400  # with one ticket, not two
            assert await client.hears(17) == b"250 first words\r\n"
            return client.side.session

    async def main() -> None:
        await talk(await talk(await talk(None)))  # a resumed session brings a new ticket

    run(main)


def test_a_peer_whose_handshake_fails_is_told_by_an_alert(run: Run, tls: TlsForPeers) -> None:
    context = trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")

    async def main() -> None:
        async with upgrading(tls) as (_, sock, driver):
            client = Client(sock, context)
            with suppress(ssl.SSLWantReadError):
                client.side.do_handshake()
            await client.send(client.outgoing.read())
            assert (await client.receive())[0] == ALERT
            assert await driver.lost == "TLS handshake failed: NO_SHARED_CIPHER"

    run(main)


def test_a_peer_that_ends_in_the_handshake_is_lost_at_once(run: Run, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with upgrading(tls) as (_, sock, driver):
            sock.shutdown(socket.SHUT_WR)
            assert await driver.lost == "TLS handshake failed: the peer went away"
            assert driver.calls == ["made", "lost"]
        async with stand(service="submissions", tls=tls) as server:
            sock = await server.raw()
            sock.shutdown(socket.SHUT_WR)
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""
            assert (await server.driver()).calls == ["no handshake"]
            server.drivers.clear()  # it has no session that could be lost
            sock.close()

    run(main)


@pytest.mark.parametrize("ends_with", ["close_notify", "FIN", "both"])
def test_what_a_peer_asked_before_it_ended_is_still_answered_inside(run: Run, tls: TlsForPeers, ends_with: str) -> None:
    async def main() -> None:
        async with upgrading(tls) as (_, sock, driver):
            driver.answers_late = True
            client = Client(sock, trusting())
            await client.send(await client.handshake())
            await client.say(b"QUIT\r\n")
            if ends_with != "FIN":
                with suppress(ssl.SSLWantReadError):
                    client.side.unwrap()
                await client.send(client.outgoing.read())
            if ends_with != "close_notify":
                sock.shutdown(socket.SHUT_WR)
            await driver.hears(b"QUIT\r\n")
            await driver.finished.wait()
            driver.wire.write(b"221 bye\r\n")
            driver.wire.close()
            while await client.receive():
                pass
            assert client.side.read(100) == b"221 bye\r\n"
            assert await driver.lost == ""
            assert driver.calls == ["made", "tls", "finished", "lost"]

    run(main)


def test_a_peer_that_does_not_end_when_we_do_is_cut_off(
    run: Run, tls: TlsForPeers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.1)

    async def main() -> None:
        async with upgrading(tls) as (server, sock, driver):
            client = Client(sock, trusting())
            await client.send(await client.handshake())
            await driver.upgraded.wait()
            driver.wire.pause()
            driver.wire.close()
            await client.say(b"still here")
            assert await client.hears(1) == b""  # close_notify
            await driver.lost
            assert driver.heard == b""
            assert not server.served.connections

    run(main)


def test_a_session_that_had_paused_and_closes_is_over_as_soon_as_its_peer_ends(run: Run, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with upgrading(tls) as (_, sock, driver):
            client = Client(sock, trusting())
            await client.send(await client.handshake())
            await driver.upgraded.wait()
            driver.wire.pause()
            driver.wire.close()
            assert await client.hears(1) == b""
            with suppress(ssl.SSLWantReadError):
                client.side.unwrap()
            await client.send(client.outgoing.read())
            assert await driver.lost == ""  # or the test's time is up

    run(main)


def test_a_server_that_stops_ends_the_session_once_the_handshake_is_done(run: Run, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with upgrading(tls) as (server, sock, driver):
            (connection,) = server.served.connections
            connection.shut_down()
            client = Client(sock, trusting())
            await client.send(await client.handshake())
            await driver.upgraded.wait()
            assert driver.calls == ["made", "tls", "shut down"]

    run(main)


def test_what_came_with_the_end_of_the_handshake_waits_while_the_session_pauses(run: Run, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with upgrading(tls) as (server, sock, driver):
            started = driver.tls_started

            def pause() -> None:
                driver.wire.pause()
                started()

            driver.tls_started = pause  # type: ignore[method-assign]
            client = Client(sock, trusting())
            finished = await client.handshake()
            client.side.write(b"early")
            await client.send(finished + client.outgoing.read())
            await driver.upgraded.wait()
            await server.connect()  # a whole accept later it would have arrived
            assert driver.heard == b""
            driver.wire.resume()
            await driver.hears(b"early")

    run(main)


def test_a_record_that_was_altered_ends_the_connection_and_what_came_before_counts(run: Run, tls: TlsForPeers) -> None:
    async def main() -> None:
        async with upgrading(tls) as (_, sock, driver):
            client = Client(sock, trusting())
            await client.send(await client.handshake())
            client.side.write(b"good")
            good = client.outgoing.read()
            client.side.write(b"evil")
            evil = bytearray(client.outgoing.read())
            evil[-1] ^= 1
            await client.send(good + evil)
            assert "SSLError" in await driver.lost
            assert driver.heard == b"good"

    run(main)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: asks for new keys")
def test_a_peer_that_asks_for_new_keys_again_and_again_is_answered_and_fills_no_memory(
    run: Run, tls: TlsForPeers
) -> None:
    """Each answer would wait for our next words, and there is none."""

    async def main() -> None:
        async with stand(service="submissions", tls=tls) as server:
            peer = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-msg",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert peer.stdin is not None
            assert peer.stdout is not None
            await server.driver()
            answered = 0
            for _ in range(tls_transport.PENDING_OCTETS // 20):  # a request and its answer are 27 octets each
                peer.stdin.write(b"K\n")
                line = b""
                while b">>> TLS 1.3, Handshake" not in line or b"KeyUpdate" not in line:
                    line = await peer.stdout.readline()
                    answered += b"<<<" in line and b"KeyUpdate" in line
            peer.stdin.close()
            answered += (await peer.stdout.read()).count(b", KeyUpdate")
            await peer.wait()
            assert answered > 100

    run(main)
