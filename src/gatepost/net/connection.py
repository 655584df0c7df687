"""One accepted connection: an `asyncio.Protocol` below, a `ports.wire.Wire` for the session driver on top.

Works on uvloop and on plain asyncio. Not here: what is listened on (`net.listener`), what is said (`intake`,
`pickup`).
"""

from __future__ import annotations

import asyncio
import pwd
import socket
import ssl
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, cast

from gatepost.mail.network import parse_ip
from gatepost.net.tls_clients import shown_certificate
from gatepost.net.tls_transport import TlsTransport
from gatepost.ports.wire import Peer, PeerTls, SessionDriver, Timer

HANDSHAKE_SECONDS: Final = 60.0
WRITE_SECONDS: Final = 300.0  # RFC 5321 §4.5.3.2 gives the same to a client's block of content, and some
LINGER_SECONDS: Final = 15.0  # a peer that does not take our last words is cut off
WRITE_MARK_OCTETS: Final = 64 * 1024
FULL_READ_OCTETS: Final = 64 * 1024
"""A read that brings so much has more behind it, and libuv would read the same peer up to 32 times before others."""

DriverFactory = Callable[["Connection"], SessionDriver]
EndPoint = Callable[[ssl.SSLObject], bytes]
"""The tls-server-end-point of the certificate that was shown (RFC 5929 §4)."""


class TlsForPeers:
    """What a listener needs to speak TLS. context: made before the workers were forked. asks: it asks for client
    certificates."""

    def __init__(self, context: ssl.SSLContext, end_point: EndPoint, *, asks: bool = False) -> None:
        self.context = context
        self.end_point = end_point
        self.asks = asks


