"""`StreamConnector` over real sockets on loopback, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.support.certificates import Authority, self_signed_context
from tests.support.virtual_time import run as run_in_virtual_time

from gatepost.net.connector import MAX_UNREAD_OCTETS, MAX_UNWRITTEN_OCTETS, SocketStream, StreamConnector
from gatepost.net.trust import TrustStore
from gatepost.ports.connect import ConnectError, TlsError, TlsState

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Test = Callable[[int], Coroutine[Any, Any, Any]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def run_on_asyncio(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner() as runner:
        return runner.run(main)


def run_on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.fixture(params=[run_on_asyncio, run_on_uvloop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def closing(handler: Handler) -> Handler:
    """`handler`, whose connection ends with it, however it ends."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    return handle


async def serving(handler: Handler, test: Test, **options: Any) -> Any:
    """Runs `test` with the port of a server that answers each connection with `handler`."""
    server = await asyncio.start_server(closing(handler), "127.0.0.1", 0, **options)
    try:
        return await test(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await turns(3)


async def connected(port: int, trust: TrustStore | None = None, **options: Any) -> SocketStream:
    return await StreamConnector(trust).connect("127.0.0.1", port, timeout=10, **options)


async def read_until(stream: SocketStream, ending: bytes) -> bytes:
    octets = b""
    while not octets.endswith(ending):
        piece = await stream.read(10)
        assert piece, f"the end came after {octets!r}"
        octets += piece
    return octets


async def turns(number: int) -> None:
    """Lets the loop turn."""
    for _ in range(number):
        await asyncio.sleep(0)


async def turns_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await turns(1)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)


async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


# --- in clear ---


def test_octets_go_both_ways_and_the_end_is_told(run: Run) -> None:
    async def say_bye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline() + b"bye\r\n")
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async def test(port: int) -> None:
        stream = await connected(port)
        await stream.write(b"hello\r\n", 10)
        assert await read_until(stream, b"bye\r\n") == b"hello\r\nbye\r\n"
        assert await stream.read(10) == b""
        assert await stream.read(10) == b""
        assert (stream.local_address, stream.peer_address, stream.tls) == ("127.0.0.1", "127.0.0.1", None)
        stream.close()

    run(serving(say_bye, test))


