"""Connections that we open, on asyncio or uvloop: TCP and unix sockets, source address, TLS from the start or later.

Implements `ports.connect`. Not here: what is said over them, names (they are resolved before), and connections that
others open to us.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from ipaddress import ip_address
from typing import Final, cast

from gatepost.net.trust import TrustStore, peer_chain
from gatepost.ports.connect import ConnectError, TlsCheck, TlsError, TlsState

MAX_UNREAD_OCTETS: Final = 256 * 1024  # above it the peer is slowed down by TCP
MAX_UNWRITTEN_OCTETS: Final = 64 * 1024  # above it `write` waits


class StreamConnector:
    """Opens `SocketStream`s."""

    def __init__(self, trust: TrustStore | None = None) -> None:
        self._trust = trust or TrustStore()

    async def connect(
        self, host: str, port: int, *, timeout: float, source: str = "", implicit_tls: str = "", check: TlsCheck = "may"
    ) -> SocketStream:
        """See `ports.connect.Connector`. `timeout` holds for the connection and the TLS handshake together."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout
        where = host if host.startswith("unix:") else f"{host} port {port}"
        stream = SocketStream(where, self._trust)
        try:
            async with asyncio.timeout(timeout):
                if host.startswith("unix:"):
                    await loop.create_unix_connection(lambda: stream, host.removeprefix("unix:"))
                else:
                    address = str(ip_address(host))
                    local = (source, 0) if source else None
                    await loop.create_connection(lambda: stream, address, port, local_addr=local)
        except TimeoutError as error:
            raise ConnectError(f"{where}: no connection within {timeout:.0f} s") from error
        except (OSError, ValueError) as error:
            by = f" (from {source})" if source else ""
            raise ConnectError(f"{where}{by}: {_reason(error)}") from error
        if implicit_tls:
            await stream.start_tls(implicit_tls, check, max(ends_at - loop.time(), 0.001))
        return stream


class SocketStream(asyncio.Protocol):
    """One connection; see `ports.connect.Stream`. It is read in the background up to a limit, so a peer that answers
    while we write is never the cause of a standstill."""

    def __init__(self, where: str, trust: TrustStore) -> None:
        self._where = where
        self._trust = trust
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._ended = False  # nothing more will come
        self._lost: str | None = None  # the connection is gone; why, "" for an end in order
        self._is_full = False
        self._is_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._tls: TlsState | None = None
        self._addresses = ("", "")

    @property
    def local_address(self) -> str:
        return self._addresses[0]

    @property
    def peer_address(self) -> str:
        return self._addresses[1]

    @property
    def tls(self) -> TlsState | None:
        return self._tls

    async def read(self, timeout: float) -> bytes:
        """What came since the last call, b"" at the end."""
        if not self._received and not self._ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await _within(timeout, self._reader)
            except TimeoutError as error:
                raise ConnectError(f"{self._where}: nothing came for {timeout:.0f} s") from error
            finally:
                self._reader = None
        if self._received:
            octets = bytes(self._received)
            self._received.clear()
            if self._is_paused and self._transport is not None and self._lost is None:
                self._is_paused = False
                self._transport.resume_reading()
            return octets
        if self._lost:
            raise ConnectError(f"{self._where}: {self._lost}")
        return b""

    async def write(self, octets: bytes, timeout: float) -> None:
        """Returns once no more than MAX_UNWRITTEN_OCTETS wait."""
        transport = self._standing()
        transport.write(octets)
        if not self._is_full:
            return
        self._writer = asyncio.get_running_loop().create_future()
        try:
            await _within(timeout, self._writer)
        except TimeoutError as error:
            raise ConnectError(f"{self._where}: the peer took nothing for {timeout:.0f} s") from error
        finally:
            self._writer = None
        self._standing()

    async def start_tls(self, name: str, check: TlsCheck, timeout: float) -> TlsState:
        """See `ports.connect.Stream`. No part of a handshake is answered before this is called, and octets that came
        in clear are never read as if TLS had protected them."""
        transport = self._standing()
        if self._received:
            self.close()
            raise TlsError(f"{self._where}: octets came in clear before the TLS handshake")
        name = name.rstrip(".")
        if check == "verify" and not name:  # without a name `ssl` would check the chain only: any certificate would do
            self.close()
            raise TlsError(f"{self._where}: there is no name that the certificate could match")
        context = self._trust.strict if check == "verify" else self._trust.lax
        try:
            # No wait_for, no task around it: what arrives is handed to TLS from this very call on.
            upgraded = await asyncio.get_running_loop().start_tls(
                transport, self, context, server_hostname=name or None, ssl_handshake_timeout=timeout
            )
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be one, from a hostile MX record
            transport.abort()
            raise TlsError(f"{self._where}: TLS handshake failed: {_reason(error)}") from error
        except BaseException:
            transport.abort()
            raise
        if upgraded is None:
            raise TlsError(f"{self._where}: the peer closed the connection in the TLS handshake")
        self._transport = upgraded
        self._tls = self._state(upgraded.get_extra_info("ssl_object"), name, check)
        return self._tls

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _state(self, tls: ssl.SSLObject, name: str, check: TlsCheck) -> TlsState:
        problem = "" if check == "verify" else self._trust.problem(name, peer_chain(tls))
        cipher = tls.cipher()
        return TlsState(tls.version() or "", cipher[0] if cipher else "", verified=not problem, error=problem)

    def _standing(self) -> asyncio.Transport:
        if self._transport is None or self._lost is not None or self._transport.is_closing():
            raise ConnectError(f"{self._where}: {self._lost or 'the peer closed the connection'}")
        return self._transport

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not derive from it
        self._transport.set_write_buffer_limits(high=MAX_UNWRITTEN_OCTETS)
        local, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._addresses = (_address(local), _address(peer) or self._where.removeprefix("unix:"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_UNREAD_OCTETS and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        self._ended = True
        _wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._lost = _reason(exc) if exc else ""
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writer)


async def _within(seconds: float, waiter: asyncio.Future[None]) -> None:
    """Waits for `waiter`; TimeoutError after `seconds`. A third of the cost of `asyncio.timeout`, twice a message."""
    timer = asyncio.get_running_loop().call_later(seconds, _expire, waiter)
    try:
        await waiter
    finally:
        timer.cancel()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _address(name: object) -> str:
    """Of a socket's name: ("192.0.2.7", 25), or the path of a unix socket."""
    return str(name[0]) if isinstance(name, tuple) and name else ""


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
