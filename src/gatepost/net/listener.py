"""Listening: addresses bound once (before privileges are dropped and workers forked), served by each worker."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from gatepost.mail.network import NetworkSet, parse_ip
from gatepost.net.connection import Connection, DriverFactory, TlsForPeers
from gatepost.ports.wire import Peer
from gatepost.protocol.proxy import NeedMore, ProxyError, ProxyHeader, ProxyParser

log = structlog.get_logger()

BACKLOG: Final = 4096
IMPLICIT_TLS: Final = frozenset({"submissions", "pop3s"})
PROXY_SECONDS: Final = 10.0  # a proxy speaks at once
UNIX: Final = "unix:"
UNSENT_OCTETS: Final = 128 * 1024
"""What the kernel takes of us for a peer that does not read; by itself it takes megabytes, and we answer on and on."""


class ListenError(Exception):
    """An address cannot be listened on; the message says why and what to do."""


class Listener(msgspec.Struct, frozen=True):
    """One `[[listen]]` of the configuration. address: "192.0.2.1:25", "[::]:25" or "unix:/path"."""

    address: str
    service: str
    proxy_protocol: bool = False
    xclient: bool = False


def bind(address: str) -> socket.socket:
    """A listening, inheritable socket. Raises ListenError."""
    try:
        return _bind_unix(address.removeprefix(UNIX)) if address.startswith(UNIX) else _bind_tcp(address)
    except PermissionError as error:
        raise ListenError(
            f"listen on {address}: not permitted ({error.strerror}); ports below 1024 need root at start or "
            "CAP_NET_BIND_SERVICE"
        ) from error
    except OSError as error:
        if error.errno == 98:  # EADDRINUSE
            raise ListenError(
                f"listen on {address}: the address is in use; stop the program that has it (`ss -ltnp` names it), or "
                "change the port"
            ) from error
        raise ListenError(f"listen on {address}: {error.strerror or error}") from error


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of "192.0.2.1:25" and "[::1]:25". Raises ListenError."""
    host, colon, port = address.rpartition(":")
    try:
        number = int(port)
        parse_ip(host.strip("[]"))
        if not colon or not 0 <= number <= 65535 or (":" in host) != host.startswith("["):
            raise ValueError
    except ValueError:
        raise ListenError(
            f'listen on {address!r}: write an address and a port, as in "0.0.0.0:25" or "[::]:25"'
        ) from None
    return host.strip("[]"), number


def _bind_tcp(address: str) -> socket.socket:
    host, port = host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_OCTETS)  # accepted ones inherit it
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # "0.0.0.0:25" is a listener of its own
        sock.bind((host, port))
        return _ready(sock)
    except OSError:
        sock.close()
        raise


