"""Networks: membership, prefixes, and what is no host on the Internet."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET6, inet_pton
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.mail.network import NetworkSet, NetworkSetBuilder, is_loopback, is_special, parse_ip, prefix_of
from gatepost.mail.network_text import first6, halves, ipv4_number, parse_network

networks = st.builds(
    lambda number, length: IPv4Network((number, length), strict=False), st.integers(0, 2**32 - 1), st.integers(8, 32)
)


@given(st.lists(networks, max_size=20), st.integers(0, 2**32 - 1))
def test_membership_is_that_of_any_of_the_networks(members: list[IPv4Network], number: int) -> None:
    for address in (IPv4Address(number), *(network.network_address for network in members)):
        is_in = any(address in network for network in members)
        assert (str(address) in NetworkSet(members)) == is_in
        with patch("gatepost.mail.network.INDEXED_FROM", 0):  # as in large sets
            assert (str(address) in NetworkSet(members)) == is_in


# Few upper halves, so that ranges and addresses meet inside the same /64.
numbers6 = st.builds(lambda high, low: (0x2001_0DB8 << 96) | high << 64 | low, st.integers(0, 2), st.integers(0, 64))
networks6 = st.builds(
    lambda number, length: IPv6Network((number, length), strict=False),
    numbers6,
    st.sampled_from([62, 63, 64, 120, 126, 128]),
)


@given(st.lists(networks6, max_size=20), numbers6)
def test_membership_of_ipv6_addresses_is_that_of_any_of_the_networks(members: list[IPv6Network], number: int) -> None:
    address = IPv6Address(number)
    is_in = any(address in network for network in members)
    assert (str(address) in NetworkSet(members)) == is_in
    with patch("gatepost.mail.network.INDEXED_FROM", 0):  # as in large sets
        assert (str(address) in NetworkSet(members)) == is_in


spread6 = st.builds(
    lambda number, length: IPv6Network((number, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(3, 128),
).filter(lambda network: network.network_address.ipv4_mapped is None)


@settings(max_examples=30)  # each makes an index
@given(st.lists(spread6, max_size=20), st.integers(1 << 64, 2**128 - 1))
def test_the_index_of_a_large_set_finds_ranges_that_begin_in_another_part(
    members: list[IPv6Network], number: int
) -> None:
    with patch("gatepost.mail.network.INDEXED_FROM", 0):
        held = NetworkSet(members)
    for address in (IPv6Address(number), *(network.broadcast_address for network in members)):
        if int(address) >> 64:  # below it is IPv4 in IPv6 form
            assert (str(address) in held) == any(address in network for network in members)


def test_hosts_of_many_ipv6_networks_are_told_apart() -> None:
    hosts = {f"2001:db8:0:{high:x}::{(high * 37 + low * 11) % 97:x}" for high in range(40) for low in range(7)}
    held = NetworkSet(hosts)
    for high in range(41):
        for low in range(100):
            host = f"2001:db8:0:{high:x}::{low:x}"
            assert (host in held) == (host in hosts), host


@given(st.lists(networks | networks6, max_size=20))
def test_a_set_comes_back_from_its_columns(members: list[IPv4Network | IPv6Network]) -> None:
    whole = NetworkSet(map(str, members))
    again = NetworkSet.of_columns(whole.columns())
    assert again.columns() == whole.columns() == NetworkSet(members).columns()
    assert all(str(network.broadcast_address) in again for network in members)
    assert bool(again) == bool(members)


@pytest.mark.parametrize(
    ("members", "network", "is_held"),
    [
        (["192.0.2.0/25", "192.0.2.128/25"], "192.0.2.0/24", True),
        (["192.0.2.0/25"], "192.0.2.0/24", False),
        (["192.0.2.0/25"], "192.0.2.7", True),
        (["2001:db8::/33", "2001:db8:8000::/33"], "2001:db8::/32", True),
        (["2001:db8::/33"], "2001:db8::/32", False),
        ([], "192.0.2.0/24", False),
    ],
)
def test_a_network_is_held_where_all_its_addresses_are(members: list[str], network: str, is_held: bool) -> None:
    assert NetworkSet(members).holds(ip_network(network)) == is_held


texts = st.one_of(
    st.text("0123456789abcdefABCDEF:./+_x -", max_size=24),
    st.builds(str, networks | networks6),
    st.builds(lambda number: IPv6Address(number).exploded, st.integers(0, 2**128 - 1)),
    st.builds(lambda number: str(IPv6Address(number)).upper(), st.integers(0, 2**128 - 1)),
)


@given(texts)
def test_the_quick_readers_know_nothing_but_what_is_right(text: str) -> None:
    """What they refuse is left to `ipaddress`; what they take, it takes too, and means the same."""
    taken = NetworkSetBuilder()
    if not list(taken.take([text])):
        assert taken.build().columns() == NetworkSet([ip_network(text.strip())]).columns()
    for read, bits in ((first6, 128),):
        try:
            packed = read(text)
        except (ValueError, KeyError, OSError):
            continue
        network = ip_network(text)
        assert network.max_prefixlen == bits
        assert packed == int(network.network_address) << 8 | network.prefixlen
    with suppress(ValueError, KeyError):
        assert ipv4_number(text) == int(ip_address(text))
    with suppress(ValueError, OSError):
        assert halves(inet_pton(AF_INET6, text)) == divmod(int(ip_address(text)), 2**64)


@pytest.mark.parametrize("text", ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", " 192.0.2.7\n"])
def test_the_quick_reader_takes_what_tables_of_ipv4_hold(text: str) -> None:
    assert not list(NetworkSetBuilder().take([text]))


@pytest.mark.parametrize("text", ["2001:db8::/32", "::", "::1", "2001:db8:0:1:2:3:4:5", "FE80::/10", "1::2:3/128"])
def test_the_quick_reader_takes_what_tables_of_ipv6_hold(text: str) -> None:
    assert not list(NetworkSetBuilder().take([text]))


def test_lines_that_are_no_networks_come_back_with_their_number() -> None:
    lines = ["192.0.2.1", "", "x y ", "192.0.2.1/24", "2001:db8::1/32", "010.0.0.1", "192.0.2.0/24 # office"]
    assert list(NetworkSetBuilder().take(lines)) == [(at, lines[at - 1].strip()) for at in range(2, 8)]


def test_networks_of_mapped_addresses_are_ipv4() -> None:
    assert parse_network("::ffff:192.0.2.0/120") == ip_network("192.0.2.0/24")
    assert "192.0.2.9" in NetworkSet(["::ffff:c000:200/120"])


@pytest.mark.parametrize(
    ("members", "ip", "is_in"),
    [
        (["192.0.2.0/24"], "192.0.2.255", True),
        (["192.0.2.0/24"], "192.0.3.0", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.1", True),
        (["192.0.2.0/24"], "::ffff:c000:201", True),
        (["2001:db8::/32"], "2001:db8:ffff::1", True),
        (["2001:db8::/32"], "192.0.2.1", False),
        (["2001:db8::/32"], "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", False),
        (["2001:db8::7"], "2001:db8::6", False),
        (["2001:db8::7"], "2001:db8::7%eth0", True),
        (["2001:db8::7", "2001:db8::9"], "2001:db8::8", False),
        (["2001:db8::7", "2001:db8::9"], "2001:db8::9", True),
        (["2001:db7::/32", "2001:db8::7"], "2001:db8::6", False),
        (["2001:db8::/64", "2001:db8:0:1::7"], "2001:db8:0:1::6", False),
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
