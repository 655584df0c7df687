"""Texts of addresses and networks as numbers, quickly: tables have a million lines. Odd ones are `ipaddress`'s."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

ALL4: Final = 2**32 - 1
ALL6: Final = 2**128 - 1
_MAPPED: Final = 0xFFFF << 32  # ::ffff:0:0/96, an IPv4 address in IPv6 form (RFC 4291 §2.5.5.2)

_OCTET: Final = tuple({str(number): number << shift for number in range(256)} for shift in (24, 16, 8, 0))
_FIRST, _SECOND, _THIRD, _FOURTH = _OCTET
_HOSTS4: Final = {str(length): (1 << (32 - length)) - 1 for length in range(33)}
_HOSTS6: Final = {str(length): (1 << (128 - length)) - 1 for length in range(129)}
_HEX = re.compile("[0-9a-fA-F]{32}")


def ipv4_number(text: str) -> int:
    """The number of "192.0.2.7". Raises ValueError, KeyError for everything else (leading zeros included)."""
    first, second, third, fourth = text.split(".")
    return _FIRST[first] | _SECOND[second] | _THIRD[third] | _FOURTH[fourth]


def ipv6_number(text: str) -> int:
    """The number of "2001:db8::7". Raises ValueError for everything else, also for one that ends as an IPv4 address."""
    front, gap, back = text.partition("::")
    groups = front.split(":") if front else []
    if gap:
        behind = back.split(":") if back else []
        if len(groups) + len(behind) > 7:
            raise ValueError(text)
        groups += ["0"] * (8 - len(groups) - len(behind)) + behind
    # Each group is filled up to four digits, so the sum is 32 only where none is longer.
    digits = "".join([group.zfill(4) for group in groups])
    if "" in groups or not _HEX.fullmatch(digits):
        raise ValueError(text)
    return int(digits, 16)


def range4(text: str) -> int:
    """The first and the last address of an IPv4 network, as `first << 32 | last`: they sort as they are.

    Raises ValueError, KeyError for everything but "192.0.2.7" and "192.0.2.0/24" (host bits set included).
    """
    address, slash, length = text.partition("/")
    first = ipv4_number(address)
    if not slash:
        return first << 32 | first
    hosts = _HOSTS4[length]
    if first & hosts:
        raise ValueError(text)
    return first << 32 | first + hosts


def range6(text: str) -> int:
    """The same of an IPv6 network, as `first << 128 | last`. Raises ValueError, KeyError."""
    address, slash, length = text.partition("/")
    first = ipv6_number(address)
    hosts = _HOSTS6[length] if slash else 0
    if first & hosts or first & ~ALL4 == _MAPPED:
        raise ValueError(text)
    return first << 128 | first + hosts


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """The network; one address is a network too, and one in IPv4-mapped form is IPv4.

    Raises ValueError that says what is wrong (host bits set included).
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped) is not None:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network
