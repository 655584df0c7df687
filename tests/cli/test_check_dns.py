"""`check dns` against a DNS on loopback: what it prints, and when it exits 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import CONFIG, Command
from tests.support.dns_server import Behaviour, DnsServer

ZONE = {
    "mx.example.org": {"A": ["192.0.2.1"], "TXT": ["v=spf1 a -all"]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["mx.example.org."]},
    "example.org": {"MX": ["10 mx.example.org."], "TXT": ["v=spf1 mx -all"]},
    "_dmarc.example.org": {"TXT": ["v=DMARC1; p=none"]},
    "example.net": {"MX": ["10 mx.example.org."], "TXT": ["v=spf1 mx -all"]},
}


@pytest.fixture
def dns(folder: Path) -> Iterator[DnsServer]:
    server = DnsServer(ZONE)
    with server.in_thread():
        text = f'{CONFIG}[dns]\nresolvers = ["{server.address}"]\ntimeout = "2s"\n'
        (folder / "gatepost.toml").write_text(text)
        yield server


@pytest.mark.usefixtures("dns")
def test_all_is_shown_as_it_is_where_it_is_in_order(gatepost: Command) -> None:
    ran = gatepost("check", "dns")
    assert (ran.code, ran.err) == (0, "")
    assert "ok      mx.example.org A: 192.0.2.1\n" in ran.out
    assert "ok      example.net MX: 10 mx.example.org\n" in ran.out
    assert "info    _dmarc.example.org DMARC: v=DMARC1; p=none\n          this version signs nothing" in ran.out
    rows = gatepost("check", "dns", "example.net", "--json").json
    assert not any("example.org" in row["name"] for row in rows if row["type"] == "MX")
    assert {"name", "type", "status", "found", "expected", "why"} == set(rows[0])


def test_what_is_wrong_is_shown_beside_what_it_should_be(gatepost: Command, dns: DnsServer) -> None:
    dns.zone["example.net"] = {"MX": ["10 old.example.net."], "TXT": ["v=spf1 mx -all"]}
    dns.zone["old.example.net"] = {"A": ["198.51.100.9"]}
    ran = gatepost("check", "dns")
    assert ran.code == 1
    assert (
        "wrong   example.net MX: 10 old.example.net\n"
        "          should be: 10 mx.example.org.\n"
        "          mail for the domain goes elsewhere\n"
    ) in ran.out
    assert gatepost("check", "dns", "example.org").code == 0


def test_a_dns_that_does_not_answer_leaves_it_open(gatepost: Command, dns: DnsServer) -> None:
    dns.behave(Behaviour.SERVFAIL)
    ran = gatepost("check", "dns", "example.org")
    assert ran.code == 1
    assert "unknown example.org MX: nothing\n          it could not be looked up" in ran.out
    assert "wrong" not in ran.out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("word", "said"), [("far.example", "is not one of our domains"), ("..", "domain")])
def test_only_our_domains_are_looked_up(gatepost: Command, word: str, said: str) -> None:
    ran = gatepost("check", "dns", word)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
