"""The connection under a session, as a port: what SMTP and POP3 drivers ask of the transport they sit on.

The driver is called by the wire (`SessionDriver`) and calls it back (`Wire`); neither knows the other's class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class PeerCertificate(msgspec.Struct, frozen=True):
    """A client certificate that an authority of `[tls] client_ca` issued.

    fingerprint: SHA-256, as hex digits. subject: as RFC 4514 writes it. addresses: mail addresses in it (rfc822Name).
    """

    fingerprint: str
    subject: str
    addresses: tuple[str, ...] = ()


class PeerTls(msgspec.Struct, frozen=True):
    """The TLS that a peer negotiated with us. end_point: the hash of the certificate we showed (tls-server-end-point,
    RFC 5929 §4), for SCRAM-PLUS. resumed: an earlier session's ticket was used. certificate: that the peer showed, None
    for none."""

    version: str  # "TLSv1.3"
    cipher: str
    end_point: bytes = b""
    resumed: bool = False
    certificate: PeerCertificate | None = None


class Peer(msgspec.Struct, frozen=True):
    """Where a connection comes from.

    ip: "192.0.2.7" (an IPv4-mapped address counts as IPv4), "" for a unix socket. port: 0 then. local: the address
    that it reached. service: of the listener. direct: the address of the proxy in front when a PROXY header named
    `ip`, else "". user: the login name of the process at the other end of a unix socket, "" elsewhere.
    """

    ip: str
    port: int
    service: str
    local: str = ""
    direct: str = ""
    user: str = ""


class Timer(Protocol):
    """A running timer."""

    def cancel(self) -> None: ...


class Wire(Protocol):
    """One accepted connection."""

    @property
    def peer(self) -> Peer: ...

    @property
    def tls(self) -> PeerTls | None: ...

    @property
    def can_start_tls(self) -> bool:
        """A certificate is configured and the connection has no TLS yet."""
        ...

    def write(self, octets: bytes) -> None:
        """Queue `octets`. Nothing happens once the connection is closed."""
        ...

    async def drained(self) -> None:
        """Returns when the peer has taken most of what was written (at once if little waits). Raises
        ConnectionError when it is gone or takes nothing within the write timeout."""
        ...

    def pause(self) -> None:
        """No more `data_received` until `resume`; the peer is slowed down by TCP."""
        ...

    def resume(self) -> None: ...

    def start_tls(self, ready: bytes) -> None:
        """Send `ready` (the 220 or +OK), then hand over to TLS. Whatever arrives before TLS stands is dropped or
        fails the handshake. `tls_started` follows, or `connection_lost`."""
        ...

    def close(self) -> None:
        """Flush what was written, then close."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer: ...


class SessionDriver(Protocol):
    """A session on top of a wire. Calls never overlap."""

    def connection_made(self) -> None:
        """The connection stands (with TLS already, on an implicit TLS listener)."""
        ...

    def handshake_failed(self, reason: str) -> None:
        """In the place of all other calls: there was to be TLS from the first octet on, and it came to nothing.
        reason: for the record."""
        ...

    def data_received(self, octets: bytes) -> None: ...

    def tls_started(self) -> None:
        """The handshake that `start_tls` began is done; `wire.tls` tells."""
        ...

    def peer_finished(self) -> None:
        """The peer has closed its side and sends nothing more; it may still read. What it asked is answered, then
        the driver closes."""
        ...

    def shut_down(self) -> None:
        """The server stops: the session ends as soon as its peer loses nothing by it."""
        ...

    def connection_lost(self, reason: str) -> None:
        """It is over; nothing can be written any more. reason: for the record, "" when both sides were done."""
        ...
