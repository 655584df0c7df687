"""Dialogues of senders who write as somebody else: strangers in the envelope, users in From."""

from __future__ import annotations

from typing import Any

import pytest
from tests.accounts.memory import RemoteAccounts
from tests.support.desk import Client, Desk, standard_accounts

from gatepost.accounts.model import Account
from gatepost.policy.checks import content_from, sender_local

KEPT = "250 2.0.0 Message accepted"
NOT_YOURS = "550 5.7.1 You may not write as this address; use one of your own in From"


async def greeted(desk: Desk, **peer: Any) -> Client:
    client = desk.connect(**peer)
    await client.read()
    await client.line("EHLO client.example.net")
    return client


# --- sender.local --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sender", ["ada@example.org", "nobody@example.org", "x@catch.example", "root@mx.example.org", "a@EXAMPLE.ORG"]
)
async def test_a_stranger_does_not_send_as_one_of_us(sender: str) -> None:
    client = await greeted(Desk())
    said = await client.line(f"MAIL FROM:<{sender}>")
    assert said == "550 5.7.1 That sender is an address of this server: log in to use it"


@pytest.mark.parametrize("sender", ["", "ada@example.net", "ada@sub.example.org", "ada@notexample.org"])
async def test_other_senders_and_notifications_come_in(sender: str) -> None:
    client = await greeted(Desk())
    assert await client.line(f"MAIL FROM:<{sender}>") == "250 2.1.0 Sender ok"


async def test_programs_of_this_machine_relay_networks_and_listed_services_may() -> None:
    settings = {"sender.local": sender_local.Settings(networks=("203.0.113.0/24",))}
    desk = Desk(trusted=["127.0.0.0/8"], relay_networks=["198.51.100.0/24"], policy=settings)
    for ip in ("127.0.0.1", "198.51.100.7", "203.0.113.9"):
        assert await (await greeted(desk, ip=ip)).line("MAIL FROM:<ada@example.org>") == "250 2.1.0 Sender ok"
    stranger = await greeted(desk, ip="203.0.113.9")
    await stranger.line("MAIL FROM:<ada@example.org>")
    assert (await stranger.line("RCPT TO:<x@far.example>")).startswith("550 5.7.1 Relaying denied")


# --- content.from --------------------------------------------------------------------------------------------------


async def sent(
    desk: Desk, header: str, *, account: str = "ada@example.org", sender: str | None = None, **known: Any
) -> str:
    """What is said to a message of `account` with this header section."""
    client = await greeted(desk, service="submission", tls=True)
    client.session.gate.know(**(known or {"login": account}))
    assert await client.line(f"MAIL FROM:<{account if sender is None else sender}>") == "250 2.1.0 Sender ok"
    await client.line("RCPT TO:<bob@example.org>")
    await client.line("DATA")
    return await client.line(header.replace("\n", "\r\n") + "\r\n\r\nhello\r\n.")


@pytest.mark.parametrize(
    "header",
    [
        "From: ada@example.org",
        "From: ADA@Example.ORG (Ada)",
        "From: Ada <ada+shop@example.org>",
        "From: =?utf-8?q?Ada?= <ada@example.org>",
        'From: "boss@example.net" <ada@example.org>',
        "From: Info <info@example.org>",  # an alias that names her
        "From: postmaster@example.org",  # she is
        "From: ada@example.org\nSender: info@example.org",
        "From: ada@example.org\nReply-To: somebody@far.example",
        "From: Us: ada@example.org, info@example.org;\nSender: ada@example.org",
        "From: Ada\n Lovelace\n <ada@example.org>",
    ],
)
async def test_a_user_writes_as_itself(header: str) -> None:
    assert await sent(Desk(), header) == KEPT


@pytest.mark.parametrize(
    "header",
    [
        "From: bob@example.org",
        "From: Ada <bob@example.org>",
        "From: boss@far.example",
        "From: ada@example.org, bob@example.org",
        "From: ada@example.org, bob@example.org\nSender: ada@example.org",
        "From: Us: ada@example.org, bob@example.org;\nSender: ada@example.org",
        "From: ada@example.org\nSender: bob@example.org",
        "From: bob@example.org <ada@example.org>",
        "From: bob@example.org: ada@example.org;",
        "From: (ada@example.org) bob@example.org",
        'From: "ada@example.org" <bob@example.org>',
        "From: Bob\n <bob@example.org>",
        "From: =?utf-8?q?ada?=@example.org",
        "from:bob@example.org",
        "From : bob@example.org",
    ],
)
async def test_a_user_does_not_write_as_somebody_else(header: str) -> None:
    desk = Desk()
    assert await sent(desk, header) == NOT_YOURS
    assert desk.spool.entries == {}
    (event,) = desk.recorder.of("smtp.message")
    (found,) = [each for each in event.verdicts if each.check == "content.from"]
    assert "is not an address of ada@example.org" in found.reason


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("From: root", "it names no address"),
        ("From: <>", "it names no address"),
        ("From: Undisclosed:;", "it names no address"),
        ("From: ada@example.org bob@example.org", "an address is malformed"),
        ('From: "ada@example.org', "a quoted string does not end"),
        ("From: <ada@example.org> <bob@example.org>", "a second address in angle brackets"),
        ("From: " + ", ".join(["ada@example.org"] * 51), "it names more than 50 addresses"),
    ],
)
async def test_a_from_that_cannot_be_read_is_told_why(header: str, why: str) -> None:
    assert await sent(Desk(), header) == f"550 5.7.1 Write one of your own addresses into From: {why}"


