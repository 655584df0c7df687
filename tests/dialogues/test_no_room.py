"""No room for messages: each is answered 452, few have an event of their own, and none is refused for good."""

from __future__ import annotations

from dataclasses import replace

from tests.support.desk import Client, Desk

from gatepost.gate.shedding import ONE_BY_ONE, ROOM
from gatepost.intake.content import HeldHeaders

OPENING = b"EHLO c.example\r\nMAIL FROM:<bob@example.net>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n"
HEADER = b"From: bob@example.net\r\nX-Long: " + b"x" * 500 + b"\r\n"


async def bring(client: Client) -> str:
    """The answer to a message."""
    await client.say(OPENING)
    return (await client.say(HEADER + b"\r\nhello\r\n.\r\n"))[-1]


async def test_a_full_disk_does_not_fill_the_record() -> None:
    desk = Desk()
    desk.spool.room = 10
    for _ in range(ONE_BY_ONE + 30):
        client = desk.connect()
        await client.read()
        assert await bring(client) == "452 4.3.1 Insufficient system storage, try again later"
    assert len(desk.recorder.of("smtp.message")) == ONE_BY_ONE
    desk.door.shedding.close()
    (event,) = desk.recorder.of("server")
    assert event.details["refused"] == {ROOM: ONE_BY_ONE + 30}
    assert not desk.spool.entries


async def test_header_sections_that_arrive_are_bounded_together_and_one_that_is_cut_is_not_refused_for_good() -> None:
    desk = Desk()
    desk.parts = replace(desk.parts, headers=HeldHeaders(limit=1200))
    slow = [desk.connect(ip=f"192.0.2.{number}") for number in range(2)]
    for client in slow:
        await client.read()
        await client.say(OPENING)
        client.session.data_received(HEADER)
    late = desk.connect(ip="192.0.2.9")
    await late.read()
    await late.say(OPENING)
    late.session.data_received(b"Subject: " + b"x" * 300 + b"\r\n")  # From would have come later
    assert desk.parts.headers.octets == 2 * (len(HEADER) - 2)  # a CRLF may begin the end of data, and waits
    assert (await late.say(b"From: bob@example.net\r\n\r\nhello\r\n.\r\n"))[-1].startswith("452 4.3.1 ")
    assert (await slow[0].say(b"\r\nhello\r\n.\r\n"))[-1].startswith("250 ")
    slow[1].hang_up()
    assert desk.parts.headers.octets == 0
    assert (await bring(late)).startswith("250 ")