def _bind_unix(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ListenError(f"listen on unix:{path}: something that is no socket has that name; remove it")
        if _is_alive(path):
            raise ListenError(f"listen on unix:{path}: another server answers there; stop it first")
        os.unlink(path)  # left behind by a server that was killed
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - who may do what there is decided by the peer's user, which the kernel tells
        return _ready(sock)
    except OSError:
        sock.close()
        raise


def _is_alive(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _ready(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    sock.set_inheritable(True)
    return sock


class Served:
    """A listener that is being served. `stop` takes no new connections; those that stand go on.

    connections: those that stand. beginning: those that are on the way there. is_stopped: what begins now ends at once.
    """

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.beginning: set[asyncio.Task[None]] = set()
        self.is_stopped = False
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None

    def by(self, running: asyncio.Server | asyncio.Task[None]) -> Served:
        """What accepts its connections."""
        if isinstance(running, asyncio.Task):
            self._task = running
        else:
            self._server = running
        return self

    def stop(self) -> None:
        """No new connections."""
        self.is_stopped = True
        if self._server is not None:
            self._server.close()
        if self._task is not None:
            self._task.cancel()


async def serve(
    sock: socket.socket,
    listener: Listener,
    make: DriverFactory,
    tls: TlsForPeers | None,
    trusted: NetworkSet,
) -> Served:
    """Accept on `sock`. make: the session driver of a connection. Raises ListenError where TLS is needed and there is
    none."""
    loop = asyncio.get_running_loop()
    implicit = listener.service in IMPLICIT_TLS
    if implicit and tls is None:
        raise ListenError(f"listen on {listener.address}: {listener.service} needs a certificate")
    served = Served()

    def connection(proxied: Peer | None = None) -> Connection:
        return Connection(listener.service, tls, make, served.connections, proxied, implicit=implicit)

    if listener.proxy_protocol:
        begin = partial(_begin, listener, connection, trusted, served)
        return served.by(loop.create_task(_accept(sock, listener, begin, served)))
    return served.by(await loop.create_server(connection, sock=sock, backlog=BACKLOG))


async def _accept(
    sock: socket.socket,
    listener: Listener,
    begin: Callable[[socket.socket, Any], Coroutine[Any, Any, None]],
    served: Served,
) -> None:
    """Where a PROXY header comes first: a server of the event loop's own would read it as the session's."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            accepted, name = await loop.sock_accept(sock)
        except OSError as error:
            log.warning("accept failed", address=listener.address, error=str(error))
            await asyncio.sleep(0.1)  # out of file descriptors: others will close theirs
            continue
        task = loop.create_task(begin(accepted, name))
        served.beginning.add(task)
        task.add_done_callback(served.beginning.discard)


async def _begin(
    listener: Listener,
    connection: Callable[[Peer | None], Connection],
    trusted: NetworkSet,
    served: Served,
    accepted: socket.socket,
    name: Any,
) -> None:
    """The PROXY header is read from the socket itself, before any transport: what follows may be a TLS handshake.

    name: of the peer, as the system gives it.
    """
    loop = asyncio.get_running_loop()
    try:
        standing = connection(await _named_by_proxy(accepted, name, listener, trusted))
        await loop.connect_accepted_socket(lambda: standing, accepted)
        if served.is_stopped:
            standing.shut_down()
    except (ListenError, OSError, RuntimeError, TimeoutError) as error:  # Runtime: closed, says uvloop
        log.warning("connection refused", address=listener.address, reason=str(error) or "no PROXY header came")
        accepted.close()


async def _named_by_proxy(accepted: socket.socket, name: Any, listener: Listener, trusted: NetworkSet) -> Peer | None:
    """Whom the PROXY header names. Raises ListenError, OSError, TimeoutError."""
    proxy = "" if accepted.family == socket.AF_UNIX else str(parse_ip(name[0]))
    if proxy and proxy not in trusted:
        raise ListenError(f"{proxy} is not in `trusted`, so its PROXY header does not count")
    async with asyncio.timeout(PROXY_SECONDS):
        header = await _read_header(accepted)
    return _client(header, proxy, listener, name)


def _client(header: ProxyHeader, proxy: str, listener: Listener, name: Any) -> Peer | None:
    """Whom the header names; None for LOCAL: the proxy speaks for itself."""
    if header.command == "LOCAL":
        return None
    direct = proxy or listener.address
    if header.source is None:  # it speaks for somebody it cannot name, who is not this machine for all we know
        return Peer(proxy, name[1] if proxy else 0, listener.service, direct=direct)
    local = header.destination.ip if header.destination else ""
    return Peer(header.source.ip, header.source.port, listener.service, local=local, direct=direct)


async def _read_header(sock: socket.socket) -> ProxyHeader:
    """The header, and not an octet more: it is looked at first, then taken. Raises ListenError."""
    loop = asyncio.get_running_loop()
    seen = 0
    while True:
        await _readable(loop, sock)
        octets = sock.recv(2048, socket.MSG_PEEK)
        if len(octets) == seen:
            if not octets:
                raise ListenError("the connection ended before a PROXY header")
            await asyncio.sleep(0.01)  # what is peeked at stays readable; nothing new has come
            continue
        seen = len(octets)
        found = ProxyParser().feed(octets)
        if isinstance(found, ProxyError):
            raise ListenError(found.reason)
        if not isinstance(found, NeedMore):
            sock.recv(len(octets) - len(found.rest))
            return found


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready = loop.create_future()
    loop.add_reader(sock.fileno(), _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())
