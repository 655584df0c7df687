"""Texts of addresses and networks as numbers, quickly: tables have a million lines. Odd ones are `ipaddress`'s."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

ALL4: Final = 2**32 - 1
ALL6: Final = 2**128 - 1
_MAPPED: Final = 0xFFFF << 32  # ::ffff:0:0/96, an IPv4 address in IPv6 form (RFC 4291 §2.5.5.2)

_OCTET: Final = tuple({str(number): number << shift for number in range(256)} for shift in (24, 16, 8, 0))
FIRST, SECOND, THIRD, FOURTH = _OCTET
HOSTS4: Final = {str(length): (1 << (32 - length)) - 1 for length in range(33)}
LENGTHS6: Final = {str(length): length for length in range(129)}
HOSTS6: Final = [(1 << (128 - length)) - 1 for length in range(129)]
_HEX = re.compile("[0-9a-fA-F]{1,4}")


class _Groups(dict[str, int]):
    """The numbers of groups that were met: a table of a million has the same ones again and again."""

    def __missing__(self, group: str) -> int:
        if not _HEX.fullmatch(group):
            raise ValueError(group)
        number = self[group] = int(group, 16)
        return number


_GROUP: Final = _Groups()


def ipv4_number(text: str) -> int:
    """The number of "192.0.2.7". Raises ValueError, KeyError for everything else (leading zeros included)."""
    first, second, third, fourth = text.split(".")
    return FIRST[first] | SECOND[second] | THIRD[third] | FOURTH[fourth]


def ipv6_number(text: str) -> int:
    """The number of "2001:db8::7". Raises ValueError for everything else, also for one that ends as an IPv4 address."""
    front, gap, back = text.partition("::")
    groups = front.split(":") if front else []
    number = 0
    for group in groups:
        number = number << 16 | _GROUP[group]
    if not gap:
        if len(groups) != 8:
            raise ValueError(text)
        return number
    behind = back.split(":") if back else []
    if len(groups) + len(behind) > 7:
        raise ValueError(text)
    low = 0
    for group in behind:
        low = low << 16 | _GROUP[group]
    return number << 16 * (8 - len(groups)) | low


def is_mapped(number: int) -> bool:
    """Whether it is an IPv4 address in IPv6 form."""
    return number & ~ALL4 == _MAPPED


def first6(text: str) -> int:
    """The first address of an IPv6 network and the length of its prefix, as `first << 8 | length`: they sort as they
    are. Raises ValueError, KeyError."""
    address, slash, digits = text.partition("/")
    first = ipv6_number(address)
    length = LENGTHS6[digits] if slash else 128
    if first & HOSTS6[length] or is_mapped(first):
        raise ValueError(text)
    return first << 8 | length


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """The network; one address is a network too, and one in IPv4-mapped form is IPv4.

    Raises ValueError that says what is wrong (host bits set included).
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped) is not None:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network