class Connection(asyncio.Protocol):
    """The wire under one session. service: of the listener. tls: None where no certificate is at hand.

    connections: the set of those that stand, or shake hands; it comes and goes there by itself. proxied: the client
    that a PROXY header named. implicit: TLS comes first, and the session after it.
    """

    __slots__ = (
        "_all",
        "_closing",
        "_drained",
        "_driver",
        "_implicit",
        "_is_lost",
        "_is_shaking_hands",
        "_is_told_to_end",
        "_loop",
        "_make",
        "_peer",
        "_proxied",
        "_reading_paused_by",
        "_service",
        "_tls",
        "_tls_state",
        "_transport",
    )

    def __init__(
        self,
        service: str,
        tls: TlsForPeers | None,
        make: DriverFactory,
        connections: set[Connection],
        proxied: Peer | None = None,
        *,
        implicit: bool = False,
    ) -> None:
        self._service = service
        self._tls = tls
        self._make = make
        self._proxied = proxied
        self._loop = asyncio.get_running_loop()
        self._driver: SessionDriver | None = None
        self._transport: asyncio.Transport | None = None
        self._peer = Peer("", 0, service)
        self._tls_state: PeerTls | None = None
        self._implicit = implicit
        self._is_shaking_hands = False
        self._is_told_to_end = False
        self._is_lost = False
        self._drained: asyncio.Future[None] | None = None
        self._reading_paused_by: set[str] = set()
        self._closing: asyncio.TimerHandle | None = None
        self._all = connections

    # --- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; with implicit TLS the handshake begins."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_MARK_OCTETS)
        self._peer = self._proxied or peer_of(self._transport, self._service)
        self._all.add(self)
        if self._implicit:
            self._shake_hands()
        else:
            self._driver = self._make(self)
            self._driver.connection_made()

    def data_received(self, data: bytes) -> None:
        """Octets for the driver."""
        if self._driver is not None:
            self._driver.data_received(data)
            if len(data) >= FULL_READ_OCTETS and not self._reading_paused_by:
                self._hold_reading("turn")
                self._loop.call_soon(self._let_read, "turn")

    def eof_received(self) -> bool:
        """The peer has closed its side. What it sent is answered; then we close too."""
        if self._driver is not None:
            self._driver.peer_finished()
        return True  # our side stays open for what is still to be answered

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        if self._is_shaking_hands:
            self._lost(f"TLS handshake failed: {_what_went_wrong(exc) if exc else 'the peer went away'}")
        else:
            self._lost("" if exc is None else f"{type(exc).__name__}: {exc}")

    def pause_writing(self) -> None:
        """The peer does not take what we write: nothing more is read from it, so nothing more must be answered."""
        self._drained = self._loop.create_future()
        self._hold_reading("writing")

    def resume_writing(self) -> None:
        """The peer keeps up again."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        self._let_read("writing")

    # --- Wire ----------------------------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def tls(self) -> PeerTls | None:
        return self._tls_state

    @property
    def descriptor(self) -> int:
        """The number that the system gave it, -1 when it is gone."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        return -1 if sock is None else int(sock.fileno())

    @property
    def can_start_tls(self) -> bool:
        return self._tls is not None and self._tls_state is None

    def write(self, octets: bytes) -> None:
        if self._transport is not None and not self._is_lost:
            self._transport.write(octets)

    async def drained(self) -> None:
        if self._is_lost:
            raise ConnectionError("the peer is gone")
        waiting = self._drained
        if waiting is None:
            return
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await asyncio.shield(waiting)
        except TimeoutError as error:
            self.abort()
            raise ConnectionError(f"the peer took nothing for {WRITE_SECONDS:.0f} seconds") from error

    def pause(self) -> None:
        self._hold_reading("driver")

    def resume(self) -> None:
        self._let_read("driver")

    def start_tls(self, ready: bytes) -> None:
        assert self._transport is not None  # the driver speaks only after connection_made
        self._transport.write(ready)
        if self._reading_paused_by:  # whoever it was: the handshake must be read
            self._reading_paused_by.clear()
            self._transport.resume_reading()
        self._shake_hands()

    def close(self) -> None:
        if self._transport is None or self._is_lost:
            return
        is_flushed = self._tls_state is None and not self._transport.get_write_buffer_size()
        self._transport.close()
        if self._closing is None and not is_flushed:  # else it is closed as soon as the loop turns
            self._closing = self._loop.call_later(LINGER_SECONDS, self.abort)

    def abort(self) -> None:
        if self._transport is not None and not self._is_lost:
            self._transport.abort()

    def shut_down(self) -> None:
        """The server stops; after a handshake, where one is under way."""
        if self._is_shaking_hands:
            self._is_told_to_end = True
        elif self._driver is not None:
            self._driver.shut_down()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(seconds, callback)

    # --- inside --------------------------------------------------------------------------------------------------

    def _shake_hands(self) -> None:
        """From here on all that arrives belongs to TLS, and nothing leaves but inside."""
        assert self._transport is not None
        assert self._tls is not None
        self._is_shaking_hands = True
        self._transport = TlsTransport(self._transport, self._tls.context, self, self._tls_stands, HANDSHAKE_SECONDS)

    def _tls_stands(self, tls: ssl.SSLObject) -> None:
        self._is_shaking_hands = False
        self._tls_state = self._negotiated(tls)
        if self._driver is None:
            self._driver = self._make(self)
            self._driver.connection_made()
        else:
            self._driver.tls_started()
        if self._is_told_to_end:
            self.shut_down()

    def _negotiated(self, tls: ssl.SSLObject) -> PeerTls:
        assert self._tls is not None
        cipher = tls.cipher()
        return PeerTls(
            version=tls.version() or "",
            cipher=cipher[0] if cipher else "",
            end_point=self._tls.end_point(tls),
            resumed=bool(tls.session_reused),
            certificate=shown_certificate(tls) if self._tls.asks else None,
        )

    def _hold_reading(self, who: str) -> None:
        if not self._reading_paused_by and self._transport is not None and not self._is_lost:
            self._transport.pause_reading()
        self._reading_paused_by.add(who)

    def _let_read(self, who: str) -> None:
        self._reading_paused_by.discard(who)
        if not self._reading_paused_by and not self._is_lost and self._transport is not None:
            self._transport.resume_reading()

    def _lost(self, reason: str) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self._all.discard(self)
        if self._closing is not None:
            self._closing.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionError("the peer is gone"))
            self._drained.exception()  # seen: nobody may be waiting
        driver, self._driver = self._driver, None  # they know each other: without the ring both are gone at once
        if driver is not None:
            driver.connection_lost(reason)
        elif self._implicit:
            self._make(self).handshake_failed(reason)  # there never was a session: it only records this


def _what_went_wrong(error: BaseException) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__


def peer_of(transport: asyncio.Transport, service: str) -> Peer:
    """Who is at the other end of an accepted connection."""
    name = transport.get_extra_info("peername")
    local = transport.get_extra_info("sockname")
    if isinstance(name, tuple):
        return Peer(_plain(name[0]), name[1], service, local=_plain(local[0]) if local else "")
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        return Peer("", 0, service, local=f"unix:{local}", user=_user_of(sock))
    return Peer("", 0, service)  # it is gone already


@lru_cache(maxsize=4096)
def _plain(ip: str) -> str:
    """The address as records and tables write it."""
    return str(parse_ip(ip))


def _user_of(sock: socket.socket) -> str:
    """The login name of the process at the other end of a unix socket, "" if it has none."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
