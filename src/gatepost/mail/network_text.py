"""Texts of addresses and networks as numbers, quickly: tables have a million lines. Odd ones are `ipaddress`'s."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET6, inet_pton
from struct import Struct
from typing import Final

ALL4: Final = 2**32 - 1
_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, an IPv4 address in IPv6 form (RFC 4291 §2.5.5.2)

_OCTET: Final = tuple({str(number): number << shift for number in range(256)} for shift in (24, 16, 8, 0))
FIRST, SECOND, THIRD, FOURTH = _OCTET
HOSTS4: Final = {str(length): (1 << (32 - length)) - 1 for length in range(33)}
LENGTHS6: Final = {str(length): bytes([length]) for length in range(129)}
HOSTS6: Final = [(1 << (128 - length)) - 1 for length in range(129)]
HOSTS6_PACKED: Final = [hosts << 8 for hosts in HOSTS6]  # in `first << 8 | length`
halves: Final = Struct(">QQ").unpack
"""The upper and the lower 64 bits of the 16 octets of an IPv6 address."""


def ipv4_number(text: str) -> int:
    """The number of "192.0.2.7". Raises ValueError, KeyError for everything else (leading zeros included)."""
    first, second, third, fourth = text.split(".")
    return FIRST[first] | SECOND[second] | THIRD[third] | FOURTH[fourth]


def is_mapped(high: int, low: int) -> bool:
    """Whether these halves are an IPv4 address in IPv6 form (RFC 4291 §2.5.5.2)."""
    return not high and low >> 32 == 0xFFFF


def first6(text: str) -> int:
    """The first address of an IPv6 network and the length of its prefix, as `first << 8 | length`: they sort as they
    are. Raises ValueError, KeyError, OSError for everything else (host bits and IPv4 in IPv6 form included)."""
    address, slash, digits = text.partition("/")
    first = inet_pton(AF_INET6, address)
    packed = int.from_bytes(first + (LENGTHS6[digits] if slash else b"\x80"), "big")
    if packed & HOSTS6_PACKED[packed & 255] or first.startswith(_MAPPED):
        raise ValueError(text)
    return packed


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """The network; one address is a network too, and one in IPv4-mapped form is IPv4.

    Raises ValueError that says what is wrong (host bits set included).
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped) is not None:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network