def test_a_refused_connection_says_to_whom_and_why(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused for certain
        port = taken.getsockname()[1]
        with pytest.raises(ConnectError, match=rf"127\.0\.0\.1 port {port}: connection refused"):
            run(connected(port))


@pytest.mark.parametrize("host", ["mx.example.org", "", "127.0.0.1:25", "[::1]", "127.0.0.1\x00"])
def test_a_host_that_is_no_address_is_never_looked_up(run: Run, host: str) -> None:
    with pytest.raises(ConnectError):
        run(StreamConnector().connect(host, 25, timeout=10))


def test_the_source_address_is_bound(run: Run) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(writer.get_extra_info("peername")[0].encode() + b"\r\n")
        await reader.read()

    async def test(port: int) -> None:
        stream = await connected(port, source="127.0.0.9")
        assert await read_until(stream, b"\r\n") == b"127.0.0.9\r\n"
        assert stream.local_address == "127.0.0.9"
        stream.close()

    run(serving(tell, test))


def test_a_source_address_that_is_not_ours_is_named_in_the_error(run: Run) -> None:
    with pytest.raises(ConnectError, match=r"from 192\.0\.2\.1"):
        run(serving(echo, lambda port: connected(port, source="192.0.2.1")))


def test_a_unix_socket(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"

    async def main() -> None:
        server = await asyncio.start_unix_server(closing(echo), path)
        stream = await StreamConnector().connect(f"unix:{path}", 0, timeout=10)
        await stream.write(b"x\r\n", 10)
        assert await read_until(stream, b"\r\n") == b"x\r\n"
        assert stream.peer_address == str(path)
        stream.close()
        server.close()
        await turns(3)

    run(main())
    with pytest.raises(ConnectError, match="no such file"):
        run(StreamConnector().connect(f"unix:{path}.missing", 0, timeout=10))


def test_a_reset_connection_is_an_error_not_an_end(run: Run) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def test(port: int) -> None:
        stream = await connected(port)
        await stream.write(b"x\r\n", 10)
        with pytest.raises(ConnectError, match="reset"):
            await stream.read(10)
        with pytest.raises(ConnectError):
            await stream.write(b"x\r\n", 10)

    run(serving(reset, test))


def test_a_peer_that_sends_without_end_fills_no_memory(run: Run) -> None:
    octets = b"x" * (8 << 20)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        await reader.read()

    async def test(port: int) -> None:
        stream = await connected(port)
        await turns_until(lambda: stream._is_paused)
        await turns(100)
        assert len(stream._received) <= MAX_UNREAD_OCTETS + (256 << 10)
        total = 0
        while total < len(octets):
            total += len(await stream.read(10))
        stream.close()

    run(serving(flood, test))


def test_write_waits_for_a_peer_that_reads_slowly(run: Run) -> None:
    octets = b"x" * (16 << 20)
    may_read = asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_read.wait()
        total = 0
        while total < len(octets):
            total += len(await reader.read(1 << 20))
        writer.write(b"all\r\n")
        await reader.read()

    async def test(port: int) -> None:
        stream = await connected(port)
        writing = asyncio.create_task(stream.write(octets, 30))
        await turns(20)
        assert not writing.done()
        may_read.set()
        await writing
        assert stream._transport is not None
        assert stream._transport.get_write_buffer_size() <= MAX_UNWRITTEN_OCTETS
        assert await read_until(stream, b"\r\n") == b"all\r\n"
        stream.close()

    run(serving(read_late, test))


def test_a_peer_that_is_silent_ends_the_read_in_time() -> None:
    async def test(port: int) -> None:
        stream = await connected(port)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectError, match="nothing came for 300 s"):
            await stream.read(300)
        assert asyncio.get_running_loop().time() - began == pytest.approx(300, abs=5)
        stream.close()

    run_in_virtual_time(serving(wait_for_end, test))


def test_a_peer_that_never_reads_ends_the_write_in_time() -> None:
    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def test(port: int) -> None:
        stream = await connected(port)
        with pytest.raises(ConnectError, match="took nothing for 180 s"):
            await stream.write(b"x" * (32 << 20), 180)
        stream.close()

    run_in_virtual_time(serving(never_read, test))


# --- TLS ---


async def answer_starttls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    await reader.readline()
    writer.write(b"220 go\r\n")
    await writer.drain()
    await writer.start_tls(context)
    writer.write(b"inside\r\n")
    await echo(reader, writer)


async def upgraded(port: int, trust: TrustStore, name: str, check: Any) -> tuple[SocketStream, TlsState]:
    stream = await connected(port, trust)
    await stream.write(b"STARTTLS\r\n", 10)
    assert await read_until(stream, b"\r\n") == b"220 go\r\n"
    return stream, await stream.start_tls(name, check, 10)


@pytest.mark.parametrize("check", ["may", "encrypt", "verify"])
def test_starttls_with_a_valid_certificate_is_verified_and_carries_octets(
    run: Run, authority: Authority, check: str
) -> None:
    context = authority.server_context("mx.example.org")

    async def test(port: int) -> None:
        stream, state = await upgraded(port, TrustStore(authority.file), "mx.example.org", check)
        assert (state.version, state.verified, state.error) == ("TLSv1.3", True, "")
        assert stream.tls == state
        assert await read_until(stream, b"\r\n") == b"inside\r\n"
        await stream.write(b"y" * 300_000 + b"\r\n", 10)
        assert len(await read_until(stream, b"\r\n")) == 300_002
        stream.close()

    run(serving(lambda reader, writer: answer_starttls(reader, writer, context), test, limit=1 << 20))


@pytest.mark.parametrize("name", ["mx.example.org", "mx.example.org.", "127.0.0.1"])
def test_implicit_tls_checks_a_host_name_or_an_address(run: Run, authority: Authority, name: str) -> None:
    context = authority.server_context("mx.example.org", "127.0.0.1")

    async def test(port: int) -> None:
        for check in ("verify", "encrypt"):
            stream = await connected(port, TrustStore(authority.file), implicit_tls=name, check=check)
            assert stream.tls is not None
            assert stream.tls.verified, stream.tls.error
            await stream.write(b"x\r\n", 10)
            assert await read_until(stream, b"\r\n") == b"x\r\n"
            stream.close()

    run(serving(echo, test, ssl=context))


def bad_contexts(folder: Path, authority: Authority) -> dict[str, ssl.SSLContext]:
    return {
        "expired": authority.server_context("mx.example.org", days=-1),
        "another name": authority.server_context("mx.example.com"),
        "another address": authority.server_context("192.0.2.7"),
        "unknown authority": Authority(folder / "other", "Other").server_context("mx.example.org"),
        "self-signed": self_signed_context(folder / "own", "mx.example.org"),
    }


@pytest.mark.parametrize("fault", ["expired", "another name", "another address", "unknown authority", "self-signed"])
def test_a_certificate_that_is_not_valid_passes_only_where_any_passes(
    run: Run, authority: Authority, tmp_path: Path, fault: str
) -> None:
    context = bad_contexts(tmp_path, authority)[fault]

    async def test(port: int) -> None:
        trust = TrustStore(authority.file)
        for check in ("may", "encrypt"):
            stream = await connected(port, trust, implicit_tls="mx.example.org", check=check)
            assert stream.tls is not None
            assert not stream.tls.verified
            assert stream.tls.error.startswith("not valid for mx.example.org")
            stream.close()
        with pytest.raises(TlsError, match="certificate is not valid"):
            await connected(port, trust, implicit_tls="mx.example.org", check="verify")

    run(serving(echo, test, ssl=context))


def test_octets_in_clear_that_wait_when_tls_starts_are_refused(run: Run, authority: Authority) -> None:
    """Somebody in the middle appends a reply to the 220; it must never be read as if TLS had protected it."""

    async def inject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 go\r\n")
        await reader.readline()
        writer.write(b"250 injected\r\n")
        await reader.read()

    async def test(port: int) -> None:
        stream = await connected(port, TrustStore(authority.file))
        await read_until(stream, b"220 go\r\n")
        await stream.write(b"x\r\n", 10)
        await turns_until(lambda: bool(stream._received))
        with pytest.raises(TlsError, match="in clear"):
            await stream.start_tls("mx.example.org", "may", 10)
        with pytest.raises(ConnectError):
            await stream.write(b"x\r\n", 10)

    run(serving(inject, test))


def test_octets_in_clear_that_come_during_the_handshake_fail_it(run: Run, authority: Authority) -> None:
    async def inject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 go\r\n")
        await reader.read(100)  # the ClientHello
        writer.write(b"250 injected\r\n")
        await reader.read()

    async def test(port: int) -> None:
        stream = await connected(port, TrustStore(authority.file))
        await stream.write(b"STARTTLS\r\n", 10)
        await read_until(stream, b"\r\n")
        with pytest.raises(TlsError):
            await stream.start_tls("mx.example.org", "may", 10)
        assert stream.tls is None
        assert not stream._received

    run(serving(inject, test))


def test_a_peer_that_leaves_in_the_handshake(run: Run, authority: Authority) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)

    async def test(port: int) -> None:
        with pytest.raises(TlsError):
            await connected(port, TrustStore(authority.file), implicit_tls="mx.example.org")

    run(serving(leave, test))


