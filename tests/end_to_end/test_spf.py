"""A real server and a real DNS: what becomes of senders whose domain's SPF record speaks for or against the peer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.dkim_signer import key_record, rsa_key
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.server import HOST, Server

MX = {"MX": ["10 mx.elsewhere.test."]}
ZONE = {
    "pass.example": {**MX, "TXT": ["v=spf1 include:_spf.pass.example -all"]},
    "_spf.pass.example": {"TXT": ["v=spf1 ip4:192.0.2.0/24 ~all"]},
    "fail.example": {**MX, "TXT": ["v=spf1 ip4:198.51.100.1 -all exp=why.fail.example"]},
    "why.fail.example": {"TXT": ["%{i} is none of ours"]},
    "soft.example": {**MX, "TXT": ["v=spf1 ~all"]},
    "wrong.example": {**MX, "TXT": ["v=spf1 ip4:1.2.3 -all"]},
    "slow.example": {**MX, "TXT": ["v=spf1 include:broken.example -all"]},
    "wait.example": {**MX, "TXT": ["v=spf1 -all"]},
    "_dmarc.wait.example": {"TXT": ["v=DMARC1; p=none"]},
    "silent.example": MX,
    "client.example.net": {"TXT": ["v=spf1 -all"]},
    "example.org": {**MX, "TXT": ["v=spf1 ip4:192.0.2.7 -all"]},
    "mx.elsewhere.test": {"A": ["192.0.2.25"]},
}
STRANGER = "192.0.2.7"
LETTER = b"From: Bob <bob@wait.example>\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nHello.\r\n"


class Talk:
    """One session behind a proxy that says where the peer is."""

    def __init__(self, server: Server, ip: str) -> None:
        self._socket = socket.create_connection((HOST, server.port("mx")), timeout=30)
        self._socket.sendall(f"PROXY TCP4 {ip} {HOST} 40112 25\r\n".encode())
        self._lines = self._socket.makefile("rb")
        self.heard = self._reply()
        self.say("EHLO client.example.net")

    def say(self, line: str | bytes) -> str:
        self._socket.sendall((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self._reply()

    def _reply(self) -> str:
        while True:
            line = self._lines.readline().decode()
            if line[3:4] != "-":
                return line.strip()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@contextmanager
def talk(server: Server, ip: str = STRANGER) -> Iterator[Talk]:
    one = Talk(server, ip)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def serving(folder: Path, policy: str = "") -> Iterator[tuple[Server, DnsServer]]:
    dns = DnsServer(ZONE)
    dns.behave(Behaviour.SERVFAIL, "broken.example")
    with dns.in_thread():
        config = f'[domain."example.org"]\n[dns]\nresolvers = ["{dns.address}"]\ntimeout = "2s"\n{policy}'
        listen = {"mx": "proxy_protocol = true"}
        with Server(folder, ("mx",), config=config, listen=listen, top=f'trusted = ["{HOST}"]') as server:
            yield server, dns


def answer(server: Server, sender: str, ip: str = STRANGER) -> str:
    with talk(server, ip) as peer:
        return peer.say(f"MAIL FROM:<{sender}>")


def deliver(server: Server, sender: str, message: bytes = LETTER) -> str:
    with talk(server) as peer:
        for line in (f"MAIL FROM:<{sender}>", "RCPT TO:<ada@example.org>"):
            heard = peer.say(line)
            assert heard.startswith("250"), heard
        assert peer.say("DATA").startswith("354")
        return peer.say(message + b".")


def spf_of(server: Server, number: int) -> dict[str, Any]:
    verdicts = server.events("smtp.message")[number]["verdicts"]
    found: dict[str, Any] = next(each for each in verdicts if each["check"] == "sender.spf")["facts"]["spf"]
    return found


def test_the_record_of_the_senders_domain_decides_and_what_decided_is_on_the_record(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, _):
        assert deliver(server, "bob@pass.example").startswith("250 2.0.0")
        server.wait_for_event("smtp.message")
        found = spf_of(server, 0)
        assert (found["result"], found["domain"], found["mechanism"]) == (
            "pass",
            "pass.example",
            "include:_spf.pass.example",
        )
        refused = answer(server, "bob@fail.example")
        assert refused.startswith(
            "550 5.7.23 The SPF record of fail.example does not let your address send in its name"
        )
        assert "none of ours" not in refused
        found = spf_of(server, 1)
        assert found["explanation"] == "192.0.2.7 is none of ours"
        assert answer(server, "bob@fail.example", "198.51.100.1").startswith("250")
        for sender in ("bob@soft.example", "bob@wrong.example", "bob@slow.example", "bob@silent.example"):
            assert answer(server, sender).startswith("250"), sender
        # The greeting stands for the null path.
        assert answer(server, "").startswith("550 5.7.23 The SPF record of client.example.net")


def test_which_results_refuse_is_a_setting(tmp_path: Path) -> None:
    policy = '[policy."sender.spf"]\nrefuse = ["fail", "softfail", "permerror", "temperror"]\nexplain = true\n'
    with serving(tmp_path, policy) as (server, dns):
        assert "(fail.example says: 192.0.2.7 is none of ours)" in answer(server, "bob@fail.example")
        assert answer(server, "bob@soft.example").startswith("550 5.7.23")
        assert answer(server, "bob@wrong.example").startswith("550 5.7.24")
        assert answer(server, "bob@slow.example").startswith("451 4.7.24")
        assert answer(server, "bob@silent.example").startswith("250")
        dns.behave(Behaviour.SILENCE, "_spf.pass.example")
        assert answer(server, "bob@pass.example").startswith("451 4.7.24")


def test_where_there_is_a_dmarc_record_a_fail_waits_for_the_content(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, _):
        assert deliver(server, "bob@wait.example").startswith("550 5.7.23 The SPF record of wait.example")
        event = server.wait_for_event("smtp.message")
        assert spf_of(server, 0)["has_dmarc"] is True
        assert any("no aligned DKIM signature" in verdict.get("reason", "") for verdict in event["verdicts"])


def signed(domain: str) -> bytes:
    """The letter as a forwarder brings it: with its author's signature, which nothing on the way has broken."""
    private = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return bytes(dkim.sign(LETTER, b"s1", domain.encode(), private, include_headers=[b"from", b"subject"])) + LETTER


