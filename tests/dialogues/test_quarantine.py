"""What a verdict "quarantine" or "hold" makes of a message: kept, answered 250, on the record, and not delivered."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.desk import Client, Desk

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import Stage
from gatepost.policy.verdict import Action, Verdict
from gatepost.spool.model import Hold

CONTENT = b"From: bob@example.net\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nSubject: x\r\n\r\nhello\r\n.\r\n"
KEPT = Reply(250, "2.0.0", "Message kept")
REFUSED = Reply(554, "5.7.1", "No such content here")


def check(
    name: str, action: Action | str, reply: Reply = KEPT, stage: Stage = Stage.MESSAGE, **more: Any
) -> Check:  # "" refuses by the reply's code
    """One that says the same of every message on mx and submissions."""
    verdict = Verdict(name, reply, f"{name} says so", action=action)  # type: ignore[arg-type]
    defaults = {"mx": "enforce", "submissions": "enforce"}
    return Check(name, name, (Step(stage, lambda facts, settings: verdict),), defaults, **more)  # type: ignore[arg-type]


async def sent(desk: Desk, client: Client | None = None) -> str:
    """The reply to a message for ada, from a stranger where no client is given."""
    if client is None:
        client = desk.connect("mx")
        await client.read()
        await client.say(b"EHLO c.example.net\r\n")
    await client.line("MAIL FROM:<bob@example.net>")
    assert (await client.line("RCPT TO:<ada@example.org>")).startswith("250")
    await client.line("DATA")
    return "\n".join(await client.say(CONTENT))


@pytest.mark.parametrize(
    ("action", "held_by", "reply"),
    [
        ("quarantine", Hold.QUARANTINE, "250 2.0.0 Message kept"),
        ("hold", Hold.CHECK, "250 2.0.0 Message kept"),
    ],
)
async def test_the_message_is_kept_and_frozen_and_the_record_says_so(action: Action, held_by: Hold, reply: str) -> None:
    desk = Desk(checks=[check("content.scan", action)])
    assert await sent(desk) == reply
    entry, octets = desk.spool.only
    assert (entry.held_by, entry.hold_reason) == (held_by, "content.scan: content.scan says so")
    assert b"hello" in octets
    (event,) = desk.recorder.of("smtp.message")
    assert event.id == entry.id
    assert event.details["held"] == action
    assert ("content.scan", action) in [(each.check, each.verdict) for each in event.verdicts]


async def test_a_peer_never_hears_a_refusal_of_what_was_kept() -> None:
    """Its server would send it again, or tell the sender that it was lost."""
    desk = Desk(checks=[check("content.scan", "quarantine", REFUSED)])
    assert await sent(desk) == "250 2.0.0 Message accepted"
    assert desk.spool.only[0].held_by is Hold.QUARANTINE


@pytest.mark.parametrize("order", [1, -1])
async def test_a_refusal_wins_over_a_quarantine_whichever_comes_first(order: int) -> None:
    desk = Desk(checks=[check("content.scan", "quarantine"), check("content.other", "", REFUSED)][::order])
    assert (await sent(desk)).startswith("554 5.7.1")
    assert desk.spool.entries == {}
    (event,) = desk.recorder.of("smtp.message")
    assert "held" not in event.details


@pytest.mark.parametrize("order", [1, -1])
async def test_a_quarantine_wins_over_a_hold_whichever_comes_first(order: int) -> None:
    """What a hold waits for must not let out what is in quarantine."""
    desk = Desk(checks=[check("content.scan", "quarantine"), check("sender.slow", "hold")][::order])
    await sent(desk)
    assert desk.spool.only[0].held_by is Hold.QUARANTINE
    assert desk.spool.only[0].hold_reason.startswith("content.scan: ")


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT])
async def test_a_verdict_before_the_message_waits_for_it(stage: Stage) -> None:
    desk = Desk(checks=[check("early", "quarantine", stage=stage)])
    assert await sent(desk) == "250 2.0.0 Message kept"
    assert desk.spool.only[0].held_by is Hold.QUARANTINE


async def test_what_one_transaction_was_to_wait_for_is_not_the_next_ones() -> None:
    seen: list[str] = []

    def decide(facts: Any, settings: CheckSettings) -> Verdict | None:
        seen.append("mail")
        return Verdict("first", KEPT, "the first", action="quarantine") if len(seen) == 1 else None

    desk = Desk(checks=[Check("first", "", (Step(Stage.MAIL, decide),), {"mx": "enforce"})])
    client = desk.connect("mx")
    await client.read()
    await client.say(b"EHLO c.example.net\r\n")
    await sent(desk, client)
    await sent(desk, client)
    assert [entry.held for entry, _ in desk.spool.entries.values()] == [True, False]


async def test_a_shadow_keeps_nothing_back() -> None:
    desk = Desk(checks=[check("content.scan", "quarantine", settings=CheckSettings(mode="shadow"))])
    assert await sent(desk) == "250 2.0.0 Message accepted"
    assert not desk.spool.only[0].held
    (event,) = desk.recorder.of("smtp.message")
    assert "held" not in event.details
    assert ("content.scan", "shadow", "quarantine") in [(e.check, e.mode, e.verdict) for e in event.verdicts]


async def test_what_is_kept_and_cannot_be_recorded_is_not_kept() -> None:
    desk = Desk(checks=[check("content.scan", "quarantine")])
    client = desk.connect("mx")
    await client.read()
    await client.say(b"EHLO c.example.net\r\n")
    await client.line("MAIL FROM:<bob@example.net>")
    await client.line("RCPT TO:<ada@example.org>")
    await client.line("DATA")
    desk.recorder.fails = True
    assert "\n".join(await client.say(CONTENT)).startswith("421 4.3.0")
    assert desk.spool.entries == {}