def test_a_peer_that_is_silent_in_the_handshake_ends_it_in_time(authority: Authority) -> None:
    async def test(port: int) -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TlsError):
            await connected(port, TrustStore(authority.file), implicit_tls="mx.example.org")
        assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=2)

    run_in_virtual_time(serving(wait_for_end, test))


def test_tls_before_1_2_is_refused(run: Run, authority: Authority) -> None:
    context = authority.server_context("mx.example.org")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    async def test(port: int) -> None:
        with pytest.raises(TlsError):
            await connected(port, TrustStore(authority.file), implicit_tls="mx.example.org", check="may")

    run(serving(echo, test, ssl=context))


@pytest.mark.parametrize("name", ["x" * 64 + ".example.org", "a..example.org", "", ".", "ä\udc80.example"])
def test_a_name_that_cannot_be_one_raises_nothing_but_a_tls_error(run: Run, authority: Authority, name: str) -> None:
    context = authority.server_context("mx.example.org")

    async def test(port: int) -> None:
        for check in ("may", "verify"):
            stream = await connected(port, TrustStore(authority.file))
            with suppress(TlsError):
                state = await stream.start_tls(name, check, 10)
                assert check == "may"
                assert not state.verified
            stream.close()

    run(serving(echo, test, ssl=context))


def test_ssl_cert_file_is_honoured(run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    context = authority.server_context("mx.example.org")

    async def test(port: int) -> TlsState:
        stream = await connected(port, TrustStore(), implicit_tls="mx.example.org", check="encrypt")
        stream.close()
        assert stream.tls is not None
        return stream.tls

    assert not run(serving(echo, test, ssl=context)).verified
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert run(serving(echo, test, ssl=context)).verified


def test_without_a_trust_store_nothing_is_verified_and_the_error_says_what_to_do(
    run: Run, authority: Authority, tmp_path: Path
) -> None:
    context = authority.server_context("mx.example.org")
    trust = TrustStore(tmp_path / "missing.pem")

    async def test(port: int) -> None:
        stream = await connected(port, trust, implicit_tls="mx.example.org", check="may")
        assert stream.tls is not None
        assert not stream.tls.verified
        assert "SSL_CERT_FILE" in stream.tls.error
        with pytest.raises(TlsError):
            await connected(port, trust, implicit_tls="mx.example.org", check="verify")

    run(serving(echo, test, ssl=context))
