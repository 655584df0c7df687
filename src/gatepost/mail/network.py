"""IP addresses and sets of networks: what a peer's address belongs to."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET6, inet_pton
from typing import Final

from gatepost.mail.network_text import (
    ALL4,
    FIRST,
    FOURTH,
    HOSTS4,
    HOSTS6,
    SECOND,
    THIRD,
    first6,
    halves,
    ipv4_number,
    is_mapped,
    parse_network,
)

Network = IPv4Network | IPv6Network

CODES: Final = "IIQQQQ"  # of the columns of a NetworkSet
_LOW: Final = 2**64 - 1
INDEXED_FROM: Final = 10_000  # ranges
_EVERY4: Final = ip_network("0.0.0.0/0")
_EVERY6: Final = ip_network("::/0")

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
def holder_of(ip: str) -> str:
    """What one machine commonly has: the IPv4 address itself, the /64 of an IPv6 address."""
    address = parse_ip(ip)
    return str(address) if isinstance(address, IPv4Address) else prefix_of(ip)


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

    Sorted, merged ranges in arrays: a million IPv4 networks are 8 MB, as many of IPv6 32 MB; a look-up is a bisection.
    Immutable.
    """

    __slots__ = (
        "_ends4",
        "_high_ends6",
        "_high_starts6",
        "_index4",
        "_index6",
        "_low_ends6",
        "_low_starts6",
        "_starts4",
        "covers_all",
    )

    def __init__(self, networks: Iterable[Network | str] = ()) -> None:
        """Raises ValueError for a text that is no network (host bits set included)."""
        builder = NetworkSetBuilder()
        for item in networks:
            builder.add(item)
        self._fill(*builder.columns())

    @classmethod
    def of_columns(cls, columns: Iterable[array[int]]) -> NetworkSet:
        """The set whose `columns` these are; they are its own from now on."""
        made = cls.__new__(cls)
        made._fill(*columns)
        return made

    def _fill(self, *columns: array[int]) -> None:
        self._starts4, self._ends4, *six = columns
        self._index4 = _index(self._starts4, 16)
        self._high_starts6, self._low_starts6, self._high_ends6, self._low_ends6 = six
        self._index6 = _index(self._high_starts6, 48)
        self.covers_all = self.holds(_EVERY4) or self.holds(_EVERY6)
        """Whether it holds every IPv4 or every IPv6 address, in one piece or in several."""

    def columns(self) -> list[array[int]]:
        """What the whole set consists of, to be handed to another process: arrays of `CODES`. Not to be changed."""
        six = self._high_starts6, self._low_starts6, self._high_ends6, self._low_ends6
        return [self._starts4, self._ends4, *six]

    def __contains__(self, ip: str) -> bool:
        """False for "" (a unix socket has no address) and for what is no address."""
        try:
            if ":" not in ip:
                number = ipv4_number(ip)
                return number <= self._end_of4(number)
            high, low = halves(inet_pton(AF_INET6, ip))  # OSError for all else, a zone included
            if high or not is_mapped(high, low):
                at = self._at6(high, low)
                # The lower half of the end is out of any cache, and seldom needed.
                return at >= 0 and (
                    high < (end := self._high_ends6[at]) or (high == end and low <= self._low_ends6[at])
                )
        except (ValueError, KeyError, OSError):
            pass
        return self._holds_odd(ip)

    def holds(self, network: Network) -> bool:
        """Whether every address of `network` is in the set."""
        first, last = int(network.network_address), int(network.broadcast_address)
        if network.version == 4:
            return last <= self._end_of4(first)
        at = self._at6(*divmod(first, 2**64))
        return at >= 0 and divmod(last, 2**64) <= (self._high_ends6[at], self._low_ends6[at])

    def __bool__(self) -> bool:
        return bool(self._starts4 or self._high_starts6)

    def _holds_odd(self, ip: str) -> bool:
        """What is neither plainly IPv4 nor plainly IPv6: IPv4 in IPv6 form, with a zone, no address at all."""
        try:
            return self.holds(ip_network(parse_ip(ip)))
        except ValueError:
            return False

    def _end_of4(self, number: int) -> int:
        """The end of the last range that begins at `number` or before, -1 without one."""
        index = self._index4
        if index is None:
            at = bisect_right(self._starts4, number) - 1
        else:
            high = number >> 16
            at = bisect_right(self._starts4, number, index[high], index[high + 1]) - 1
        return self._ends4[at] if at >= 0 else -1

    def _at6(self, high: int, low: int) -> int:
        """Where the last range is that begins at this address or before, -1 without one."""
        starts, index = self._high_starts6, self._index6
        if index is None:
            at = bisect_right(starts, high) - 1
        else:
            group = high >> 48
            at = bisect_right(starts, high, index[group], index[group + 1]) - 1
        if at >= 0 and self._low_starts6[at] > low and starts[at] == high:
            # Of the ranges that begin in the same /64, those that begin behind the address do not count.
            first = bisect_left(starts, high, 0, at)
            at = bisect_right(self._low_starts6, low, first, at) - 1
        return at


