"""A question what would be decided reads the counters of single commands and of harvesters, and changes nothing."""

from __future__ import annotations

import asyncio

import pytest
from tests.accounts.memory import MemoryAccounts, RemoteAccounts
from tests.support.desk import Client, Desk, standard_accounts

from gatepost.accounts.certificates import account_named
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account, Domain
from gatepost.gate.gather_commands import command_levels
from gatepost.gate.gather_harvest import harvest, left_to_count
from gatepost.mail.address import NULL_PATH, parse_mailbox
from gatepost.mail.units import Quota
from gatepost.policy.checks import command_budget, recipient_harvest
from gatepost.policy.facts import CommandFacts, RcptFacts, Stage
from gatepost.policy.verdict import Decision


def desk() -> Desk:
    return Desk(
        policy={
            "command.budget": command_budget.Settings(lookups=Quota(1, 3600.0), unknown=Quota(1, 3600.0)),
            "recipient.harvest": recipient_harvest.Settings(limit=Quota(1, 3600.0)),
        }
    )


async def asking(desk: Desk) -> Client:
    client = desk.connect()
    await client.read()
    client.session.gate.only_asks = True
    return client


@pytest.mark.parametrize("verb", ["VRFY", "EXPN", ""])
async def test_budgets_are_read_and_not_used_up(verb: str) -> None:
    server = desk()
    gate = (await asking(server)).session.gate
    facts = CommandFacts(session=gate.facts, verb=verb)
    assert [command_levels(gate, facts).wait for _ in range(3)] == [0.0] * 3
    gate.only_asks = False
    assert [command_levels(gate, facts).wait > 0 for _ in range(2)] == [False, True]
    gate.only_asks = True
    assert command_levels(gate, facts).wait > 0


async def test_a_harvester_in_a_question_is_neither_counted_nor_banned() -> None:
    server = desk()
    client = await asking(server)
    gate = client.session.gate
    unknown = RcptFacts(
        session=gate.facts,
        reverse_path=NULL_PATH,
        forward_path=parse_mailbox("nobody@example.org"),
        resolution="unknown",
    )
    known = RcptFacts(session=gate.facts, reverse_path=NULL_PATH, resolution="account")
    for _ in range(3):
        assert harvest(gate, unknown).is_full is False
        harvest(gate, known)
    assert left_to_count(gate) == []
    gate.only_asks = False
    harvest(gate, unknown)
    gate.only_asks = True
    decided = gate.decide(Stage.RCPT, unknown)
    decision, _ = await decided if not isinstance(decided, tuple) else decided
    assert isinstance(decision, Decision)
    assert decision.verdict is not None
    assert decision.verdict.ban == 3600.0
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.recorder.of("ban") == []


@pytest.mark.parametrize("kind", [MemoryAccounts, RemoteAccounts])
@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("ada@example.org",), "ada@example.org"),
        (("ADA@Example.org",), "ada@example.org"),
        (("nobody@example.org", "no address", "bob@example.org"), "bob@example.org"),
        (("bob@example.org", "ada@example.org"), "bob@example.org"),
        (("info@example.org",), None),  # an alias
        (("ada+x@example.org",), None),
        (("team@example.org", "x@catch.example"), None),
        ((), None),
    ],
)
async def test_a_certificate_is_as_exact_as_a_login(
    kind: type[MemoryAccounts], addresses: tuple[str, ...], expected: str | None
) -> None:
    directory = Directory({"example.org": Domain("example.org")}, kind(*standard_accounts()), "mx.example.org")
    found = account_named(directory, addresses)
    account = found if found is None or isinstance(found, Account) else await found
    assert (account.address if account else None) == expected
