"""Dialogues of an account that is held: what comes from elsewhere is kept and not sent, and its owner goes on."""

from __future__ import annotations

from tests.dialogues.test_limits import few, logged_in, sent
from tests.support.desk import CountingIds, Desk

from gatepost.gate.holds import Holds

ADA = "ada@example.org"
DAY = 86400.0
KEPT = "Message kept but not sent, as your account is held"


def holds(desk: Desk) -> Holds:
    return Holds(desk.standing, desk.recorder, desk.clock, CountingIds())


async def test_a_held_account_sends_from_home_only() -> None:
    desk = Desk()
    await logged_in(desk, ip="198.51.100.7")
    desk.clock.at += 2 * DAY
    thief = await logged_in(desk, ip="203.0.113.66")
    assert await holds(desk).lay(ADA, "sudden rise", "AN-EVENT")
    assert KEPT in await sent(thief)
    owner = await logged_in(desk, ip="198.51.100.200")  # the same /24
    assert KEPT not in await sent(owner)
    bob = await logged_in(desk, "bob@example.org", ip="203.0.113.66")
    assert KEPT not in await sent(bob, sender="bob@example.org")
    frozen = [entry for entry, _ in desk.spool.entries.values() if entry.held]
    assert [(entry.login, entry.client) for entry in frozen] == [(ADA, "203.0.113.66")]
    assert frozen[0].hold_reason == f"sender.held: {ADA} is held by a detector: sudden rise"


async def test_what_is_home_only_since_today_is_no_home() -> None:
    desk = Desk()
    thief = await logged_in(desk, ip="203.0.113.66")
    desk.clock.at += DAY - 1
    await holds(desk).lay(ADA, "sudden rise", "")
    desk.clock.at += 3 * DAY  # and time makes it none
    assert KEPT in await sent(thief)


async def test_a_hold_is_laid_once_and_lifted_by_hand() -> None:
    desk = Desk()
    thief = await logged_in(desk, ip="203.0.113.66")
    assert await holds(desk).lay(ADA, "sudden rise", "AN-EVENT")
    assert not await holds(desk).lay(ADA, "again", "ANOTHER")
    assert await holds(desk).lift(ADA, "root")
    assert not await holds(desk).lift(ADA, "root")
    assert KEPT not in await sent(thief)
    assert [event.details for event in desk.recorder.of("ban")] == [
        {"what": "account held", "account": ADA, "reason": "sudden rise", "event": "AN-EVENT"},
        {"what": "account released", "account": ADA, "by": "root"},
    ]


async def test_what_is_held_is_counted_so_that_it_cannot_fill_the_spool() -> None:
    desk = Desk(policy=few(2))
    thief = await logged_in(desk, ip="203.0.113.66")
    await holds(desk).lay(ADA, "sudden rise", "")
    assert [(await sent(thief))[:3] for _ in range(3)] == ["250", "250", "451"]
