"""Where mail goes: tables of what the DNS and a person say, and the hops that follow."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.delivery.parts import ZoneResolver

from gatepost.delivery.mx import MAX_HOPS, Candidate, Candidates, NoRoute, arrange, mx_hosts, shortened
from gatepost.delivery.next_hop import NextHop
from gatepost.delivery.routing import Router
from gatepost.delivery.settings import DeliverySettings, HopUrl, Route, Smarthost, parse_hop_url
from gatepost.ports.resolver import Answer, Outcome

US = "mx.example.org"
FAILED = Outcome.FAILED
MX = {"A": ["203.0.113.1"]}


def find(zone: dict[str, Any], key: str = "example.net", **settings: Any) -> Candidates | NoRoute:
    router = Router(DeliverySettings(hostname=US, **settings), ZoneResolver(zone), random.Random(1).random)
    return asyncio.run(router.find(key))


def hops(found: Candidates | NoRoute) -> list[str]:
    assert isinstance(found, Candidates), found
    return [hop.address for hop in arrange(found, random.Random(1).random)]


@pytest.mark.parametrize(
    ("what", "zone", "addresses"),
    [
        (
            "by preference",
            {
                "example.net": {"MX": ["20 b.example.net", "10 a.example.net"]},
                "a.example.net": {"A": ["203.0.113.1"]},
                "b.example.net": {"A": ["203.0.113.2"]},
            },
            ["203.0.113.1", "203.0.113.2"],
        ),
        ("without MX the domain itself", {"example.net": {"A": ["203.0.113.3"]}}, ["203.0.113.3"]),
        (
            "a host without an address is passed over",
            {"example.net": {"MX": ["10 a.example.net", "20 b.example.net"]}, "b.example.net": MX},
            ["203.0.113.1"],
        ),
        (
            "a host whose look-up fails is passed over",
            {
                "example.net": {"MX": ["10 a.example.net", "20 b.example.net"]},
                "a.example.net": FAILED,
                "b.example.net": MX,
            },
            ["203.0.113.1"],
        ),
        (
            "a null MX beside others says nothing",
            {"example.net": {"MX": ["0 .", "10 a.example.net"]}, "a.example.net": MX},
            ["203.0.113.1"],
        ),
        (
            "private addresses are left out where there are others",
            {"example.net": {"MX": ["10 a.example.net"]}, "a.example.net": {"A": ["10.0.0.1", "203.0.113.1"]}},
            ["203.0.113.1"],
        ),
        (
            "IPv6 and IPv4 by turns",
            {"example.net": {"AAAA": ["2001:db8::1", "2001:db8::2"], "A": ["203.0.113.1"]}},
            ["2001:db8::1", "203.0.113.1", "2001:db8::2"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_hops_are_those_of_the_mx_set(what: str, zone: dict[str, Any], addresses: list[str]) -> None:
    found = hops(find(zone))
    assert sorted(found) == sorted(addresses)
    if "turns" in what:
        assert ":" in found[0]
        assert found[1] == "203.0.113.1"
    else:
        assert found == addresses


@pytest.mark.parametrize(
    ("what", "zone", "code", "esc"),
    [
        ("the domain does not exist", {}, 550, "5.1.2"),
        ("neither MX nor address", {"example.net": {"TXT": ["x"]}}, 550, "5.1.2"),
        ("null MX", {"example.net": {"MX": ["0 ."]}}, 556, "5.1.10"),
        ("MX look-up fails", {"example.net": FAILED}, 451, "4.4.3"),
        ("no MX host has an address", {"example.net": {"MX": ["10 a.example.net"]}}, 550, "5.4.4"),
        (
            "an address look-up fails",
            {"example.net": {"MX": ["10 a.example.net", "20 b.example.net"]}, "a.example.net": FAILED},
            451, "4.4.3",
        ),
        (
            "MX on loopback",
            {"example.net": {"MX": ["10 a.example.net"]}, "a.example.net": {"A": ["127.0.0.1"]}},
            550, "5.4.4",
        ),
        ("MX in a private network", {"example.net": {"A": ["192.168.1.2"]}}, 550, "5.4.4"),
        ("MX on the IPv6 loopback", {"example.net": {"AAAA": ["::1"]}}, 550, "5.4.4"),
        ("loopback written as IPv6", {"example.net": {"AAAA": ["::ffff:127.0.0.1"]}}, 550, "5.4.4"),
        ("a private address behind NAT64", {"example.net": {"AAAA": ["64:ff9b::10.0.0.1"]}}, 550, "5.4.4"),
        ("a private address as 6to4", {"example.net": {"AAAA": ["2002:0a00:0001::1"]}}, 550, "5.4.4"),
        (
            "private, but another host may have a good one",
            {"example.net": {"MX": ["10 a.example.net", "20 b.example.net"]}, "a.example.net": {"A": ["10.0.0.1"]},
             "b.example.net": FAILED},
            451, "4.4.3",
        ),
        ("the MX is our name", {"example.net": {"MX": ["10 mx.example.org"]}, US: MX}, 550, "5.4.6"),
        (
            "the MX has our address",
            {"example.net": {"MX": ["10 a.example.net"]}, "a.example.net": {"A": ["203.0.113.99"]}},
            550, "5.4.6",
        ),
        (
            "we are the best of several",
            {"example.net": {"MX": ["10 mx.example.org", "20 b.example.net"]}, US: MX, "b.example.net": MX},
            550, "5.4.6",
        ),
        (
            "we are as good as another",
            {"example.net": {"MX": ["10 mx.example.org", "10 b.example.net"]}, US: MX, "b.example.net": MX},
            550, "5.4.6",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_no_route_says_why(what: str, zone: dict[str, Any], code: int, esc: str) -> None:
    found = find(zone, own=frozenset({("203.0.113.99", 25)}))
    assert isinstance(found, NoRoute), what
    assert (found.reply.code, found.reply.esc) == (code, esc)
    assert "example" in found.reply.text


def test_hosts_better_than_us_are_used_and_we_are_not() -> None:
    """A backup MX delivers to the primary, and never to itself or to another backup (RFC 5321 §5.1)."""
    zone = {
        "example.net": {"MX": ["5 a.example.net", "10 mx.example.org", "20 c.example.net"]},
        "a.example.net": {"A": ["203.0.113.1"]},
        US: {"A": ["203.0.113.99"]},
        "c.example.net": {"A": ["203.0.113.3"]},
    }
    assert hops(find(zone)) == ["203.0.113.1"]


def test_our_address_at_another_port_is_somebody_else() -> None:
    zone = {"example.net": {"A": ["203.0.113.99"]}}
    assert hops(find(zone, own=frozenset({("203.0.113.99", 2525)}))) == ["203.0.113.99"]


def test_private_next_hops_are_used_where_that_is_set() -> None:
    assert hops(find({"example.net": {"A": ["10.0.0.7"]}}, private=True)) == ["10.0.0.7"]


def test_without_ipv6_nobody_asks_for_it() -> None:
    zone = {"example.net": {"AAAA": ["2001:db8::1"], "A": ["203.0.113.1"]}}
    assert hops(find(zone, ipv6=False)) == ["203.0.113.1"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("[203.0.113.5]", ["203.0.113.5"]),
        ("[ipv6:2001:db8::5]", ["2001:db8::5"]),
        ("[127.0.0.1]", "5.4.4"),
        ("[203.0.113.99]", "5.4.6"),
        ("[x400:nonsense]", "5.1.2"),
    ],
)
def test_address_literals_go_there_or_say_why_not(key: str, expected: Any) -> None:
    found = find({}, key, own=frozenset({("203.0.113.99", 25)}))
    assert (found.reply.esc if isinstance(found, NoRoute) else hops(found)) == expected


def test_an_ipv6_literal_without_ipv6_is_refused() -> None:
    found = find({}, "[IPv6:2001:db8::5]", ipv6=False)
    assert isinstance(found, NoRoute)
    assert found.reply.esc == "5.4.4"


def test_a_domain_called_local_is_looked_up_like_any_other() -> None:
    assert hops(find({"local": {"A": ["203.0.113.1"]}}, "local.")) == ["203.0.113.1"]


def test_route_wins_over_relay_to_over_smarthost_over_mx() -> None:
    zone = {"example.net": {"A": ["203.0.113.1"]}}
    route = {"example.net": Route(HopUrl("smtp", "192.168.0.1", 2525), "verify")}
    relay_to = {"example.net": HopUrl("lmtp", "unix:/run/lmtp.sock", 0)}
    smarthost = Smarthost(HopUrl("smtps", "127.0.0.1", 465, "bob"), "secret")
    seen = []
    for settings in (
        {"routes": route, "relay_to": relay_to, "smarthost": smarthost},
        {"relay_to": relay_to, "smarthost": smarthost},
        {"smarthost": smarthost},
        {},
    ):
        found = find(zone, **settings)
        assert isinstance(found, Candidates)
        (hop,) = arrange(found, random.random)
        seen.append((found.by, hop.address, hop.port, hop.protocol, hop.tls, hop.implicit_tls))
    assert seen == [
        ("route", "192.168.0.1", 2525, "smtp", "verify", False),
        ("relay_to", "unix:/run/lmtp.sock", 0, "lmtp", "may", False),
        ("smarthost", "127.0.0.1", 465, "smtp", "may", True),
        ("address", "203.0.113.1", 25, "smtp", "may", False),
    ]


def test_a_smarthost_gets_the_password_over_verified_tls_only() -> None:
    zone = {"smart.example.com": {"A": ["203.0.113.8"]}}
    found = find(zone, smarthost=Smarthost(HopUrl("smtp", "smart.example.com", 587, "bob"), "secret"))
    assert isinstance(found, Candidates)
    assert found.template.tls == "verify"
    assert found.template.credentials is not None
    assert "secret" not in repr(found)


@pytest.mark.parametrize("trouble", [{}, {"inner.example.com": FAILED}])
def test_a_configured_hop_without_address_defers_and_never_bounces(trouble: dict[str, Any]) -> None:
    found = find(trouble, relay_to={"example.net": HopUrl("smtp", "inner.example.com", 25)})
    assert isinstance(found, NoRoute)
    assert found.reply.code == 451


def test_equals_share_the_load_and_a_worse_host_never_comes_first() -> None:
    hosts = tuple(Candidate(pref, f"{name}.example.net", ipv4=(f"203.0.113.{at}",)) for at, (pref, name) in enumerate([
        (10, "a"), (10, "b"), (10, "c"), (20, "d"),
    ]))  # fmt: skip
    draw = random.Random(3).random
    orders = [tuple(hop.name[0] for hop in arrange(Candidates(hosts, NextHop("", "")), draw)) for _ in range(200)]
    assert {order[0] for order in orders} == {"a", "b", "c"}
    assert {order[3] for order in orders} == {"d"}


def test_a_host_with_many_addresses_leaves_room_for_the_next_host() -> None:
    many = Candidate(10, "a.example.net", ipv4=tuple(f"203.0.113.{n}" for n in range(20)))
    other = Candidate(20, "b.example.net", ipv4=("198.51.100.1",))
    found = arrange(Candidates((many, other), NextHop("", "")), random.Random(1).random)
    assert len(found) == MAX_HOPS
    assert "198.51.100.1" in {hop.address for hop in found}


def test_a_thousand_mx_hosts_cost_ten_look_ups() -> None:
    zone: dict[str, Any] = {"example.net": {"MX": [f"{n} h{n}.example.net" for n in range(1000)]}, "h0.example.net": MX}
    resolver = ZoneResolver(zone)
    router = Router(DeliverySettings(hostname=US), resolver, random.random)
    assert hops(asyncio.run(router.find("example.net"))) == ["203.0.113.1"]
    assert len(resolver.asked) <= 1 + 2 * 10
    few = mx_hosts("example.net", Answer(Outcome.FOUND, tuple(zone["example.net"]["MX"])))
    assert isinstance(few, list)
    assert [host.preference for host in shortened(few, random.random)] == list(range(10))


@pytest.mark.parametrize("record", ["", "mx.example.net", "x mx.example.net", "10", "-1 mx.example.net"])
def test_an_mx_record_that_cannot_be_read_is_no_reason_to_bounce(record: str) -> None:
    found = mx_hosts("example.net", Answer(Outcome.FOUND, (record,)))
    assert isinstance(found, NoRoute)
    assert found.reply.is_transient


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("smtp://192.0.2.10:2525", HopUrl("smtp", "192.0.2.10", 2525)),
        ("smtp://[2001:db8::1]", HopUrl("smtp", "2001:db8::1", 25)),
        ("smtps://user%40b@smart.example:465", HopUrl("smtps", "smart.example", 465, "user@b")),
        ("SMTPS://smart.example", HopUrl("smtps", "smart.example", 465)),
        ("lmtp://10.0.0.5", HopUrl("lmtp", "10.0.0.5", 24)),
        ("lmtp:unix:/run/lmtp.sock", HopUrl("lmtp", "unix:/run/lmtp.sock", 0)),
        ("lmtp://unix:/run/lmtp.sock", HopUrl("lmtp", "unix:/run/lmtp.sock", 0)),
        ("unix:/run/lmtp.sock", HopUrl("lmtp", "unix:/run/lmtp.sock", 0)),
    ],
)
def test_a_next_hop_is_read_from_its_url(text: str, url: HopUrl) -> None:
    assert parse_hop_url(text) == url


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("192.0.2.10:25", "smtp://HOST"),
        ("http://x.example", "smtp://HOST"),
        ("smtp://", "host"),
        ("smtp://a.example:99999", "a.example"),
        ("smtp://a.example:0", "port 0"),
        ("smtp://a.example/path", "host and a port"),
        ("smtp://bob:secret@a.example", "setting of its own"),
    ],
)
def test_a_next_hop_that_cannot_be_read_says_what_to_write(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        parse_hop_url(text)
    assert "secret" not in str(caught.value)
