"""IMAP-before-SMTP with the real Dovecot and the configuration that `examples/dovecot` shows."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.dovecot import Dovecot
from tests.support.server import ADA, BOB, HOST, Server, any_certificate

EXAMPLE = Path(__file__).parents[2] / "examples" / "dovecot" / "90-gatepost-grants.conf"
TOKEN = "a token that nobody guesses"
GRANTS = f"""\
[domain."example.org"]
[admin]
grants_token = "{TOKEN}"
[relay.pop_before_smtp]
enabled = true
networks = ["127.0.0.0/8"]
"""
FAR = "someone@far.example"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, ("mx", "submission", "admin"), config=GRANTS, workers=2) as server:
        yield server


@pytest.fixture
def dovecot(server: Server) -> Iterator[Dovecot]:
    example = EXAMPLE.read_text()
    assert "127.0.0.1:8025" in example
    assert "REPLACE-ME" in example
    with Dovecot(
        example.replace("127.0.0.1:8025", f"{HOST}:{server.port('admin')}").replace("REPLACE-ME", TOKEN)
    ) as dovecot:
        yield dovecot


def relays(server: Server, sender: str, service: str = "mx") -> bool:
    """Whether mail from `sender` to somebody elsewhere is taken, without a login."""
    with smtplib.SMTP(HOST, server.port(service), timeout=20) as client:
        if service != "mx":
            client.starttls(context=any_certificate())
        client.ehlo("device.example")
        if client.mail(sender)[0] != 250:
            return False
        return client.rcpt(FAR)[0] == 250


@pytest.mark.parametrize("tls", [True, False])
def test_whoever_read_mail_over_imap_may_send(server: Server, dovecot: Dovecot, tls: bool) -> None:
    assert not relays(server, ADA)
    assert dovecot.log_in(ADA, tls=tls)
    event = server.wait_for_event("grant", login=ADA)
    assert event["details"]["what"] == "made"
    assert event["details"]["by"] == "api:imap"
    assert event["client"]["ip"] == HOST
    assert relays(server, ADA)
    assert relays(server, "ada+device@example.org", "submission")
    assert not relays(server, BOB)
    assert "api:imap" in server.command("grant", "list")
    server.command("grant", "revoke", ADA)
    assert not relays(server, ADA)


def test_a_failed_login_over_imap_makes_no_grant(server: Server, dovecot: Dovecot) -> None:
    assert not dovecot.log_in(ADA, "a wrong password")
    assert dovecot.log_in(BOB)
    server.wait_for_event("grant", login=BOB)  # what came before it has been told
    assert not relays(server, ADA)
    assert server.events("grant", login=ADA) == []


def test_without_the_token_dovecot_logs_people_in_and_no_grant_comes_of_it(server: Server) -> None:
    example = EXAMPLE.read_text().replace("127.0.0.1:8025", f"{HOST}:{server.port('admin')}")
    with Dovecot(example) as dovecot:
        assert dovecot.log_in(ADA)
        refused = server.wait_for_event("grant")
    assert refused["details"]["what"] == "refused"
    assert "token" in refused["details"]["why"]
    assert not relays(server, ADA)
