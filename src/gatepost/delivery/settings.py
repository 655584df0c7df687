"""What delivery is told: its times and limits, and the next hops that a person chose instead of MX.

`config` fills these values. Not here: what a route means for one destination (`delivery.routing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from gatepost.delivery.schedule import Schedule
from gatepost.ports.connect import TlsCheck

HopProtocol = Literal["smtp", "smtps", "lmtp"]
DEFAULT_PORTS: Final[Mapping[str, int]] = {"smtp": 25, "smtps": 465, "lmtp": 24}  # RFC 8314 §7.3, RFC 2033 §5
UNIX: Final = "unix:"


class HopUrl(msgspec.Struct, frozen=True):
    """A next hop as a person wrote it. host: a name, an IP address without brackets, or "unix:/path"."""

    protocol: HopProtocol
    host: str
    port: int
    user: str = ""


def parse_hop_url(text: str) -> HopUrl:
    """The next hop that `smtp://host:port`, `smtps://user@host`, `lmtp://host` or `lmtp:unix:/path` names.

    `unix:/path` alone is LMTP there, as the listener writes it. Raises ValueError, which says what is wrong.
    """
    for prefix in (f"lmtp:{UNIX}", f"lmtp://{UNIX}", UNIX):
        if text.startswith(f"{prefix}/"):
            return HopUrl("lmtp", UNIX + text.removeprefix(prefix), 0)
    scheme, separator, _rest = text.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        raise ValueError(f"{text!r} is no next hop: write smtp://HOST:PORT, smtps://, lmtp:// or lmtp:unix:/PATH")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no next hop: {error}") from error
    if not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no next hop: only a host and a port may follow {scheme}://")
    if parts.password is not None:
        raise ValueError(f"the password does not belong into {scheme}://...@{host}: it has a setting of its own")
    if port == 0:
        raise ValueError(f"{text!r} is no next hop: port 0 cannot be reached")
    protocol: HopProtocol = scheme.lower()  # type: ignore[assignment]  # a key of DEFAULT_PORTS
    return HopUrl(protocol, host, port or DEFAULT_PORTS[protocol], unquote(parts.username or ""))


class Route(msgspec.Struct, frozen=True):
    """`[route."domain"]`: mail for the domain goes there, with that TLS."""

    to: HopUrl
    tls: TlsCheck = "may"


class Smarthost(msgspec.Struct, frozen=True):
    """`[relay] smarthost`: where all mail for others goes. The password leaves over verified TLS or loopback only."""

    to: HopUrl
    password: str = ""

    def __repr__(self) -> str:
        """Without the password: a settings value ends up in logs and tracebacks."""
        return f"Smarthost(to={self.to!r})"


class DeliverySettings(msgspec.Struct, frozen=True):
    """How mail is sent on.

    hostname: said in EHLO, and the host part of MAILER-DAEMON. own: (address, port) of our listeners for other hosts,
    wildcard addresses replaced by those of the interfaces. source: local addresses to send from. private: next hops
    found by MX may be loopback or private. routes, relay_to: by domain (A-labels, lower case). per_destination,
    per_address, total: connections at once to one destination, to one address, and in all. per_connection: messages
    before a connection is closed. idle: seconds that an unused one is kept. local: final deliveries at once, each
    of as many messages as wait.
    paused: nothing is attempted; what is accepted waits in the spool.
    full_dsn_octets: up to this size RET=FULL returns the whole message. smtp_port: where MX hosts listen.
    """

    hostname: str
    own: frozenset[tuple[str, int]] = frozenset()
    schedule: Schedule = Schedule()
    source: tuple[str, ...] = ()
    ipv6: bool = True
    private: bool = False
    routes: Mapping[str, Route] = {}
    relay_to: Mapping[str, HopUrl] = {}
    smarthost: Smarthost | None = None
    per_destination: int = 20
    per_address: int = 40
    total: int = 1000
    per_connection: int = 200
    idle: float = 5.0
    local: int = 4
    full_dsn_octets: int = 256 * 1024
    smtp_port: int = 25
    paused: bool = False

    def chooses(self, domain: str) -> bool:
        """Whether a person, not the DNS, says where mail for `domain` (A-labels) of others goes."""
        return self.smarthost is not None or domain in self.routes


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` (an address or "unix:/path") stays on this machine."""
    if host.startswith(UNIX):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