def publish_key(dns: DnsServer, *domains: str) -> None:
    key = key_record(rsa_key())
    for domain in domains:
        dns.zone[f"s1._domainkey.{domain}"] = {"TXT": [f'"{key[:200]}" "{key[200:]}"']}


def test_forwarded_mail_whose_author_signed_it_is_taken_though_spf_fails(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, dns):
        publish_key(dns, "wait.example", "spam.example")
        assert deliver(server, "bob@wait.example", signed("wait.example")).startswith("250 2.0.0")
        assert deliver(server, "bob@wait.example", signed("spam.example")).startswith("550 5.7.23")
        mail = server.wait_for_subject("hello")
        assert b"spf=fail " in mail.partition(b"\r\nReceived:")[0]
        assert b"smtp.mailfrom=wait.example" in mail.partition(b"\r\nReceived:")[0]
        explained = server.command("policy", "explain", server.events("smtp.message")[0]["id"])
        assert "SPF fail for wait.example" in explained
        assert "the DKIM signature of wait.example excuses it" in explained


def test_a_signature_excuses_a_fail_also_where_signatures_are_looked_at_for_nothing_else(tmp_path: Path) -> None:
    with serving(tmp_path, '[policy."content.dkim"]\nmode = "off"\n') as (server, dns):
        publish_key(dns, "wait.example")
        assert deliver(server, "bob@wait.example", signed("wait.example")).startswith("250 2.0.0")
        assert deliver(server, "bob@wait.example").startswith("550 5.7.23")


def test_one_of_our_addresses_may_be_used_by_whom_our_own_record_names(tmp_path: Path) -> None:
    with serving(tmp_path, '[policy."sender.spf"]\nmode = "off"\n') as (server, dns):
        assert answer(server, "ada@example.org").startswith("250")
        assert answer(server, "ada@example.org", "192.0.2.8").startswith("550 5.7.1 ")
        # Where the check is off nobody else's record is looked at.
        assert answer(server, "bob@fail.example").startswith("250")
        assert ("fail.example", "TXT", "udp") not in dns.queries
