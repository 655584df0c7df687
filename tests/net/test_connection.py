"""Connections and listeners on real sockets, on both event loops: what reaches a session driver, and what does not."""

from __future__ import annotations

import asyncio
import getpass
import os
import pwd
import socket
import ssl
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from tests.support.loops import LOOPS, run_on
from tests.support.server_pairs import write_pair

from gatepost.mail.network import NetworkSet
from gatepost.net import connection as connection_module
from gatepost.net import listener as listener_module
from gatepost.net.clock import SystemClock
from gatepost.net.connection import TlsForPeers
from gatepost.net.listener import Listener, ListenError, Served, bind, host_and_port, serve
from gatepost.net.tls import ServerTls, TlsSettings
from gatepost.ports.wire import Wire

T = TypeVar("T")
Run = Callable[[Callable[[], Awaitable[T]]], T]
LOOPBACK = NetworkSet(["127.0.0.0/8", "::1/128"])


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Run[None]:
    """Runs a test's inside on each loop."""
    return lambda main: run_on(request.param, main)


class Driver:
    """A session that greets and notes what it is told; `on_data` may answer."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.heard = bytearray()
        self.calls: list[str] = []
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.finished = asyncio.Event()
        self.upgraded = asyncio.Event()
        self.answers_late = False  # whether the test closes, not `peer_finished`
        self._more = asyncio.Event()

    def connection_made(self) -> None:
        self.calls.append("made")
        self.wire.write(b"220 hello\r\n")

    def handshake_failed(self, reason: str) -> None:
        self.calls.append("no handshake")

    def data_received(self, octets: bytes) -> None:
        self.heard += octets
        self._more.set()

    def tls_started(self) -> None:
        self.calls.append("tls")
        self.upgraded.set()

    def peer_finished(self) -> None:
        self.calls.append("finished")
        self.finished.set()
        if not self.answers_late:
            self.wire.close()

    def shut_down(self) -> None:
        self.calls.append("shut down")

    def connection_lost(self, reason: str) -> None:
        self.calls.append("lost")
        self.lost.set_result(reason)

    async def hears(self, octets: bytes) -> None:
        """Returns once all that was heard is `octets`."""
        while bytes(self.heard) != octets:
            assert octets.startswith(self.heard)
            self._more.clear()
            await self._more.wait()


class Stand:
    """A listener with its drivers, and clients for it."""

    def __init__(self, sock: socket.socket, served: Served, drivers: list[Driver], made: asyncio.Queue[Driver]) -> None:
        self.sock = sock
        self.served = served
        self.drivers = drivers
        self.clients: list[asyncio.StreamWriter] = []
        self._made = made

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    async def driver(self) -> Driver:
        """The session of the next connection."""
        return await self._made.get()

    async def connect(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Driver]:
        reader, writer = await self.dial(tls)
        return reader, writer, await self.driver()

    async def dial(self, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client without waiting for a session; it is closed at the end of the test."""
        reader, writer = await asyncio.open_connection(*self.sock.getsockname()[:2], ssl=tls)
        self.clients.append(writer)
        return reader, writer

    async def raw(self) -> socket.socket:
        """A client socket whose segments and appetite the test rules; the greeting is left in it."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        return client


@asynccontextmanager
async def stand(
    address: str = "127.0.0.1:0",
    service: str = "mx",
    *,
    tls: TlsForPeers | None = None,
    proxy_protocol: bool = False,
    trusted: NetworkSet = LOOPBACK,
) -> AsyncIterator[Stand]:
    """A listener that is served for the time of a test; no connection outlives it."""
    made: asyncio.Queue[Driver] = asyncio.Queue()
    drivers: list[Driver] = []

    def make(wire: Wire) -> Driver:
        drivers.append(Driver(wire))
        made.put_nowait(drivers[-1])
        return drivers[-1]

    sock = bind(address)
    try:
        served = await serve(sock, Listener(address, service, proxy_protocol), make, tls, trusted)
    except BaseException:
        sock.close()
        raise
    server = Stand(sock, served, drivers, made)
    try:
        yield server
    finally:
        served.stop()
        for writer in server.clients:
            writer.transport.abort()
        for connection in list(served.connections):
            connection.abort()
        sock.close()
    await asyncio.gather(*(driver.lost for driver in drivers))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsForPeers:
    folder = tmp_path_factory.mktemp("tls")
    server = ServerTls(TlsSettings((write_pair(folder, "mx.example.org"),)), "mx.example.org", folder, SystemClock())
    return TlsForPeers(server.context, server.end_point_for)


def trusting() -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# --- one connection ----------------------------------------------------------------------------------------------


def test_octets_pass_both_ways_and_the_peer_is_known(run: Run[None]) -> None:
    async def main() -> None:
        async with stand() as server:
            reader, writer, driver = await server.connect()
            assert await reader.readline() == b"220 hello\r\n"
            peer = driver.wire.peer
            assert (peer.ip, peer.port) == writer.get_extra_info("sockname")[:2]
            assert (peer.local, peer.service, peer.direct, peer.user) == ("127.0.0.1", "mx", "", "")
            assert driver.wire.tls is None
            assert not driver.wire.can_start_tls  # there is no certificate
            assert len(server.served.connections) == 1
            writer.write(b"NOOP\r\n")
            await driver.hears(b"NOOP\r\n")
            driver.wire.write(b"250 ok\r\n")
            assert await reader.readline() == b"250 ok\r\n"
            driver.wire.close()
            assert await reader.read() == b""
            assert await driver.lost == ""
            assert not server.served.connections
            driver.wire.write(b"nobody hears this")
            driver.wire.close()
            driver.wire.abort()

    run(main)


def test_what_a_half_closed_peer_asked_is_still_answered(run: Run[None]) -> None:
    async def main() -> None:
        async with stand() as server:
            reader, writer, driver = await server.connect()
            driver.answers_late = True
            writer.write(b"QUIT\r\n")
            writer.write_eof()
            await driver.finished.wait()
            await driver.hears(b"QUIT\r\n")
            driver.wire.write(b"221 bye\r\n")
            driver.wire.close()
            assert await reader.read() == b"220 hello\r\n221 bye\r\n"
            assert await driver.lost == ""

    run(main)


@pytest.mark.parametrize("encrypted", [False, True])
def test_all_that_was_written_arrives_before_the_connection_closes(
    run: Run[None], tls: TlsForPeers, encrypted: bool
) -> None:
    async def main() -> None:
        async with stand(service="pop3s" if encrypted else "pop3", tls=tls) as server:
            reader, _, driver = await server.connect(trusting() if encrypted else None)
            driver.wire.write(b"x" * 4_000_000)
            driver.wire.close()
            assert len(await reader.read()) == 11 + 4_000_000
            assert await driver.lost == ""

    run(main)


def test_a_peer_that_does_not_take_our_last_words_is_cut_off(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.1)

    async def main() -> None:
        async with stand() as server:
            client = await server.raw()
            driver = await server.driver()
            driver.wire.write(b"x" * 8_000_000)
            driver.wire.close()
            assert not driver.lost.done()
            await driver.lost
            assert not server.served.connections
            client.close()

    run(main)


def test_a_peer_that_resets_the_connection_is_lost_with_a_reason(run: Run[None]) -> None:
    async def main() -> None:
        async with stand() as server:
            client = await server.raw()
            driver = await server.driver()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert "reset" in (await driver.lost).lower()
            with pytest.raises(ConnectionError):
                await driver.wire.drained()

    run(main)


def test_others_have_their_turn_between_the_large_reads_of_a_peer_that_sends_much(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns, seen, total = 0, list[int](), 20_000_000

        def turn() -> None:
            nonlocal turns
            turns += 1
            if len(driver.heard) < total:
                loop.call_soon(turn)

        def note(self: Driver, octets: bytes) -> None:
            if len(octets) >= connection_module.FULL_READ_OCTETS:
                seen.append(turns)
            heard(self, octets)

        heard = Driver.data_received
        monkeypatch.setattr(Driver, "data_received", note)
        async with stand() as server:
            _, writer, driver = await server.connect()
            loop.call_soon(turn)
            sending = loop.run_in_executor(None, send, server.port, total)
            loud = await server.driver()
            await sending
            await loud.finished.wait()
            await loud.lost
            assert len(loud.heard) == total
            writer.close()
            driver.heard.extend(bytes(total))  # ends the turning
        assert len(seen) > 10
        assert len(set(seen)) == len(seen), "two reads of one peer in one turn of the loop"

    def send(port: int, octets: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.recv(64)  # the greeting: closing with octets unread would be a reset
            sock.sendall(bytes(octets))

    run(main)


def test_nothing_arrives_while_the_driver_pauses(run: Run[None]) -> None:
    async def main() -> None:
        async with stand() as server:
            _, writer, driver = await server.connect()
            driver.wire.pause()
            writer.write(b"early")
            _, other, _ = await server.connect()  # a whole accept later it would have arrived
            other.close()
            assert driver.heard == b""
            driver.wire.resume()
            await driver.hears(b"early")
            driver.wire.pause()
            driver.wire.close()
            driver.wire.resume()  # of a connection that is closing: nothing happens
            await driver.lost

    run(main)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _pour(client: socket.socket, octets: int) -> int:
    """What the server takes of `octets`, until it has taken nothing for a while."""
    loop, taken, piece = asyncio.get_running_loop(), 0, b"y" * 65536
    while taken < octets:
        try:
            taken += client.send(piece)
        except BlockingIOError:
            writable = loop.create_future()
            loop.add_writer(client.fileno(), _set, writable)
            try:
                async with asyncio.timeout(0.5):
                    await writable
            except TimeoutError:
                break
            finally:
                loop.remove_writer(client.fileno())
        await asyncio.sleep(0)
    return taken


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_peer_that_never_reads_is_not_read_from_and_costs_bounded_memory(
    run: Run[None], tls: TlsForPeers, encrypted: bool
) -> None:
    """What an attacker would see else: any number of commands answered into our memory."""

    async def main() -> None:
        async with stand(tls=tls) as server:
            client = await server.raw()
            driver = await server.driver()
            written = 0

            def answer(octets: bytes) -> None:
                nonlocal written
                written += 4 * len(octets)
                driver.wire.write(b"z" * (4 * len(octets)))

            driver.data_received = answer  # type: ignore[method-assign]
            if encrypted:
                taken = await _pour_encrypted(client, driver)
            else:
                taken = await _pour(client, 64_000_000)
            assert taken < 316_000_000  # most of it in the kernel's buffers
            assert written < 8_000_000
            assert not driver.lost.done()
            waiting = asyncio.ensure_future(driver.wire.drained())
            await asyncio.sleep(0)
            assert not waiting.done()
            client.close()
            with pytest.raises(ConnectionError):
                await waiting

    run(main)


async def _handshake(client: socket.socket, driver: Driver, first: bytes = b"") -> tuple[ssl.SSLObject, ssl.MemoryBIO]:
    """TLS after the 220 has been read. first: what the client says in one segment with Finished."""
    loop = asyncio.get_running_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = trusting().wrap_bio(incoming, outgoing)
    while True:
        try:
            side.do_handshake()
            break
        except ssl.SSLWantReadError:
            await loop.sock_sendall(client, outgoing.read())
            incoming.write(await loop.sock_recv(client, 65536))
    if first:
        side.write(first)
    await loop.sock_sendall(client, outgoing.read())
    await driver.upgraded.wait()
    return side, outgoing


async def _pour_encrypted(client: socket.socket, driver: Driver) -> int:
    """STARTTLS first, then as `_pour`."""
    loop = asyncio.get_running_loop()
    driver.wire.start_tls(b"220 go\r\n")
    assert (await loop.sock_recv(client, 11)) == b"220 hello\r\n"
    assert (await loop.sock_recv(client, 8)) == b"220 go\r\n"
    side, outgoing = await _handshake(client, driver)
    taken = 0
    while taken < 64_000_000:
        side.write(b"y" * 16384)
        try:
            async with asyncio.timeout(0.5):
                await loop.sock_sendall(client, outgoing.read())
        except TimeoutError:
            break
        taken += 16384
    return taken


def test_writing_goes_on_when_the_peer_reads_again(run: Run[None]) -> None:
    async def main() -> None:
        async with stand() as server:
            client = await server.raw()
            driver = await server.driver()
            driver.wire.write(b"x" * 16_000_000)
            waiting = asyncio.ensure_future(driver.wire.drained())
            await asyncio.sleep(0)
            assert not waiting.done()
            left = 11 + 16_000_000
            while left:
                left -= len(await asyncio.get_running_loop().sock_recv(client, 65536))
            await waiting
            await asyncio.get_running_loop().sock_sendall(client, b"thanks")
            await driver.hears(b"thanks")  # reading was paused meanwhile
            client.close()

    run(main)


def test_a_peer_that_takes_nothing_for_long_is_given_up(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "WRITE_SECONDS", 0.1)

    async def main() -> None:
        async with stand() as server:
            client = await server.raw()
            driver = await server.driver()
            driver.wire.write(b"x" * 8_000_000)
            with pytest.raises(ConnectionError, match="took nothing"):
                await driver.wire.drained()
            await driver.lost
            client.close()

    run(main)


def test_a_listener_that_stops_takes_no_connection_and_cuts_none(run: Run[None]) -> None:
    async def main() -> None:
        async with stand() as server:
            reader, writer, driver = await server.connect()
            server.served.stop()
            for connection in list(server.served.connections):
                connection.shut_down()
            assert driver.calls == ["made", "shut down"]
            writer.write(b"still here")
            await driver.hears(b"still here")
            driver.wire.write(b"yes")
            assert await reader.readexactly(14) == b"220 hello\r\nyes"
            server.sock.close()
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", writer.get_extra_info("peername")[1])

    run(main)


# --- TLS ---------------------------------------------------------------------------------------------------------


def test_implicit_tls_stands_before_the_session_begins(run: Run[None], tls: TlsForPeers) -> None:
    async def main() -> None:
        async with stand(service="submissions", tls=tls) as server:
            reader, writer, driver = await server.connect(trusting())
            assert await reader.readline() == b"220 hello\r\n"
            state = driver.wire.tls
            assert state is not None
            assert (state.version, state.resumed) == ("TLSv1.3", False)
            assert state.cipher.startswith("TLS_")
            assert len(state.end_point) == 32  # SHA-256 of the certificate that was sent
            assert not driver.wire.can_start_tls
            writer.write(b"hello")
            await driver.hears(b"hello")
            writer.close()
            await driver.lost

    run(main)


def test_words_in_clear_to_a_tls_port_make_no_session_and_others_go_on(run: Run[None], tls: TlsForPeers) -> None:
    async def main() -> None:
        async with stand(service="submissions", tls=tls) as server:
            reader, writer = await server.dial()
            writer.write(b"EHLO client.example.net\r\n")
            assert b"220" not in await reader.read()
            assert [driver.calls for driver in server.drivers] == [["no handshake"]]
            server.drivers.clear()
            _, good, _ = await server.connect(trusting())
            good.close()
            writer.close()

    run(main)


def test_a_handshake_that_fails_behind_starttls_is_lost_with_its_reason(run: Run[None], tls: TlsForPeers) -> None:
    async def main() -> None:
        async with stand(tls=tls) as server:
            reader, writer, driver = await server.connect()
            assert driver.wire.can_start_tls
            driver.wire.start_tls(b"220 go\r\n")
            writer.write(b"this is no ClientHello, and never will be one\r\n")
            assert "TLS handshake failed" in await driver.lost
            assert (await reader.read()).startswith(b"220 hello\r\n220 go\r\n")
            assert driver.calls == ["made", "lost"]
            assert not server.served.connections

    run(main)


def test_a_peer_that_goes_away_in_the_handshake_is_lost_once(run: Run[None], tls: TlsForPeers) -> None:
    async def main() -> None:
        async with stand(tls=tls) as server:
            _, writer, driver = await server.connect()
            driver.wire.start_tls(b"220 go\r\n")
            writer.close()
            assert await driver.lost
            assert driver.calls == ["made", "lost"]

    run(main)


def test_what_comes_with_the_end_of_the_handshake_waits_until_tls_stands(run: Run[None], tls: TlsForPeers) -> None:
    async def main() -> None:
        async with stand(tls=tls) as server:
            loop = asyncio.get_running_loop()
            client = await server.raw()
            driver = await server.driver()
            hear = driver.data_received

            def hear_inside_tls(octets: bytes) -> None:
                assert driver.upgraded.is_set()
                assert driver.wire.tls is not None
                hear(octets)

            driver.data_received = hear_inside_tls  # type: ignore[method-assign]
            driver.wire.start_tls(b"220 go\r\n")
            assert await loop.sock_recv(client, 11) == b"220 hello\r\n"
            assert await loop.sock_recv(client, 8) == b"220 go\r\n"
            await _handshake(client, driver, b"EHLO c.example\r\n")
            await driver.hears(b"EHLO c.example\r\n")
            client.close()

    run(main)


def test_a_peer_that_was_slow_before_starttls_can_be_paused_inside(run: Run[None], tls: TlsForPeers) -> None:
    """What went wrong: the pause from before was never lifted, so that later ones were taken for granted."""

    async def main() -> None:
        async with stand(tls=tls) as server:
            loop = asyncio.get_running_loop()
            client = await server.raw()
            driver = await server.driver()
            driver.wire.write(b"x" * 16_000_000)
            waiting = asyncio.ensure_future(driver.wire.drained())
            driver.wire.start_tls(b"220 go\r\n")
            left = 11 + 16_000_000 + 8
            while left:
                left -= len(await loop.sock_recv(client, min(left, 65536)))
            side, outgoing = await _handshake(client, driver)
            await waiting
            driver.wire.pause()
            side.write(b"early")
            await loop.sock_sendall(client, outgoing.read())
            await server.connect()  # a whole accept later it would have arrived
            assert driver.heard == b""
            driver.wire.resume()
            await driver.hears(b"early")
            client.close()

    run(main)


def test_tls_without_a_certificate_is_no_listener(run: Run[None]) -> None:
    async def main() -> None:
        with pytest.raises(ListenError, match="submissions needs a certificate"):
            async with stand(service="submissions"):
                pass

    run(main)


# --- the PROXY protocol ------------------------------------------------------------------------------------------

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 25\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 40112, 25)
V2_LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
V2_UNSPECIFIED = b"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00"


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("split", [False, True])
def test_the_client_is_whom_a_trusted_proxy_names(run: Run[None], header: bytes, split: bool) -> None:
    async def main() -> None:
        async with stand(proxy_protocol=True) as server:
            client, loop = await server.raw(), asyncio.get_running_loop()
            for piece in [bytes([octet]) for octet in header] if split else [header + b"EHLO c.example\r\n"]:
                await loop.sock_sendall(client, piece)
                await asyncio.sleep(0.001 if split else 0)
            driver = await server.driver()
            peer = driver.wire.peer
            assert (peer.ip, peer.port, peer.local, peer.direct) == ("192.0.2.7", 40112, "198.51.100.1", "127.0.0.1")
            assert await loop.sock_recv(client, 100) == b"220 hello\r\n"
            if split:
                await loop.sock_sendall(client, b"EHLO c.example\r\n")
            await driver.hears(b"EHLO c.example\r\n")
            client.close()
            await driver.lost

    run(main)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_the_header_comes_before_implicit_tls(run: Run[None], tls: TlsForPeers, header: bytes) -> None:
    async def main() -> None:
        async with stand(service="submissions", tls=tls, proxy_protocol=True) as server:
            client = await server.raw()
            await asyncio.get_running_loop().sock_sendall(client, header)
            reader, writer = await asyncio.open_connection(
                sock=client, ssl=trusting(), server_hostname="mx.example.org"
            )
            assert await reader.readline() == b"220 hello\r\n"
            driver = await server.driver()
            assert driver.wire.peer.ip == "192.0.2.7"
            assert driver.wire.tls is not None
            writer.write(b"hello")
            await driver.hears(b"hello")
            writer.close()
            await driver.lost

    run(main)


@pytest.mark.parametrize(
    ("header", "direct"),
    [(V2_LOCAL, ""), (V2_UNSPECIFIED, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")],
    ids=["local", "unspecified", "unknown"],
)
def test_a_client_that_the_proxy_cannot_name_does_not_count_as_this_machine(
    run: Run[None], header: bytes, direct: str
) -> None:
    """What a stranger behind a proxy on loopback would get else: logins in clear, as "loopback" may.

    LOCAL is the proxy itself, which asks whether we live.
    """

    async def main() -> None:
        async with stand(proxy_protocol=True) as server:
            client = await server.raw()
            await asyncio.get_running_loop().sock_sendall(client, header)
            peer = (await server.driver()).wire.peer
            assert (peer.ip, peer.port, peer.direct) == ("127.0.0.1", client.getsockname()[1], direct)
            client.close()

    run(main)


@pytest.mark.parametrize(
    "octets",
    [b"EHLO client.example.net\r\n", b"PROXY TCP4 192.0.2.7\r\n", V2[:12] + b"\x31", b"\x16\x03\x01", b""],
    ids=["none", "short", "version 3", "tls", "end"],
)
def test_without_a_sound_header_there_is_no_session(run: Run[None], octets: bytes) -> None:
    async def main() -> None:
        async with stand(proxy_protocol=True) as server:
            reader, writer = await server.dial()
            writer.write(octets)
            if not octets:
                writer.write_eof()
            assert await _ended(reader) == b""
            assert server.drivers == []
            writer.close()

    run(main)


def test_a_proxy_that_never_speaks_is_cut_off(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "PROXY_SECONDS", 0.1)

    async def main() -> None:
        async with stand(proxy_protocol=True) as server:
            reader, writer = await server.dial()
            writer.write(b"PROXY TCP4 192.")
            assert await _ended(reader) == b""
            assert server.drivers == []
            writer.close()

    run(main)


def test_a_header_from_a_host_that_is_not_trusted_is_refused(run: Run[None]) -> None:
    async def main() -> None:
        async with stand(proxy_protocol=True, trusted=NetworkSet(["192.0.2.0/24"])) as server:
            reader, writer = await server.dial()
            writer.write(V1)
            assert await _ended(reader) == b""
            assert server.drivers == []
            writer.close()

    run(main)


async def _ended(reader: asyncio.StreamReader) -> bytes:
    """What came before the end; a reset is an end."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