def _index(starts: array[int], shift: int) -> array[int] | None:
    """Where the starts of each /16 begin, whose number is `start >> shift`: a look-up then touches few of a million
    numbers, which are not in any cache. None where it does not pay."""
    if len(starts) < INDEXED_FROM:
        return None
    index = array("I", [0])
    at, total = 0, len(starts)
    for high in range(1, 2**16):
        at = bisect_left(starts, high << shift, at)
        index.append(at)
    index.append(total)
    return index


class NetworkSetBuilder:
    """Collects networks one by one, without an object for each."""

    def __init__(self) -> None:
        self._four = array("Q")  # first << 32 | last
        self._six: list[int] = []  # first << 8 | length

    def add(self, item: Network | str) -> None:
        """Raises ValueError for a text that is no network (host bits set included)."""
        network = parse_network(item) if isinstance(item, str) else item
        first = int(network.network_address)
        if isinstance(network, IPv4Network):
            self._four.append(first << 32 | int(network.broadcast_address))
        else:
            self._six.append(first << 8 | network.prefixlen)

    def take(self, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
        """Adds the lines that are plainly networks, and yields the others, stripped, with their number from 1.

        What a million lines go through: written out instead of called.
        """
        four, six = self._four.append, self._six.append
        for number, line in enumerate(lines, 1):
            text = line.strip()
            try:
                if ":" in text:
                    six(first6(text))
                    continue
                address, slash, length = text.partition("/")
                one, two, three, last = address.split(".")
                first = FIRST[one] | SECOND[two] | THIRD[three] | FOURTH[last]
                if not slash:
                    four(first << 32 | first)
                    continue
                hosts = HOSTS4[length]
                if not first & hosts:
                    four(first << 32 | first + hosts)
                    continue
            except (ValueError, KeyError, OSError):
                pass
            yield number, text

    def build(self) -> NetworkSet:
        """The set of what was added."""
        return NetworkSet.of_columns(self.columns())

    def columns(self) -> list[array[int]]:
        """Starts and ends of the merged ranges: those of IPv4, then the upper and lower halves of those of IPv6."""
        starts4, ends4 = array("I"), array("I")
        for first, last in _merged((pair >> 32, pair & ALL4) for pair in sorted(self._four)):
            starts4.append(first)
            ends4.append(last)
        self._six.sort()
        columns = high_starts, low_starts, high_ends, low_ends = tuple(array("Q") for _ in range(4))
        for first, last in _merged((key >> 8, key >> 8 | HOSTS6[key & 255]) for key in self._six):
            high_starts.append(first >> 64)
            low_starts.append(first & _LOW)
            high_ends.append(last >> 64)
            low_ends.append(last & _LOW)
        return [starts4, ends4, *columns]


def _merged(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """`ranges`, which are sorted, without overlap and with nothing between them that could be joined."""
    begin, end = 0, -2
    for first, last in ranges:
        if first <= end + 1:
            if last > end:
                end = last
            continue
        if end >= 0:
            yield begin, end
        begin, end = first, last
    if end >= 0:
        yield begin, end
