"""POP-before-SMTP on a whole server with two workers: a grant counts in both, outlives a restart and a crash, and ends
when a command says so."""

from __future__ import annotations

import poplib
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.server import ADA, BOB, HOST, SECRET, Server, any_certificate, event_id

CONFIG = """\
[domain."example.org"]
[relay.pop_before_smtp]
enabled = true
networks = ["127.0.0.0/8"]
"""
FAR = "someone@far.example"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, ("mx", "submission", "pop3", "pop3s"), config=CONFIG, workers=2) as server:
        yield server


def read_mail(server: Server, account: str = ADA, password: str = SECRET) -> None:
    client = poplib.POP3_SSL(HOST, server.port("pop3s"), timeout=20, context=any_certificate())
    client.user(account)
    client.pass_(password)
    client.quit()


def relays(server: Server, sender: str = ADA) -> bool:
    """Whether mail from `sender` to somebody elsewhere is taken on mx, without a login and in clear."""
    with smtplib.SMTP(HOST, server.port("mx"), timeout=20) as client:
        client.ehlo("device.example")
        return client.mail(sender)[0] == 250 and client.rcpt(FAR)[0] == 250


def workers_that_said(server: Server, what: str) -> set[int]:
    return {event["worker"] for event in server.events("grant") if event["details"]["what"] == what}


def test_it_counts_in_every_worker_and_outlives_a_restart_and_a_crash(server: Server) -> None:
    assert not relays(server)
    read_mail(server)
    for _ in range(200):  # the kernel chooses the worker
        assert relays(server)
        if len(workers_that_said(server, "used")) == 2:
            break
    assert len(workers_that_said(server, "used")) == 2
    server.stop()
    server.start()
    assert relays(server)
    server.kill()
    server.start()
    assert relays(server)
    assert not relays(server, BOB)


def test_a_message_that_it_brought_tells_its_whole_story(server: Server) -> None:
    read_mail(server, BOB)
    with smtplib.SMTP(HOST, server.port("mx"), timeout=20) as client:
        client.ehlo("printer.example")
        client.mail(BOB)
        client.rcpt(ADA)
        code, text = client.data(b"From: bob@example.org\r\nSubject: scan\r\n\r\nhello\r\n")
    assert code == 250
    (mail,) = server.wait_for_mail(ADA)
    assert b"127.0.0.1" not in mail
    assert b"\nMessage-ID: <" in mail
    told = server.command("audit", "show", event_id(text))
    assert "grant: used" in told
    made = next(event for event in server.events("grant") if event["details"]["what"] == "made")
    assert made["id"] in told
    found = server.command("audit", "search", "--account", BOB, "--kind", "smtp.message")
    assert event_id(text) in found


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("grant", "revoke", ADA), ""),
        (("grant", "revoke", HOST), ""),
        (("account", "passwd", ADA, "--password-stdin"), "another long password\n"),
        (("account", "remove", ADA), ""),
    ],
    ids=["account", "address", "password", "removed"],
)
def test_commands_end_it_at_once(server: Server, words: tuple[str, ...], stdin: str) -> None:
    read_mail(server)
    assert relays(server)
    server.command(*words, stdin=stdin)
    assert not relays(server)
    server.wait_for(
        lambda: [event for event in server.events("grant", login=ADA) if event["details"]["what"] == "ended"],
        "the end of the grant on the record",
    )
    assert server.command("grant", "list", "--json").strip() == "[]"