# --- what is listened on -----------------------------------------------------------------------------------------


def test_ipv6_is_a_listener_of_its_own(run: Run[None]) -> None:
    async def main() -> None:
        async with stand("[::1]:0") as six:
            _, writer, driver = await six.connect()
            assert driver.wire.peer.ip == "::1"
            writer.close()
            await driver.lost
        async with stand("[::]:0") as six, stand(f"0.0.0.0:{six.port}") as four:
            _, writer = await asyncio.open_connection("127.0.0.1", six.port)
            driver = await four.driver()
            assert driver.wire.peer.ip == "127.0.0.1"
            writer.close()
            assert six.drivers == []

    run(main)


@pytest.mark.parametrize("proxy_protocol", [False, True])
def test_a_unix_socket_knows_the_user_at_its_other_end(run: Run[None], tmp_path: Path, proxy_protocol: bool) -> None:
    async def main() -> None:
        path = tmp_path / "deep" / "lmtp.sock"
        async with stand(f"unix:{path}", "lmtp", proxy_protocol=proxy_protocol) as server:
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            reader, writer = await asyncio.open_unix_connection(str(path))
            if proxy_protocol:
                writer.write(V1)
            driver = await server.driver()
            assert await reader.readline() == b"220 hello\r\n"
            peer = driver.wire.peer
            if proxy_protocol:
                assert (peer.ip, peer.user) == ("192.0.2.7", "")
                assert peer.direct
            else:
                assert (peer.ip, peer.port, peer.user) == ("", 0, getpass.getuser())
                assert peer.local == f"unix:{path}"
            writer.write(b"LHLO c\r\n")
            await driver.hears(b"LHLO c\r\n")
            writer.close()
            await driver.lost

    run(main)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: connects as another user")
