"""Dialogues of clients that show a certificate: it stands for the account whose address it names."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.accounts.memory import RemoteAccounts
from tests.support.desk import Client, Desk, standard_accounts

from gatepost.ports.wire import PeerCertificate

ADA = PeerCertificate("ab" * 32, "CN=scanner", ("ada@example.org",))
NOBODY = PeerCertificate("cd" * 32, "CN=other", ("carol@example.org",))


async def greeted(desk: Desk, shows: PeerCertificate | None = ADA, service: str = "submission", **peer: Any) -> Client:
    client = desk.connect(service, shows=shows, tls=True, **peer)
    await client.read()
    await client.line("EHLO scanner.example")
    return client


@pytest.mark.parametrize("remote", [False, True])
async def test_a_certificate_relays_under_the_addresses_of_its_account(remote: bool) -> None:
    desk = Desk(accounts=RemoteAccounts(*standard_accounts())) if remote else Desk()
    client = await greeted(desk)
    assert (await client.line("MAIL FROM:<bob@example.org>")).startswith("553 5.7.1 ")
    assert await client.line("MAIL FROM:<ada@example.org>") == "250 2.1.0 Sender ok"
    assert await client.line("RCPT TO:<someone@far.example>") == "250 2.1.5 Recipient ok"
    await client.line("DATA")
    assert (await client.line("From: ada@example.org\r\n\r\nhello\r\n.")).startswith("250 ")
    entry = desk.spool.only[0]
    assert entry.login == "ada@example.org"
    message = desk.recorder.of("smtp.message")[-1]
    assert message.login == "ada@example.org"
    (auth,) = desk.recorder.of("auth")
    assert auth.details == {"mechanism": "certificate", "fingerprint": "ab" * 32, "subject": "CN=scanner"}


async def test_after_starttls_the_certificate_counts_too() -> None:
    desk = Desk()
    client = desk.connect("submission")
    await client.read()
    await client.line("EHLO scanner.example")
    await client.line("STARTTLS")
    await client.start_tls(ADA)
    assert "EXTERNAL" in await client.line("EHLO scanner.example")
    assert await client.line("MAIL FROM:<ada@example.org>") == "250 2.1.0 Sender ok"


@pytest.mark.parametrize(
    "initial", ["=", base64.b64encode(b"ada@example.org").decode(), base64.b64encode(b"ADA@example.org").decode()]
)
async def test_external_logs_in_as_the_account_of_the_certificate(initial: str) -> None:
    desk = Desk()
    client = await greeted(desk)
    assert await client.line(f"AUTH EXTERNAL {initial}") == "235 2.7.0 Authentication successful"
    assert client.session.gate.facts.login == "ada@example.org"
    assert desk.recorder.of("auth")[-1].details["mechanism"] == "EXTERNAL"


async def test_external_asks_for_the_name_when_it_did_not_come() -> None:
    client = await greeted(Desk())
    assert await client.line("AUTH EXTERNAL") == "334 "
    assert await client.line("") == "235 2.7.0 Authentication successful"


async def test_external_is_nobody_elses() -> None:
    client = await greeted(Desk())
    bob = base64.b64encode(b"bob@example.org").decode()
    assert (await client.line(f"AUTH EXTERNAL {bob}")).startswith("535 5.7.8 ")
    assert client.session.gate.facts.login == ""


@pytest.mark.parametrize(
    "shows", [None, NOBODY, PeerCertificate("ef" * 32, "CN=x", ("info@example.org", "not an address"))]
)
async def test_a_certificate_of_no_account_is_none(shows: PeerCertificate | None) -> None:
    desk = Desk()
    client = await greeted(desk, shows)
    assert (await client.line("AUTH EXTERNAL =")).startswith("504 5.5.4 ")
    assert (await client.line("MAIL FROM:<ada@example.org>")).startswith("530 5.7.0 ")
    if shows is not None:
        await client.line("EHLO again.example")
        (auth,) = desk.recorder.of("auth")  # told once
        assert auth.details["reason"] == "no account has an address of the certificate"


async def test_the_certificate_of_a_proxy_is_not_its_clients() -> None:
    """A trusted proxy logs in to us with a certificate of its own, and brings strangers."""
    desk = Desk(trusted=["192.0.2.7/32"])
    client = await greeted(desk, xclient=True)
    assert client.session.gate.facts.certificate == "ada@example.org"
    await client.line("XCLIENT ADDR=198.51.100.9")
    await client.line("EHLO stranger.example")
    assert client.session.gate.facts.certificate == ""
    assert (await client.line("MAIL FROM:<ada@example.org>")).startswith("530 5.7.0 ")


async def test_a_login_from_before_starttls_is_forgotten() -> None:
    """RFC 3207 §4.2: what was known before may have been put there by whoever sits in between."""
    client = Desk().connect("submission", "127.0.0.1")
    await client.read()
    await client.line("EHLO c.example")
    client.session.gate.know(login="ada@example.org")
    await client.line("STARTTLS")
    await client.start_tls()
    await client.line("EHLO c.example")
    assert (await client.line("MAIL FROM:<ada@example.org>")).startswith("530 5.7.0 ")


async def test_an_account_that_is_removed_takes_its_certificates_with_it() -> None:
    desk = Desk()
    client = await greeted(desk)
    desk.accounts.remove("ada@example.org")
    assert (await client.line("AUTH EXTERNAL =")).startswith("535 5.7.8 ")
    assert (await client.line("MAIL FROM:<ada@example.org>")).startswith("553 5.7.1 ")
    assert (await (await greeted(desk)).line("MAIL FROM:<ada@example.org>")).startswith("530 5.7.0 ")


async def test_accounts_that_cannot_be_read_are_no_reason_to_refuse_for_good() -> None:
    desk = Desk()
    desk.accounts.broken = True
    client = desk.connect("submission", shows=ADA)
    await client.read()
    assert (await client.line("EHLO scanner.example")).startswith("421 4.3.0 ")


async def test_a_certificate_that_cannot_be_recorded_is_not_accepted() -> None:
    desk = Desk()
    desk.recorder.fails = True
    client = desk.connect("submission", shows=ADA)
    await client.read()
    desk.recorder.fails = False
    client.session.gate.tls = None
    await client.line("EHLO scanner.example")
    assert (await client.line("MAIL FROM:<ada@example.org>")).startswith("530 5.7.0 ")


async def test_the_certificate_of_a_proxy_is_not_its_clients_after_starttls_either() -> None:
    desk = Desk(trusted=["192.0.2.7/32"])
    client = desk.connect("submission", xclient=True)
    await client.read()
    await client.line("EHLO proxy.example")
    await client.line("XCLIENT ADDR=198.51.100.9")
    await client.line("EHLO stranger.example")
    await client.line("STARTTLS")
    await client.start_tls(ADA)
    await client.line("EHLO stranger.example")
    assert (await client.line("MAIL FROM:<ada@example.org>")).startswith("530 5.7.0 ")


async def test_the_local_user_that_a_proxy_runs_as_is_not_its_client() -> None:
    """A filter of this machine, at a unix socket, brought strangers in: each of them had the filter's login."""
    client = Desk().connect("submission", "", user="www", tls=True, xclient=True)
    await client.read()
    await client.line("EHLO proxy.example")
    await client.line("XCLIENT ADDR=198.51.100.9")
    await client.line("EHLO stranger.example")
    assert client.session.gate.facts.login == ""
    assert (await client.line("MAIL FROM:<www@mx.example.org>")).startswith("530 5.7.0 ")


@pytest.mark.parametrize("attribute", ["ADDR=[UNAVAILABLE]", "ADDR=[TEMPUNAVAIL]", "NAME=stranger.example"])
async def test_a_proxy_that_cannot_name_its_client_lends_it_no_right_to_relay(attribute: str) -> None:
    """A proxy inside `relay.networks` whose clients have no address it could tell was an open relay for them."""
    desk = Desk(trusted=["192.0.2.7/32"], relay_networks=["192.0.2.0/24"])
    client = desk.connect("mx", xclient=True)
    await client.read()
    await client.line("EHLO proxy.example")
    await client.line(f"XCLIENT {attribute}")
    await client.line("EHLO stranger.example")
    await client.line("MAIL FROM:<x@far.example>")
    assert (await client.line("RCPT TO:<y@far.example>")).startswith("550 5.7.1 Relaying denied")
