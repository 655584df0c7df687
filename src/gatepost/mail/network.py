"""IP addresses and sets of networks: what a peer's address belongs to."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

# RFC 6890 and its registry: what no next hop on the public Internet has.
_SPECIAL: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip


@lru_cache(maxsize=8192)
def parse_ip(text: str) -> IPv4Address | IPv6Address:
    """The address; an IPv4-mapped one (::ffff:192.0.2.1) is its IPv4 address, a zone (%eth0) is dropped.

    Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=8192)
def prefix_of(ip: str) -> str:
    """The network that one party commonly holds: the /24 of an IPv4, the /64 of an IPv6 address."""
    address = parse_ip(ip)
    length = 24 if isinstance(address, IPv4Address) else 64
    return str(ip_network((address, length), strict=False))


@lru_cache(maxsize=8192)
def is_loopback(ip: str) -> bool:
    """Whether the peer is this machine; "" (a unix socket) is."""
    return not ip or parse_ip(ip).is_loopback


def is_special(ip: str) -> bool:
    """Loopback, private, link-local, shared, multicast or unspecified: not a host on the public Internet."""
    address = parse_ip(ip)
    return any(address in network for network in _SPECIAL if network.version == address.version)


class NetworkSet:
    """Networks, asked whether an address is in one of them.

    Sorted, merged ranges in arrays: a million IPv4 networks are 8 MB, a look-up is a bisection. Immutable.
    """

    __slots__ = ("_ends4", "_ends6", "_starts4", "_starts6", "covers_all")

    def __init__(self, networks: Iterable[Network | str] = ()) -> None:
        """Raises ValueError for a text that is no network (host bits set included)."""
        parsed = [ip_network(item) if isinstance(item, str) else item for item in networks]
        four = _merged((int(n.network_address), int(n.broadcast_address)) for n in parsed if n.version == 4)
        six = _merged((int(n.network_address), int(n.broadcast_address)) for n in parsed if n.version == 6)
        self._starts4 = array("I", [start for start, _ in four])
        self._ends4 = array("I", [end for _, end in four])
        self._starts6 = [start for start, _ in six]
        self._ends6 = [end for _, end in six]
        self.covers_all = four == [(0, 2**32 - 1)] or six == [(0, 2**128 - 1)]
        """Whether it holds every IPv4 or every IPv6 address, in one piece or in several."""

    def __contains__(self, ip: str) -> bool:
        """False for "" (a unix socket has no address) and for what is no address."""
        if not ip:
            return False
        try:
            address = parse_ip(ip)
        except ValueError:
            return False
        number = int(address)
        if address.version == 4:
            at = bisect_right(self._starts4, number) - 1
            return at >= 0 and number <= self._ends4[at]
        at = bisect_right(self._starts6, number) - 1
        return at >= 0 and number <= self._ends6[at]

    def __bool__(self) -> bool:
        return bool(self._starts4 or self._starts6)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
