"""What sessions leave on the record is what detectors and the report understand: the two sides agree about events."""

from __future__ import annotations

import base64

import msgspec
from tests.dialogues.test_grants import ADA, FAR, counter, may_send, read_mail
from tests.dialogues.test_limits import logged_in, sent, stranger
from tests.support.desk import Desk

from gatepost.audit.criteria import stamp
from gatepost.audit.detectors.observe import seen_in
from gatepost.audit.lines import Line, read_line
from gatepost.audit.report import Counting
from gatepost.policy.checks import recipient_harvest

HOME = "192.0.2.7"


def lines(desk: Desk) -> list[Line]:
    """The record as its readers have it."""
    found = []
    for event in desk.recorder.events:
        event.time = stamp(desk.clock.unix())
        line = read_line(msgspec.json.encode(event, enc_hook=str))
        assert line is not None
        found.append(line)
    return found


def seen(desk: Desk) -> list[tuple[str, str, str, int]]:
    """(deed, network, account or recipient, how often) of everything."""
    return [
        (each.deed, each.network, each.account or each.whom, each.count)
        for line in lines(desk)
        for each in seen_in(line)
    ]


async def test_logins_good_and_bad() -> None:
    desk = Desk()
    await logged_in(desk, ip="2001:db8::7")
    client = desk.connect("submissions", HOME, tls=True)
    await client.read()
    await client.say(b"EHLO c.example\r\n")
    for name in ("ada@example.org", "nobody@example.org"):
        token = base64.b64encode(f"\0{name}\0wrong".encode()).decode()
        assert (await client.line(f"AUTH PLAIN {token}")).startswith("535")
    first, second, third = seen(desk)
    assert first == ("login", "2001:db8::/64", ADA, 1)
    assert second == ("failure", HOME, ADA, 1)
    assert third[:2] == ("failure", HOME)
    assert "@" not in third[2]  # what is no account is hidden, and no account is suspected for it


async def test_recipients_of_strangers() -> None:
    desk = Desk()
    client = await stranger(desk, HOME)
    await client.line("MAIL FROM:<s@far.example>")
    for recipient in ("ada@example.org", "Nobody@example.org", FAR):
        await client.line(f"RCPT TO:<{recipient}>")
    await client.line("RSET")
    assert seen(desk) == [
        ("known", HOME, "", 1), ("unknown", HOME, "nobody@example.org", 1), ("relay", HOME, FAR, 1),
    ]  # fmt: skip


async def test_a_harvester_is_seen_while_it_is_slowed_down_and_when_it_is_sent_away() -> None:
    desk = Desk(policy={recipient_harvest.NAME: recipient_harvest.Settings(wait=0.0)})
    names = [f"name{number}@example.org" for number in range(31)]
    client = await stranger(desk, HOME)
    await client.line("MAIL FROM:<s@far.example>")
    for name in names:
        reply = await client.line(f"RCPT TO:<{name}>")
    assert reply.startswith("421")
    client.hang_up()
    assert {whom for deed, _, whom, _ in seen(desk) if deed == "unknown"} == set(names)


async def test_what_an_account_sends_by_login_and_by_grant() -> None:
    desk = Desk()
    await sent(await logged_in(desk, ip=HOME))
    assert seen(desk)[-1] == ("sent", HOME, ADA, 1)
    at = counter()
    await read_mail(at)
    assert await may_send(at)
    assert all(deed != "relay" for deed, *_ in seen(at.desk))


async def test_the_report_names_a_device_that_depends_on_a_grant() -> None:
    at = counter()
    await read_mail(at)
    for _ in range(2):
        assert await may_send(at)
    counting = Counting(at.desk.clock.unix() - 10, at.desk.clock.unix() + 10)
    for line in lines(at.desk):
        counting.take(line)
    (row,) = counting.report().grants
    assert (row["account"], row["network"], row["grants"], row["messages"]) == (ADA, HOME, 1, 2)