async def test_several_authors_without_a_sender_get_one() -> None:
    desk = Desk()
    assert await sent(desk, "From: ada@example.org, info@example.org") == KEPT
    entry = desk.spool.only[0]
    assert b"\r\nSender: <ada@example.org>\r\n" in entry.prefix
    desk = Desk()
    assert await sent(desk, "From: ada@example.org, info@example.org\nSender: info@example.org") == KEPT
    assert b"Sender:" not in desk.spool.only[0].prefix


async def test_a_notification_without_from_names_nobody() -> None:
    assert await sent(Desk(), "Subject: read", sender="") == KEPT


async def test_what_holds_for_a_login_holds_for_a_grant_and_a_certificate() -> None:
    for way in ("grant", "certificate"):
        assert await sent(Desk(), "From: bob@example.org", **{way: "ada@example.org"}) == NOT_YOURS
        assert await sent(Desk(), "From: ada@example.org", **{way: "ada@example.org"}) == KEPT


async def test_a_relay_network_and_a_stranger_may_write_any_from() -> None:
    for desk in (Desk(), Desk(relay_networks=["192.0.2.0/24"])):
        client = await greeted(desk)
        await client.line("MAIL FROM:<x@example.net>")
        await client.line("RCPT TO:<ada@example.org>")
        await client.line("DATA")
        assert await client.line("From: somebody@far.example\r\n\r\nhello\r\n.") == KEPT


async def test_what_send_as_gave_may_stand_in_from() -> None:
    desk = Desk()
    desk.accounts.put(Account("ada@example.org", send_as=("news@example.net", "@catch.example")))
    assert await sent(desk, "From: news@example.net") == KEPT
    assert await sent(desk, "From: anybody@catch.example") == KEPT
    assert await sent(desk, "From: anybody@example.net") == NOT_YOURS


async def test_an_account_that_was_removed_since_the_login_writes_as_nobody() -> None:
    desk = Desk()
    client = await greeted(desk, service="submission", tls=True)
    client.session.gate.know(login="ada@example.org")
    await client.line("MAIL FROM:<ada@example.org>")
    await client.line("RCPT TO:<bob@example.org>")
    await client.line("DATA")
    desk.accounts.remove("ada@example.org")
    assert await client.line("From: ada@example.org\r\n\r\nhello\r\n.") == NOT_YOURS


async def test_accounts_that_cannot_be_read_defer_the_message() -> None:
    desk = Desk()
    client = await greeted(desk, service="submission", tls=True)
    client.session.gate.know(login="ada@example.org")
    await client.line("MAIL FROM:<ada@example.org>")
    await client.line("RCPT TO:<bob@example.org>")
    await client.line("DATA")
    desk.accounts.broken = True
    assert (await client.line("From: ada@example.org\r\n\r\nhello\r\n.")).startswith("451 4.3.0 ")


async def test_accounts_on_another_machine_give_the_same_answers() -> None:
    for header, answer in (("From: info@example.org", KEPT), ("From: ada@example.org, bob@example.org", NOT_YOURS)):
        assert await sent(Desk(accounts=RemoteAccounts(*standard_accounts())), header) == answer


async def test_a_program_of_this_machine_writes_as_its_user_and_root_as_anybody_of_ours() -> None:
    for user, author, answer in (
        ("www", "www@mx.example.org", KEPT),
        ("www", "ada@example.org", NOT_YOURS),
        ("root", "ada@example.org", KEPT),
        ("root", "boss@far.example", NOT_YOURS),
    ):
        client = await greeted(Desk(), service="submission", ip="", user=user)
        await client.line(f"MAIL FROM:<{user}@mx.example.org>")
        await client.line("RCPT TO:<bob@example.org>")
        await client.line("DATA")
        assert await client.line(f"From: {author}\r\n\r\nhello\r\n.") == answer


async def test_in_shadow_it_is_only_recorded() -> None:
    desk = Desk(policy={"content.from": content_from.CheckSettings(mode="shadow")})
    assert await sent(desk, "From: bob@example.org") == KEPT
    (event,) = desk.recorder.of("smtp.message")
    assert [(each.mode, each.verdict) for each in event.verdicts if each.check == "content.from"] == [
        ("shadow", "reject")
    ]
