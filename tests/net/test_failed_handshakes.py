"""Peers that come to a port with TLS from the first octet on and do not get that far: each is on the record."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.pickup.counter import Counter
from tests.support.desk import Desk
from tests.support.loops import LOOPS, run_on
from tests.support.server_pairs import write_pair
from tests.support.system_clock import SystemClock

from gatepost.audit.event import Event
from gatepost.gate.flood import ONE_BY_ONE
from gatepost.intake.session import SmtpSession
from gatepost.intake.settings import ListenerSettings
from gatepost.mail.network import NetworkSet
from gatepost.net import connection as connection_module
from gatepost.net.connection import TlsForPeers
from gatepost.net.listener import Listener, Served, bind, serve
from gatepost.net.tls import ServerTls, TlsSettings
from gatepost.pickup.session import Pop3Session
from gatepost.ports.wire import SessionDriver, Wire


class Stand:
    """One listener on loopback. proxied: the PROXY header must come."""

    def __init__(self, desk: Desk, served: Served, address: tuple[str, int], kind: str) -> None:
        self.desk, self.served, self.address, self._kind = desk, served, address, kind

    async def events(self, number: int) -> list[Event]:
        """The session events, when there are so many."""
        for _ in range(500):
            if len(self.desk.recorder.of(self._kind)) >= number:
                break
            await asyncio.sleep(0.01)
        return self.desk.recorder.of(self._kind)

    async def send(self, octets: bytes) -> bytes:
        """What comes back to a peer that sends `octets` and waits for the end."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(octets)
        try:
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def stand(folder: Path, service: str, *, proxied: bool = False) -> AsyncIterator[Stand]:
    pair = write_pair(folder, "mx.example.org")
    server_tls = ServerTls(TlsSettings((pair,)), "mx.example.org", folder, SystemClock())
    counter = Counter()
    desk = counter.desk

    def make(wire: Wire) -> SessionDriver:
        is_pop3 = service == "pop3s"
        return Pop3Session(wire, counter.parts) if is_pop3 else SmtpSession(wire, desk.parts, ListenerSettings())

    sock = bind("127.0.0.1:0")
    tls = TlsForPeers(server_tls.context, server_tls.end_point_for)
    listener = Listener("127.0.0.1:0", service, proxy_protocol=proxied)
    served = await serve(sock, listener, make, tls, NetworkSet(("127.0.0.0/8",)))
    try:
        yield Stand(desk, served, sock.getsockname(), "pop3.session" if service == "pop3s" else "smtp.session")
    finally:
        served.stop()
        for connection in list(served.connections):
            connection.abort()
        await asyncio.sleep(0.01)
        sock.close()
        desk.close()


def trusting_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def on_each_loop(test: Callable[..., None]) -> Callable[..., None]:
    by_loop = pytest.mark.parametrize("loop", sorted(LOOPS))
    return by_loop(pytest.mark.parametrize("service", ["submissions", "pop3s"])(test))


@on_each_loop
def test_a_peer_that_speaks_in_clear(loop: str, service: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with stand(tmp_path, service) as server:
            assert b"220" not in await server.send(b"EHLO client.example.net\r\nQUIT\r\n")
            (event,) = await server.events(1)
            assert event.details["lost"].startswith("TLS handshake failed: ")
            assert event.service == service
            assert event.client is not None
            assert (event.client.ip, event.client.tls) == ("127.0.0.1", "")
            assert event.dialogue == []
            assert not server.served.connections

    run_on(loop, main)


@on_each_loop
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
def test_a_peer_that_knows_tls_1_0_only(loop: str, service: str, tmp_path: Path) -> None:
    context = trusting_nobody()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1

    async def main() -> None:
        async with stand(tmp_path, service) as server:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection(*server.address, ssl=context)
            (event,) = await server.events(1)
            assert "UNSUPPORTED_PROTOCOL" in event.details["lost"].upper().replace(" ", "_")

    run_on(loop, main)


@on_each_loop
def test_a_peer_that_leaves_and_one_that_says_nothing(
    loop: str, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_SECONDS", 0.2)

    async def main() -> None:
        async with stand(tmp_path, service) as server:
            _, writer = await asyncio.open_connection(*server.address)
            writer.close()
            await server.events(1)
            assert await server.send(b"") == b""
            events = await server.events(2)
            assert len(events) == 2
            assert all("handshake" in event.details["lost"] for event in events)

    run_on(loop, main)


@on_each_loop
def test_a_flood_of_them_is_one_event_and_each_is_counted(loop: str, service: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with stand(tmp_path, service) as server:
            for _ in range(ONE_BY_ONE + 7):
                await server.send(b"GET / HTTP/1.1\r\n\r\n")
            assert len(await server.events(ONE_BY_ONE)) == ONE_BY_ONE
            server.desk.door.floods.close()
            event = server.desk.recorder.events[-1]
            assert event.details["sessions"] == 7
            assert event.details["checks"] == {"TLS handshake": 7}
            assert (event.service, event.verdicts) == (service, [])

    run_on(loop, main)


@on_each_loop
def test_behind_a_proxy_the_client_is_named(loop: str, service: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with stand(tmp_path, service, proxied=True) as server:
            await server.send(b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 465\r\nEHLO c.example\r\n")
            (event,) = await server.events(1)
            assert event.client is not None
            assert event.client.ip == "198.51.100.7"

    run_on(loop, main)


@on_each_loop
def test_a_session_that_begins_after_the_server_has_stopped_ends_at_once(
    loop: str, service: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with stand(tmp_path, service) as server:
            reader, writer = await asyncio.open_connection(*server.address)
            for _ in range(500):
                if server.served.connections:
                    break
                await asyncio.sleep(0.01)
            server.served.stop()
            for connection in list(server.served.connections):
                connection.shut_down()
            await writer.start_tls(trusting_nobody())
            heard = await asyncio.wait_for(reader.read(), 20)
            assert b"This server is going down" in heard
            writer.close()

    run_on(loop, main)


@on_each_loop
def test_those_that_get_that_far_have_their_session(loop: str, service: str, tmp_path: Path) -> None:
    """The first octets of a handshake must not be lost between the accepting and the TLS: forty at once."""
    context = trusting_nobody()

    async def greet(server: Stand) -> bytes:
        reader, writer = await asyncio.open_connection(*server.address, ssl=context)
        greeting = await asyncio.wait_for(reader.readline(), 20)
        writer.write(b"QUIT\r\n")
        await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return greeting[:4]

    async def main() -> None:
        async with stand(tmp_path, service) as server:
            greetings = await asyncio.gather(*(greet(server) for _ in range(40)))
            assert set(greetings) == {b"+OK " if service == "pop3s" else b"220 "}
            events = await server.events(40)
            assert [event.details.get("lost") for event in events] == [None] * 40
            assert all(event.client is not None and event.client.tls == "TLSv1.3" for event in events)

    run_on(loop, main)
