"""POP3 dialogues of clients that show a certificate, and of those who guess."""

from __future__ import annotations

import base64

import pytest
from tests.accounts.memory import RemoteAccounts
from tests.pickup.counter import ADA, Client, Counter
from tests.support.desk import PASSWORD, standard_accounts

from gatepost.mail.units import Quota
from gatepost.policy.checks import auth_attempts
from gatepost.ports.wire import PeerCertificate

SHOWN = PeerCertificate("ab" * 32, "CN=laptop", (ADA,))


def counter_with(**settings: object) -> Counter:
    given = {"per_session": 1000, **settings}
    return Counter(policy={"auth.attempts": auth_attempts.Settings(**given)})  # type: ignore[arg-type]


async def greeted(counter: Counter, **peer: object) -> Client:
    client = counter.connect(**{"tls": True, **peer})  # type: ignore[arg-type]
    await client.say()
    return client


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("stls", [False, True])
async def test_external_opens_the_maildrop_of_the_certificates_account(remote: bool, stls: bool) -> None:
    counter = Counter(accounts=RemoteAccounts(*standard_accounts()) if remote else None)
    if stls:
        client = await greeted(counter, tls=False)
        await client.line("STLS")
        await client.start_tls(SHOWN)
        await client.settle()
    else:
        client = await greeted(counter, service="pop3s", shows=SHOWN)
    assert "SASL EXTERNAL SCRAM" in await client.line("CAPA")
    assert await client.line("AUTH EXTERNAL =") == "+OK 3 messages (76 octets)"


async def test_without_a_certificate_external_is_not_there() -> None:
    client = await greeted(Counter())
    assert "EXTERNAL" not in await client.line("CAPA")
    assert (await client.line("AUTH EXTERNAL =")).startswith("-ERR")


async def test_a_certificate_alone_opens_no_maildrop() -> None:
    client = await greeted(Counter(), shows=SHOWN)
    assert (await client.line("STAT")).startswith("-ERR")


async def test_guessing_over_pop3_counts_with_guessing_over_smtp_and_ends_in_a_ban() -> None:
    counter = counter_with(per_prefix=Quota(3, 900.0))
    desk = counter.desk
    smtp = desk.connect(service="submission", tls=True)
    await smtp.read()
    await smtp.line("EHLO c.example")
    response = base64.b64encode(b"\0user@example.org\0wrong wrong wrong").decode()
    assert (await smtp.line(f"AUTH PLAIN {response}")).startswith("535 ")
    client = await greeted(counter)
    for _ in range(2):
        await client.line(f"USER {ADA}")
        assert (await client.line("PASS wrong wrong wrong")).startswith("-ERR [AUTH]")
    await client.line(f"USER {ADA}")
    assert (await client.line(f"PASS {PASSWORD}")).startswith("-ERR [SYS/TEMP] ")
    assert client.wire.is_closed
    await client.settle()
    assert [event.details["network"] for event in desk.recorder.of("ban")] == ["192.0.2.7"]
    again = counter.connect(tls=True)
    assert (await again.say())[0].startswith("-ERR ")


async def test_a_login_that_goes_well_is_not_counted() -> None:
    counter = counter_with(per_account=Quota(1, 900.0), per_prefix=Quota(1, 900.0))
    for _ in range(4):
        client = await greeted(counter)
        await client.line(f"USER {ADA}")
        assert (await client.line(f"PASS {PASSWORD}")).startswith("+OK ")
        await client.line("QUIT")
