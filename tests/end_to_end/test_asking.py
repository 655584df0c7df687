"""A real server asks real hosts: the DNS about domains, next hops about recipients, and passes mail on before it is
accepted."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.dns_server import Behaviour, DnsServer
from tests.support.server import HOST, Server, free_port
from tests.support.sink import Sink

MESSAGE = (
    b"From: bob@far.example\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nSubject: %s\r\n\r\nHello.\r\n.\r\nBye.\r\n"
)
NOBODY = "550 5.1.1 We at inner know no such person"


@contextmanager
def stranger(server: Server, sender: str = "bob@example.net") -> Iterator[smtplib.SMTP]:
    """A session in which MAIL was accepted."""
    with smtplib.SMTP(HOST, server.port("mx"), "client.example.net", timeout=30) as client:
        client.ehlo()
        assert client.mail(sender)[0] == 250
        yield client


def answer_to_mail(server: Server, sender: str) -> str:
    with smtplib.SMTP(HOST, server.port("mx"), "client.example.net", timeout=30) as client:
        client.ehlo()
        code, text = client.mail(sender)
        return f"{code} {text.decode()}"


def test_senders_are_looked_up_and_a_resolver_that_fails_defers(tmp_path: Path) -> None:
    dns = DnsServer({"far.example": {"MX": ["10 mx.far.example."]}, "null.example": {"MX": ["0 ."]},
                     "host.example": {"A": ["192.0.2.1"]}, "empty.example": {"TXT": ["nothing"]}})  # fmt: skip
    dns.behave(Behaviour.SERVFAIL, "broken.example")
    with dns.in_thread():
        config = f'[domain."example.org"]\n[dns]\nresolvers = ["{dns.address}"]\ntimeout = "2s"\n'
        with Server(tmp_path, ("mx",), config=config) as server:
            for sender in ("bob@far.example", "bob@host.example", "bob@[192.0.2.1]", ""):
                assert answer_to_mail(server, sender).startswith("250"), sender
            assert answer_to_mail(server, "bob@absent.example").startswith("550 5.1.8")
            assert answer_to_mail(server, "bob@empty.example").startswith("550 5.1.8")
            assert answer_to_mail(server, "bob@null.example").startswith("550 5.7.27")
            assert answer_to_mail(server, "bob@broken.example").startswith("450 4.1.8")
            dns.behave(Behaviour.SILENCE)
            assert answer_to_mail(server, "bob@other.example").startswith("450 4.1.8")


def test_recipients_of_a_next_hop_are_probed_once_for_all_workers(tmp_path: Path) -> None:
    with Sink({"ada@inner.example": "250 2.1.5 Ok"}, others=NOBODY) as inner:
        config = f'[domain."inner.example"]\nrelay_to = "smtp://{inner.address}"\n'
        with Server(tmp_path, ("mx",), config=config, workers=2) as server:
            for _ in range(6):  # whichever worker it is
                with stranger(server) as client:
                    code, text = client.rcpt("eve@inner.example")
                    assert (code, text[:5]) == (550, b"5.1.1")
                    assert b"We at inner" not in text
                    assert client.rcpt("ada@inner.example")[0] == 250
            assert inner.asked.count("eve@inner.example") == 1
            assert inner.asked.count("ada@inner.example") == 1
            event = server.wait_for_event("smtp.message")
            assert any("We at inner" in verdict.get("reason", "") for verdict in event["verdicts"])
            with stranger(server) as client:
                client.rcpt("ada@inner.example")
                assert client.data(MESSAGE % b"kept")[0] == 250
            assert b"Subject: kept" in inner.wait_for(1)[0].content


def test_a_refusal_of_the_next_hop_is_ours_with_cut_through(tmp_path: Path) -> None:
    at_end = {b"Subject: spam": "550 5.7.1 inner.example calls this spam", b"Subject: busy": "451 4.3.0 not now"}
    known = dict.fromkeys(("ada@inner.example", "bea@inner.example"), "250 2.1.5 Ok")
    with Sink(known, others=NOBODY, at_end=at_end) as inner:
        config = (
            f'[domain."example.org"]\n[domain."inner.example"]\nrelay_to = "smtp://{inner.address}"\n'
            "cut_through = true\n"
        )
        with Server(tmp_path, ("mx", "pop3"), config=config) as server:
            with stranger(server) as client:
                assert [client.rcpt(name)[0] for name in known] == [250, 250]
                assert client.rcpt("eve@inner.example")[0] == 550
                assert client.rcpt("ada@example.org")[0] == 452
                assert client.data(MESSAGE % b"fine")[0] == 250
            assert inner.taken[0].recipients == list(known)  # before the peer heard 250, not some time after
            assert inner.taken[0].content.endswith(b"Subject: fine\r\n\r\nHello.\r\n.\r\nBye.\r\n")
            assert (
                inner.taken[0]
                .content.partition(b"\r\n\tdkim=none\r\n")[2]
                .startswith(b"Received: from client.example.net")
            )
            assert inner.taken[0].reverse_path == "bob@example.net"
            for subject, expected in ((b"spam", (550, b"5.7.1")), (b"busy", (451, b"4.3.0"))):
                with stranger(server) as client:
                    client.rcpt("ada@inner.example")
                    code, text = client.data(MESSAGE % subject)
                    assert (code, text[:5]) == expected
                    assert b"inner" not in text
            assert len(inner.taken) == 1
            attempt = server.events("delivery.attempt")[1]
            assert attempt["details"]["verdict"] == "failed"
            assert "inner.example calls this spam" in attempt["reply"]


def test_while_the_next_hop_is_down_cut_through_leaves_the_mail_with_its_senders(tmp_path: Path) -> None:
    config = f'[domain."inner.example"]\nrelay_to = "smtp://{HOST}:{free_port()}"\ncut_through = true\n'
    with Server(tmp_path, ("mx",), config=config) as server, stranger(server) as client:
        code, text = client.rcpt("ada@inner.example")
        assert (code, text[:5]) == (451, b"4.4.1")


def test_a_sender_that_its_own_host_does_not_have_is_refused_where_that_is_wanted(tmp_path: Path) -> None:
    with Sink({"bob@far.example": "250 2.1.5 Ok"}, others=NOBODY, host="127.9.0.1") as far:
        config = (
            f'[domain."example.org"]\n[route."far.example"]\nto = "smtp://{far.address}"\n'
            '[policy."sender.callout"]\nmode = "enforce"\n'
        )
        with Server(tmp_path, ("mx",), top="trusted = []", config=config) as server:
            for sender, code in (("bob@far.example", 250), ("eve@far.example", 550), ("eve@far.example", 550)):
                with stranger(server, sender) as client:
                    assert client.rcpt("ada@example.org")[0] == code
            assert far.asked == ["bob@far.example", "eve@far.example"]
            assert not far.taken
