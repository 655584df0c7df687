"""How limits are gathered and counted: in one step, by memories that answer at once and later; or only read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, cast

import pytest
from tests.policy import facts as f
from tests.support.desk import Desk
from tests.support.memory_standing import MemoryStanding

from gatepost.gate import gather_rates
from gatepost.gate.ledger import Ledger
from gatepost.gate.session import GateSession
from gatepost.mail.reply import Reply
from gatepost.mail.units import Quota
from gatepost.policy.check import CheckSettings
from gatepost.policy.checks import recipient_rate, sender_rate
from gatepost.policy.findings import Unavailable
from gatepost.policy.limits import Allowance, Charged
from gatepost.ports.wire import Peer
from gatepost.standing.port import Operation

LOGIN: dict[str, Any] = {"service": "submission", "login": "ada@example.org", "tls_version": "TLSv1.3"}
HOUR = 3600.0


class Counting(MemoryStanding):
    """Tells what it was asked. later: it answers as one on another host does."""

    def __init__(self, later: bool = False) -> None:
        super().__init__()
        self.later = later
        self.tallies: list[list[Operation]] = []

    def tally(self, operations: Sequence[Operation], now: float) -> Any:
        self.tallies.append(list(operations))
        results = super().tally(operations, now)
        return self._later(results) if self.later else results

    def recall(self, table: Any, key: str, now: float) -> Any:
        found = super().recall(table, key, now)
        return self._later(found) if self.later else found

    async def _later(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value


def gate(standing: MemoryStanding, **policy: CheckSettings) -> GateSession:
    """A session of submission whose limits are few."""
    settings = {name.replace("_", "."): value for name, value in policy.items()}
    desk = Desk(policy=settings)
    parts = desk.parts.gate
    object.__setattr__(parts, "standing", standing)
    return GateSession(parts, Peer("192.0.2.7", 40112, "submission"), None)


def three(action: Any = "defer") -> sender_rate.Settings:
    account = Allowance(messages=(Quota(3, HOUR),), recipients=(Quota(9, HOUR),), new_recipients=(Quota(2, HOUR),))
    return sender_rate.Settings(account=account, action=action)


async def now(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) else value


@pytest.fixture(params=[False, True], ids=["at once", "later"])
def standing(request: pytest.FixtureRequest) -> Counting:
    return Counting(request.param)


async def test_a_message_is_counted_against_all_limits_in_one_step(standing: Counting) -> None:
    session = gate(standing, sender_rate=three())
    facts = f.message("ada@example.org", ("a@far.example", "b@far.example"), peer=LOGIN, new={"account": 1})
    found = cast(Charged, await now(gather_rates.charged(session, facts)))
    assert len(standing.tallies) == 1
    assert found.fits
    assert [(level.limit.unit, level.used) for level in found.levels] == [
        ("messages", 1), ("recipients", 2), ("new_recipients", 1),
    ]  # fmt: skip


async def test_a_message_over_one_limit_is_counted_against_none(standing: Counting) -> None:
    session = gate(standing, sender_rate=three())
    facts = f.message("ada@example.org", peer=LOGIN, new={"account": 3})
    found = cast(Charged, await now(gather_rates.charged(session, facts)))
    assert not found.fits
    levels = await now(gather_rates.allowances(session, f.mail("ada@example.org", **LOGIN)))
    assert [level.used for level in levels] == [0, 0, 0]


async def test_asking_only_reads(standing: Counting) -> None:
    for action in ("defer", "hold"):
        session = gate(standing, sender_rate=three(action), recipient_rate=recipient_rate.Settings(mode="enforce"))
        limit = f.level("messages", 0, "60/1h", subject="recipient", of="ada@example.org").limit
        facts = f.message("ada@example.org", peer=LOGIN, recipient_limits=(limit,))
        counted = [await now(gather_rates.charged(session, facts, count=False)) for _ in range(5)]
        assert all(found == counted[0] for found in counted)
        assert counted[0].fits
        assert counted[0].full == ()
        assert (await now(gather_rates.charged(session, facts))).levels[0].used == 1
        standing._arrivals.clear()


async def test_a_question_about_a_message_that_does_not_fit_is_answered_too(standing: Counting) -> None:
    session = gate(standing, sender_rate=three("hold"))
    facts = f.message("ada@example.org", peer=LOGIN)
    for _ in range(3):
        await now(gather_rates.charged(session, facts))
    asked = [await now(gather_rates.charged(session, facts, count=False)) for _ in range(5)]
    assert [(found.fits, found.spare_fits) for found in asked] == [(False, True)] * 5


async def test_what_is_taken_back_was_never_counted(standing: Counting) -> None:
    recipients = recipient_rate.Settings(mode="enforce", messages=(Quota(1, HOUR),))
    session = gate(standing, sender_rate=three("hold"), recipient_rate=recipients)
    limits = tuple(recipient_rate.recipient_limits(recipients, name)[0] for name in ("a@far.example", "b@far.example"))
    for spare in (0, 3):  # counted against the allowance; held, when that is used up
        facts = f.message("ada@example.org", peer=LOGIN, recipient_limits=limits)
        before = dict(standing._arrivals)
        found = await now(gather_rates.charged(session, facts))
        assert (found.fits, found.spare_fits) == (not spare, bool(spare))
        whole = f.message("ada@example.org", peer=LOGIN, recipient_limits=limits, charged=found)
        await now(standing.tally(gather_rates.taken_back(whole), session.parts.clock.unix()))
        left = {key: units for key, (units, _) in standing._arrivals.items() if units}
        assert left == {key: units for key, (units, _) in before.items() if units}
        for _ in range(3 - spare):
            await now(gather_rates.charged(session, f.message("ada@example.org", peer=LOGIN)))


async def test_without_a_limit_nothing_is_asked(standing: Counting) -> None:
    """Strangers have none by default: their mail costs no look at the counters."""
    session = gate(standing)
    assert gather_rates.allowances(session, f.mail()) == ()
    assert gather_rates.unseen(session, f.rcpt()) == ()
    assert gather_rates.charged(session, f.message()) == Charged()
    assert standing.tallies == []
    off = gate(standing, sender_rate=sender_rate.Settings(mode="off"))
    assert gather_rates.charged(off, f.message(peer=LOGIN)) == Charged()
    assert standing.tallies == []


async def test_mail_of_an_account_costs_one_look_and_one_step(standing: Counting) -> None:
    session = gate(standing)
    await now(gather_rates.allowances(session, f.mail("ada@example.org", **LOGIN)))
    await now(gather_rates.charged(session, f.message("ada@example.org", peer=LOGIN)))
    assert len(standing.tallies) == 2


async def test_what_cannot_be_read_is_unavailable(standing: Counting) -> None:
    session = gate(standing, sender_rate=three(), recipient_rate=recipient_rate.Settings(mode="enforce"))
    standing.fail = True
    mail, rcpt = f.mail("ada@example.org", **LOGIN), f.rcpt(sender="ada@example.org", **LOGIN)
    for found in (
        gather_rates.allowances(session, mail),
        gather_rates.recipient_levels(session, rcpt),
        gather_rates.charged(session, f.message(peer=LOGIN)),
    ):
        assert isinstance(await now(found), Unavailable)


async def test_whom_a_sender_knows_is_remembered_by_each_subject(standing: Counting) -> None:
    session = gate(standing, sender_rate=three())
    ledger = Ledger(session)
    ledger.begin(f.mail("ada@example.org", allowances=(f.level("new_recipients", 0),), **LOGIN))
    for recipient in ("A@far.example", "b@far.example"):
        facts = f.rcpt(recipient, "foreign", sender="ada@example.org", **LOGIN)
        unseen = await now(gather_rates.unseen(session, facts))
        assert unseen == ("account",)
        ledger.accept(f.rcpt(recipient, "foreign", sender="ada@example.org", unseen=unseen, **LOGIN))
    assert ledger.new == {"account": 2}
    await ledger.taken()
    known = f.rcpt("a@FAR.example", "foreign", sender="ada@example.org", **LOGIN)
    assert await now(gather_rates.unseen(session, known)) == ()
    bob = f.rcpt("a@far.example", "foreign", sender="bob@example.org", **{**LOGIN, "login": "bob@example.org"})
    assert await now(gather_rates.unseen(session, bob)) == ("account",)


async def test_a_ledger_counts_later_where_the_counters_are_elsewhere(standing: Counting) -> None:
    session = gate(standing, sender_rate=three())
    levels = await now(gather_rates.allowances(session, f.mail("ada@example.org", **LOGIN)))
    ledger = Ledger(session)
    ledger.begin(f.mail("ada@example.org", allowances=levels, **LOGIN))
    ledger.accept(f.rcpt("a@far.example", "foreign", sender="ada@example.org", **LOGIN))
    ledger.refuse(Reply(550, "5.1.1", "no"))
    ledger.refuse(Reply(450, "4.2.1", "not now"))
    ledger.end(None)
    await asyncio.sleep(0.01)
    levels = await now(gather_rates.allowances(session, f.mail("ada@example.org", **LOGIN)))
    assert [(level.limit.unit, level.used, level.spare_used) for level in levels] == [
        ("messages", 0, 1), ("recipients", 0, 2), ("new_recipients", 0, 0),
    ]  # fmt: skip


async def test_a_ledger_that_cannot_count_disturbs_nobody(standing: Counting) -> None:
    session = gate(standing, sender_rate=three())
    ledger = Ledger(session)
    ledger.begin(f.mail("ada@example.org", allowances=(f.level("recipients", 0),), **LOGIN))
    standing.fail = True
    ledger.refuse(Reply(550, "5.1.1", "no"))
    ledger.end(None)
    await asyncio.sleep(0)


async def test_more_than_the_spare_allowance_holds_uses_it_up(standing: Counting) -> None:
    """It was not counted at all: what exceeds a rate is not."""
    session = gate(standing, sender_rate=three())
    levels = await now(gather_rates.allowances(session, f.mail("ada@example.org", **LOGIN)))
    ledger = Ledger(session)
    ledger.begin(f.mail("ada@example.org", allowances=levels, **LOGIN))
    for number in range(12):
        ledger.accept(f.rcpt(f"u{number}@far.example", "foreign", sender="ada@example.org", **LOGIN))
    ledger.end(Reply(554, "5.6.0", "no"))
    await asyncio.sleep(0.01)
    levels = await now(gather_rates.allowances(session, f.mail("ada@example.org", **LOGIN)))
    assert {level.limit.unit: level.spare_used for level in levels}["recipients"] == 9