def test_a_unix_socket_tells_users_apart(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        path = Path("/tmp") / f"gatepost-test-{os.getpid()}.sock"
        async with stand(f"unix:{path}", "submission") as server:
            script = (
                f"import os, socket; os.setuid({pwd.getpwnam('nobody').pw_uid}); s = socket.socket(socket.AF_UNIX); "
                f"s.connect({str(path)!r}); s.recv(5)"
            )
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
            driver = await server.driver()
            assert driver.wire.peer.user == "nobody"
            await process.wait()
        path.unlink()

    run(main)


def test_an_address_in_use_is_told_with_what_to_do() -> None:
    with bind("127.0.0.1:0") as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError) as told:
            bind(f"127.0.0.1:{port}")
    assert f"listen on 127.0.0.1:{port}: the address is in use" in str(told.value)
    assert "stop the program that has it" in str(told.value)


def test_an_address_that_is_not_of_this_machine_is_told() -> None:
    with pytest.raises(ListenError, match=r"listen on 192\.0\.2\.1:2525: Cannot assign requested address"):
        bind("192.0.2.1:2525")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes a plain user")
def test_a_low_port_without_the_right_to_it_is_told_with_what_to_do() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if low == 0:
        pytest.skip("every port is free for all here")
    script = (
        f"import os; from gatepost.net.listener import bind; os.setuid(65534)\n"
        f"try: bind('127.0.0.1:{low - 1}')\nexcept Exception as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "not permitted" in said
    assert "CAP_NET_BIND_SERVICE" in said


@pytest.mark.parametrize(
    "address", ["", "25", "127.0.0.1", "::1:25", "[127.0.0.1]:25", "mx.example.org:25", "127.0.0.1:70000", "[::1]25"]
)
def test_what_is_no_address_is_told_with_an_example(address: str) -> None:
    with pytest.raises(ListenError, match=r'as in "0\.0\.0\.0:25"'):
        host_and_port(address)


def test_the_socket_of_a_dead_server_is_replaced_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"
    live = bind(f"unix:{path}")
    with pytest.raises(ListenError, match="another server answers there"):
        bind(f"unix:{path}")
    live.close()
    bind(f"unix:{path}").close()
    path.unlink()
    path.write_text("something precious")
    with pytest.raises(ListenError, match="something that is no socket"):
        bind(f"unix:{path}")
    assert path.read_text() == "something precious"


def test_sockets_are_inherited_by_workers() -> None:
    with bind("127.0.0.1:0") as sock:
        assert sock.get_inheritable()
