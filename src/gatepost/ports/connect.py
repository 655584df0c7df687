"""Connections to other hosts, as a port: sessions that we open read and write octets and know no socket."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

TlsCheck = Literal["may", "encrypt", "verify"]


class TlsState(msgspec.Struct, frozen=True):
    """What TLS a stream has. verified: the certificate matches the name and chains to the trust store."""

    version: str  # "TLSv1.3"
    cipher: str
    verified: bool = False
    error: str = ""  # why it is not verified


class ConnectError(OSError):
    """No connection, or it was lost; the message says to whom and why. Always transient."""


class TlsError(ConnectError):
    """The handshake failed, or the certificate is not valid where it must be; the stream is closed."""


class Stream(Protocol):
    """An open connection. Each call ends within the time given when it was opened, else ConnectError."""

    @property
    def local_address(self) -> str: ...
    @property
    def peer_address(self) -> str:
        """ "192.0.2.7" or the path of a unix socket."""
        ...

    @property
    def tls(self) -> TlsState | None: ...

    async def read(self, timeout: float) -> bytes:
        """The next octets, b"" at the end. Raises ConnectError after `timeout` seconds or when the peer resets."""
        ...

    async def write(self, octets: bytes, timeout: float) -> None:
        """Returns when the peer keeps up (the buffer is below its mark), not when it has read."""
        ...

    async def start_tls(self, name: str, check: TlsCheck, timeout: float) -> TlsState:
        """Upgrade; `name` goes into SNI and is what the certificate must match. check: "may" and "encrypt" take any
        certificate, "verify" only a valid one. Octets that came in clear behind the peer's go-ahead are refused.
        Raises ConnectError (TlsError when the connection stood), and the stream is closed then."""
        ...

    def close(self) -> None:
        """At once; what was not read is lost."""
        ...


class Connector(Protocol):
    """Opens streams."""

    async def connect(
        self, host: str, port: int, *, timeout: float, source: str = "", implicit_tls: str = "", check: TlsCheck = "may"
    ) -> Stream:
        """A stream to `host`, an IP address (names are resolved before, once) or "unix:/path" (port is ignored).

        source: the local address to bind, "" for the system's choice. implicit_tls: the name for a TLS handshake
        right away, "" for none. Raises ConnectError.
        """
        ...
