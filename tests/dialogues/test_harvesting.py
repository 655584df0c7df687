"""Dialogues of harvesters: VRFY, EXPN and RCPT tell them nothing, slowly, and not for long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.accounts.memory import MemoryAccounts
from tests.support.desk import Client, Desk, standard_accounts, talk

from gatepost.accounts.model import Account, MailingList
from gatepost.policy.checks import command_allowed, command_budget, expn_scope, recipient_harvest


class CountingAccounts(MemoryAccounts):
    """Counts what is looked up."""

    def __init__(self) -> None:
        super().__init__(*standard_accounts())
        self.asked: list[str] = []

    def find(self, address: str) -> Any:
        self.asked.append(address)
        return super().find(address)


async def greeted(desk: Desk, **peer: Any) -> Client:
    client = desk.connect(**peer)
    await client.read()
    await client.line("EHLO client.example.net")
    return client


async def tasks_have_run() -> None:
    """Bans are laid beside the session."""
    for _ in range(10):
        await asyncio.sleep(0)


# --- VRFY and EXPN -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["VRFY", "EXPN"])
async def test_a_stranger_hears_the_same_after_the_same_work_whatever_the_name(verb: str) -> None:
    heard, work = set(), set()
    for name in (
        "ada@example.org",
        "nobody@example.org",
        "team@example.org",
        "x@far.example",
        "ada",
        "ada+x@example.org",
    ):
        accounts = CountingAccounts()
        desk = Desk(accounts=accounts)
        client = await greeted(desk)
        tallied: list[Any] = []
        tally = desk.standing.tally

        def counting(operations: Any, now: float, tally: Any = tally, tallied: list[Any] = tallied) -> Any:
            tallied.append([type(operation).__name__ for operation in operations])
            return tally(operations, now)

        desk.standing.tally = counting  # type: ignore[method-assign]
        heard.add(await client.line(f"{verb} {name}"))
        work.add((tuple(accounts.asked), str(tallied)))
        client.hang_up()
    assert len(heard) == 1
    assert len(work) == 1


async def test_who_may_know_gets_real_answers() -> None:
    await talk(
        """
        S: 220 mx.example.org ESMTP
        C: EHLO printer.example
        S: 250*
        C: VRFY <ada@example.org>
        S: 250 2.1.5 <ada@example.org>
        C: VRFY info@example.org
        S: 250 2.1.5 <info@example.org>
        C: VRFY nobody@example.org
        S: 550 5.1.1 No such recipient here
        C: VRFY x@far.example
        S: 252 2.5.2 Cannot VRFY, but will take mail for that address
        C: VRFY x@inner.example
        S: 252 2.5.2 Cannot VRFY, but will take mail for that address
        C: VRFY a b@c
        S: 501 5.1.3 VRFY takes an address
        """,
        Desk(relay_networks=["192.0.2.0/24"]),
    )


def two_domains() -> MemoryAccounts:
    return MemoryAccounts(
        *standard_accounts(),
        Account("carol@catch.example"),
        MailingList("club@catch.example", ("carol@catch.example", "team@example.org"), ("bob@example.org",)),
        MailingList("secret@catch.example", ("carol@catch.example",), ()),
        MailingList("shared@catch.example", ("Ada@Example.org",), ()),
    )


@pytest.mark.parametrize(
    ("account", "text", "answer"),
    [
        ("ada@example.org", "team@example.org", "250-2.1.5 <ada@example.org>\n250 2.1.5 <far@example.net>"),
        ("ada@example.org", "team", "250-2.1.5 <ada@example.org>\n250 2.1.5 <far@example.net>"),
        ("ada@example.org", "info@example.org", "250-2.1.5 <ada@example.org>\n250 2.1.5 <bob@example.org>"),
        ("ada@example.org", "<postmaster@example.org>", "250 2.1.5 <ada@example.org>"),
        ("ada@example.org", "ada@example.org", "550 5.1.1 No such list here"),
        ("ada@example.org", "nothing@example.org", "550 5.1.1 No such list here"),
        # Of another domain: as a member, as an owner, and not otherwise, whether it is there or not.
        ("ada@example.org", "shared@catch.example", "250 2.1.5 <Ada@Example.org>"),
        ("bob@example.org", "club@catch.example", "250-2.1.5 <carol@catch.example>\n250 2.1.5 <team@example.org>"),
        ("ada@example.org", "club@catch.example", "550 5.7.1 You may not see that list"),
        ("ada@example.org", "secret@catch.example", "550 5.7.1 You may not see that list"),
        ("ada@example.org", "nothing@catch.example", "550 5.7.1 You may not see that list"),
        ("ada@example.org", "x@far.example", "550 5.7.1 You may not see that list"),
        # A list in a list is one line: who is in it is asked by its own name.
        ("carol@catch.example", "club@catch.example", "250-2.1.5 <carol@catch.example>\n250 2.1.5 <team@example.org>"),
        ("carol@catch.example", "team@example.org", "550 5.7.1 You may not see that list"),
        ("ada@example.org", "no address@@", "501 5.1.3 EXPN takes the address of a list"),
    ],
)
async def test_an_account_expands_the_lists_that_concern_it(account: str, text: str, answer: str) -> None:
    desk = Desk(accounts=two_domains())
    client = await greeted(desk, service="submission", tls=True)
    client.session.gate.know(login=account)
    assert await client.line(f"EXPN {text}") == answer


async def test_a_relay_network_sees_no_list_unless_everybody_may() -> None:
    desk = Desk(relay_networks=["192.0.2.0/24"])
    assert (await (await greeted(desk)).line("EXPN team@example.org")).startswith("550 5.7.1 ")
    desk = Desk(relay_networks=["192.0.2.0/24"], policy={"expn.scope": expn_scope.Settings(see=("anyone",))})
    assert (await (await greeted(desk)).line("EXPN team@example.org")).startswith("250-2.1.5 <ada@")


async def test_expn_and_extensions_are_offered_to_those_who_may_use_them() -> None:
    settings = command_allowed.Settings(
        expn=("login",), dsn=("submission",), chunking=(), smtputf8=("198.51.100.0/24",)
    )
    desk = Desk(relay_networks=["192.0.2.0/24"], policy={"command.allowed": settings})
    client = desk.connect()
    await client.read()
    offered = await client.line("EHLO c.example")
    assert not {"EXPN", "DSN", "CHUNKING", "SMTPUTF8"} & {line[4:] for line in offered.splitlines()}
    assert (await client.line("MAIL FROM:<a@b.example> SMTPUTF8")).startswith("555 5.5.4 ")
    client.session.gate.know(login="ada@example.org")
    assert "250-EXPN" in (await client.line("EHLO c.example")).replace("250 EXPN", "250-EXPN")


# --- budgets -------------------------------------------------------------------------------------------------------


async def test_who_only_talks_is_sent_away() -> None:
    desk = Desk(policy={"command.budget": command_budget.Settings(idle=25)})
    client = await greeted(desk)
    for _ in range(24):
        assert await client.line("NOOP") == "250 2.0.0 Ok"
    assert await client.line("NOOP") == "421 4.7.0 Too many commands without mail, goodbye"
    assert client.wire.is_closed


@pytest.mark.parametrize("line", ["DATA", "MAIL FROM:nonsense", "RSET", "EHLO x.example", "HELP", "NOOP"])
async def test_every_command_counts_also_one_that_is_refused_by_itself(line: str) -> None:
    desk = Desk(policy={"command.budget": command_budget.Settings(idle=20)})
    client = await greeted(desk)
    said = [await client.line(line) for _ in range(20)]
    assert said[-1].startswith("421 4.7.0 ")
    assert not any(each.startswith("421") for each in said[:-1])


async def test_an_accepted_recipient_starts_the_count_anew() -> None:
    desk = Desk(policy={"command.budget": command_budget.Settings(idle=20)})
    client = await greeted(desk)
    for _ in range(30):
        await client.line("MAIL FROM:<x@example.net>")
        assert await client.line("RCPT TO:<ada@example.org>") == "250 2.1.5 Recipient ok"
        assert await client.line("RSET") == "250 2.0.0 Ok"


async def test_recipients_beyond_the_limit_end_no_transaction_that_has_some() -> None:
    """A client that pipelines more recipients than we take must still get its message in."""
    desk = Desk(policy={"command.budget": command_budget.Settings(idle=20)})
    client = await greeted(desk)
    await client.line("MAIL FROM:<x@example.net>")
    for _ in range(100):
        await client.line("RCPT TO:<ada@example.org>")
    said = [await client.line("RCPT TO:<ada@example.org>") for _ in range(50)]
    assert all(each.startswith("452 4.5.3 ") for each in said)
    assert (await client.line("DATA")).startswith("354 ")


async def test_unknown_commands_are_counted_across_sessions_of_one_address() -> None:
    desk = Desk(policy={"command.budget": command_budget.Settings(unknown=command_budget.Quota(3, 3600.0))})
    for _ in range(3):
        client = await greeted(desk)
        assert (await client.line("XYZZY")).startswith("500 5.5.2 ")
        client.hang_up()
    client = await greeted(desk)
    assert (await client.line("XYZZY")).startswith("421 4.7.0 ")
    assert (await (await greeted(desk, ip="192.0.2.8")).line("XYZZY")).startswith("500 5.5.2 ")
    desk.clock.at += 1300
    assert (await (await greeted(desk)).line("XYZZY")).startswith("500 5.5.2 ")


async def test_look_ups_have_a_budget_for_the_account_wherever_it_is() -> None:
    desk = Desk(policy={"command.budget": command_budget.Settings(lookups=command_budget.Quota(2, 3600.0))})
    for ip, verb in (("192.0.2.7", "VRFY"), ("198.51.100.7", "EXPN")):
        client = await greeted(desk, service="submission", tls=True, ip=ip)
        client.session.gate.know(login="ada@example.org")
        assert (await client.line(f"{verb} info@example.org")).startswith("250")
    client = await greeted(desk, service="submission", tls=True, ip="203.0.113.7")
    client.session.gate.know(login="ada@example.org")
    assert (await client.line("VRFY bob@example.org")).startswith("421 4.7.0 ")


async def test_without_counters_look_ups_go_on_and_the_session_still_ends() -> None:
    desk = Desk(relay_networks=["192.0.2.0/24"], policy={"command.budget": command_budget.Settings(idle=20)})
    client = await greeted(desk)
    desk.standing.fail = True
    said = [await client.line("VRFY ada@example.org") for _ in range(20)]
    assert said[0].startswith("250 ")
    assert said[-1].startswith("421 ")


# --- RCPT ----------------------------------------------------------------------------------------------------------


def harvesting(**settings: Any) -> Desk:
    settings = {"limit": recipient_harvest.Quota(6, 3600.0), "free": 2, **settings}
    return Desk(policy={"recipient.harvest": recipient_harvest.Settings(**settings)})


async def rcpt(client: Client, name: str) -> str:
    return await client.line(f"RCPT TO:<{name}>")


async def mail(desk: Desk, **peer: Any) -> Client:
    client = await greeted(desk, **peer)
    await client.line("MAIL FROM:<x@example.net>")
    return client


async def slow_rcpt(client: Client, name: str) -> tuple[float, str]:
    client.session.data_received(f"RCPT TO:<{name}>\r\n".encode())
    seconds = await client.waits()
    (line,) = await client.read()
    return seconds, line


async def test_names_that_are_tried_are_answered_ever_more_slowly_and_then_the_peer_is_banned() -> None:
    desk = harvesting(wait=2.0, longest_wait=5.0)
    client = await mail(desk)
    unknown = "550 5.1.1 No such recipient here; check the spelling of the address"
    assert await rcpt(client, "a@example.org") == unknown
    assert await rcpt(client, "b@example.org") == unknown
    waits = []
    for name in "cdef":
        seconds, line = await slow_rcpt(client, f"{name}@example.org")
        assert line == unknown
        waits.append(round(seconds))
    assert waits == [2, 4, 5, 5]
    client.session.data_received(b"RCPT TO:<g@example.org>\r\n")
    assert await client.read() == ["421 4.7.0 Too many recipients that do not exist, try again later"]
    assert client.wire.is_closed
    client.hang_up()
    await tasks_have_run()
    again = desk.connect()
    assert (await again.read())[0].startswith("421 4.7.0 ")
    bans = [event.details for event in desk.recorder.of("ban")]
    assert [ban["network"] for ban in bans] == ["192.0.2.7"]
    assert "recipient.harvest" in bans[0]["reason"]


async def test_the_record_names_what_was_counted() -> None:
    desk = harvesting(limit=recipient_harvest.Quota(1, 3600.0))
    client = await mail(desk)
    await rcpt(client, "a@example.org")
    await rcpt(client, "b@example.org")
    client.hang_up()
    (event,) = desk.recorder.of("smtp.message")
    (found,) = [each for each in event.verdicts if each.check == "recipient.harvest"]
    assert (found.verdict, found.facts["harvest"].unknown, found.facts["harvest"].is_full) == ("defer", 2.0, True)


async def test_other_peers_are_neither_slowed_down_nor_banned() -> None:
    desk = harvesting(limit=recipient_harvest.Quota(1, 3600.0))
    client = await mail(desk)
    await rcpt(client, "a@example.org")
    assert (await rcpt(client, "b@example.org")).startswith("421 ")
    other = await mail(desk, ip="192.0.2.8")
    assert (await rcpt(other, "a@example.org")).startswith("550 5.1.1 ")
    assert await rcpt(other, "ada@example.org") == "250 2.1.5 Recipient ok"


async def test_of_ipv6_the_64_is_the_peer() -> None:
    desk = harvesting(limit=recipient_harvest.Quota(1, 3600.0))
    await rcpt(await mail(desk, ip="2001:db8::1"), "a@example.org")
    assert (await rcpt(await mail(desk, ip="2001:db8::2"), "b@example.org")).startswith("421 ")
    assert (await rcpt(await mail(desk, ip="2001:db8:0:1::1"), "c@example.org")).startswith("550 ")


async def test_an_old_list_of_subscribers_is_slow_and_gets_through() -> None:
    """Some addresses of a newsletter are dead; what was accepted in earlier sessions counts for its sender."""
    desk = harvesting(limit=recipient_harvest.Quota(2, 3600.0), free=9)
    for _ in range(3):
        client = await mail(desk)
        for name in ("ada", "bob", "info"):
            await rcpt(client, f"{name}@example.org")
        client.hang_up()
    client = await mail(desk)
    for name in "abcdefgh":
        assert (await rcpt(client, f"{name}@example.org")).startswith("550 5.1.1 ")
    assert await rcpt(client, "ada@example.org") == "250 2.1.5 Recipient ok"
    await tasks_have_run()
    assert desk.recorder.of("ban") == []


async def test_an_account_that_tries_names_is_stopped_and_never_banned() -> None:
    desk = harvesting(limit=recipient_harvest.Quota(1, 3600.0))
    client = await greeted(desk, service="submission", tls=True)
    client.session.gate.know(login="ada@example.org")
    await client.line("MAIL FROM:<ada@example.org>")
    assert (await rcpt(client, "a@example.org")).startswith("550 ")
    assert (await rcpt(client, "b@example.org")).startswith("421 ")
    await tasks_have_run()
    assert desk.recorder.of("ban") == []
    assert (await desk.connect(service="submission").read())[0].startswith("220 ")


@pytest.mark.parametrize("decoy", ["zz@example.org", "ZZ+x@Example.org"])
async def test_two_decoys_give_a_harvester_away_whatever_else_it_sends(decoy: str) -> None:
    desk = harvesting(decoys=("zz@example.org",), decoy_cost=4, free=9)
    for _ in range(2):
        client = await mail(desk)
        for _ in range(30):
            await rcpt(client, "ada@example.org")
        client.hang_up()
    client = await mail(desk)
    assert (await rcpt(client, decoy)).startswith("550 5.1.1 ")
    assert (await rcpt(client, decoy)).startswith("421 4.7.0 ")
    client.hang_up()
    await tasks_have_run()
    assert [event.details["network"] for event in desk.recorder.of("ban")] == ["192.0.2.7"]


async def test_without_counters_mail_goes_on() -> None:
    desk = harvesting(limit=recipient_harvest.Quota(1, 3600.0))
    client = await mail(desk)
    desk.standing.fail = True
    for name in "abc":
        assert (await rcpt(client, f"{name}@example.org")).startswith("550 5.1.1 ")


async def test_a_trusted_peer_brings_the_mail_of_others_and_is_not_counted() -> None:
    desk = Desk(
        trusted=["192.0.2.7/32"],
        policy={"recipient.harvest": recipient_harvest.Settings(limit=recipient_harvest.Quota(1, 3600.0), free=0)},
    )
    client = await mail(desk)
    for name in "abcd":
        assert (await rcpt(client, f"{name}@example.org")).startswith("550 5.1.1 ")


async def test_in_shadow_nothing_is_slow_and_nobody_is_banned() -> None:
    desk = harvesting(limit=recipient_harvest.Quota(1, 3600.0), free=0, mode="shadow")
    client = await mail(desk)
    for name in "abcd":
        assert (await rcpt(client, f"{name}@example.org")).startswith("550 5.1.1 ")
    await tasks_have_run()
    assert desk.recorder.of("ban") == []
