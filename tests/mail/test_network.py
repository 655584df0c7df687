"""Networks: membership, prefixes, and what is no host on the Internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.network import NetworkSet, is_loopback, is_special, parse_ip, prefix_of

networks = st.builds(
    lambda number, length: IPv4Network((number, length), strict=False), st.integers(0, 2**32 - 1), st.integers(8, 32)
)


@given(st.lists(networks, max_size=20), st.integers(0, 2**32 - 1))
def test_membership_is_that_of_any_of_the_networks(members: list[IPv4Network], number: int) -> None:
    address = IPv4Address(number)
    assert (str(address) in NetworkSet(members)) == any(address in network for network in members)


@pytest.mark.parametrize(
    ("members", "ip", "is_in"),
    [
        (["192.0.2.0/24"], "192.0.2.255", True),
        (["192.0.2.0/24"], "192.0.3.0", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.1", True),
        (["2001:db8::/32"], "2001:db8:ffff::1", True),
        (["2001:db8::/32"], "192.0.2.1", False),
        (["2001:db8::/32"], "fe80::1%eth0", False),
        (["0.0.0.0/0"], "::1", False),
        (["0.0.0.0/0"], "", False),
        (["0.0.0.0/0"], "no address", False),
        ([], "192.0.2.1", False),
    ],
)
def test_families_and_odd_addresses(members: list[str], ip: str, is_in: bool) -> None:
    assert (ip in NetworkSet(members)) == is_in


@pytest.mark.parametrize(
    ("members", "covers"),
    [
        (["0.0.0.0/0"], True),
        (["0.0.0.0/1", "128.0.0.0/1"], True),
        (["::/0"], True),
        (["0.0.0.0/1"], False),
        (["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3", "224.0.0.0/4"], False),
        ([], False),
    ],
)
def test_a_set_that_covers_everything_knows_it_however_it_is_cut(members: list[str], covers: bool) -> None:
    assert NetworkSet(members).covers_all == covers


def test_host_bits_are_an_error() -> None:
    with pytest.raises(ValueError, match="host bits"):
        NetworkSet(["192.0.2.1/24"])


def test_prefixes_are_what_one_party_commonly_holds() -> None:
    assert prefix_of("192.0.2.77") == prefix_of("::ffff:192.0.2.1") == "192.0.2.0/24"
    assert prefix_of("2001:db8:1:2:3::4") == "2001:db8:1:2::/64"


@pytest.mark.parametrize("ip", ["10.1.2.3", "127.0.0.1", "::1", "::", "169.254.1.1", "100.64.0.1", "fd00::1", "fe80::1", "224.0.0.1", "255.255.255.255", "::ffff:192.168.1.1", "0.0.0.0"])  # fmt: skip  # noqa: E501
def test_what_is_no_host_on_the_internet(ip: str) -> None:
    assert is_special(ip)


@pytest.mark.parametrize("ip", ["192.0.2.1", "8.8.8.8", "2001:db8::1", "172.32.0.1"])
def test_what_may_be_one(ip: str) -> None:
    assert not is_special(ip)


def test_loopback_is_this_machine_and_so_is_a_unix_socket() -> None:
    assert is_loopback("127.8.9.1")
    assert is_loopback("::1")
    assert is_loopback("")
    assert not is_loopback("192.0.2.1")
    assert parse_ip("::ffff:127.0.0.1") == ip_network("127.0.0.1").network_address
