"""Which resolvers to ask: addresses as an administrator or resolv.conf(5) writes them, and the order that spares the
silent ones. No socket here."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

import msgspec

DNS_PORT: Final = 53
RESOLV_CONF: Final = Path("/etc/resolv.conf")
SPARED_SECONDS: Final = 30.0  # how long a resolver that kept silent is asked last


class Server(msgspec.Struct, frozen=True):
    """One resolver: an IP address and a port."""

    host: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_server(text: str) -> Server:
    """The resolver written as "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]" or "[...]:5353".

    Raises ValueError that says what was found and what to write.
    """
    host, port = text, str(DNS_PORT)
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")):
            raise ValueError(_no_server(text))
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(_no_server(text))
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(_no_server(text)) from None
    if text.startswith("[") and not isinstance(address, IPv6Address):
        raise ValueError(_no_server(text))
    return Server(str(address), int(port))


def system_servers(resolv_conf: Path = RESOLV_CONF) -> tuple[Server, ...]:
    """The system's resolvers in their order; one on this machine where the file names none (resolv.conf(5)).

    A line that cannot be understood is passed over, as the C library does.
    """
    try:
        lines = resolv_conf.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    servers = []
    for words in (line.split() for line in lines):
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            servers.append(Server(str(ip_address(words[1]))))
        except ValueError:
            continue
    return tuple(servers) or (Server("127.0.0.1"),)


class ServerList:
    """The resolvers, those that kept silent lately last: a dead one must not slow down each look-up."""

    __slots__ = ("_servers", "_spared_until")

    def __init__(self, servers: tuple[Server, ...]) -> None:
        self._servers = servers
        self._spared_until: dict[Server, float] = {}

    def in_order(self, now: float) -> list[Server]:
        """All of them, each once. now: monotonic seconds."""
        if not self._spared_until:
            return list(self._servers)
        return sorted(self._servers, key=lambda server: self._spared_until.get(server, 0.0) > now)

    def kept_silent(self, server: Server, now: float) -> None:
        """`server` did not answer in time."""
        self._spared_until[server] = now + SPARED_SECONDS

    def answered(self, server: Server) -> None:
        """`server` is there."""
        self._spared_until.pop(server, None)


def _no_server(text: str) -> str:
    return f'"{text}" is no address of a resolver; write "192.0.2.53", "192.0.2.53:5353" or "[2001:db8::53]:5353"'
