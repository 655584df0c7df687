"""Peers that send an octet every few minutes, so that they are never silent and never done."""

from __future__ import annotations

import pytest
from tests.pickup.counter import Counter
from tests.support.desk import Client, Desk

from gatepost.protocol.smtp.limits import CONTENT_GRACE, CONTENT_OCTETS_A_SECOND

ENVELOPE = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\n"
SLOW = "421 4.4.2 Timeout: the content comes too slowly"
IDLE = "421 4.4.2 Timeout: no command for too long"


async def begin(said: bytes) -> Client:
    client = Desk().connect()
    await client.read()
    await client.say(ENVELOPE + said)
    return client


async def drip(client: Client, octets: bytes, every: float, times: int) -> list[str]:
    """Send `octets` so often, so many seconds apart, while timers fire when they are due; the lines until the end."""
    clock, heard = client.desk.clock, []
    for _ in range(times):
        until = clock.at + every
        while due := [timer for timer in client.wire.timers if not timer.is_cancelled and timer.due <= until]:
            due[0].is_cancelled = True
            clock.at = max(clock.at, due[0].due)
            due[0].callback()
            if client.wire.is_closed:
                return heard + await client.read()
        clock.at = until
        heard += await client.say(octets)
    return heard


@pytest.mark.parametrize("begins", [b"DATA\r\n", b"BDAT 100000 LAST\r\n"], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("octet", [b"x", b"\r\n"])
async def test_content_that_drips_ends_and_the_record_says_why(begins: bytes, octet: bytes) -> None:
    client = await begin(begins)
    before = client.desk.clock.at
    assert await drip(client, octet, 100, 200) == [SLOW]
    assert client.desk.clock.at - before <= 601  # a window that begins just after it was asked for is full by then
    client.hang_up()
    (event,) = client.desk.recorder.of("smtp.session")
    assert event.details["lost"].startswith("the content came too slowly: ")
    assert event.dialogue[-1] == f"S: {SLOW}"
    assert not client.desk.spool.entries


async def test_chunks_of_an_octet_are_one_message_that_drips() -> None:
    client = await begin(b"")
    heard = await drip(client, b"BDAT 1\r\nx", 100, 200)
    assert heard[-1] == SLOW
    assert heard[0] == "250 2.0.0 1 octets received"


async def test_content_that_is_dropped_is_counted_too() -> None:
    client = Desk().connect()
    await client.read()
    assert (await client.say(b"EHLO c.example\r\nBDAT 100000 LAST\r\n"))[0] == "250-mx.example.org"
    assert await drip(client, b"x", 100, 200) == [SLOW]


async def test_a_message_that_comes_slowly_but_steadily_is_taken() -> None:
    """30 octets a second, a modem of 300 baud: half an hour of it is a message."""
    client = await begin(b"DATA\r\nFrom: a@b.example\r\n\r\n")
    assert await drip(client, b"x" * 898 + b"\r\n", 30, 45) == []
    assert await client.say(b".\r\n") == ["250 2.0.0 Message accepted"]


async def test_a_message_that_is_steadily_below_the_average_ends_after_half_an_hour() -> None:
    client = await begin(b"DATA\r\nFrom: a@b.example\r\n\r\n")
    before = client.desk.clock.at
    assert await drip(client, b"x" * 898 + b"\r\n", 30, 1000) == [SLOW]
    lasted = client.desk.clock.at - before
    grace = CONTENT_GRACE.total_seconds()
    assert grace < lasted <= grace + 330 + lasted * 30 / CONTENT_OCTETS_A_SECOND


async def test_a_pause_of_four_minutes_in_a_message_is_no_fault() -> None:
    client = await begin(b"DATA\r\nFrom: a@b.example\r\n\r\n")
    assert await drip(client, b"x" * 898 + b"\r\n", 1, 5) == []
    assert await drip(client, b"x" * 898 + b"\r\n", 240, 4) == []
    assert await client.say(b".\r\n") == ["250 2.0.0 Message accepted"]


@pytest.mark.parametrize("sender", [b"", b"a@b.example"], ids=["answered at once", "answered after a look-up"])
async def test_a_session_that_sends_small_messages_now_and_then_is_no_drip(sender: bytes) -> None:
    client = await begin(b"RSET\r\n")
    mail = b"MAIL FROM:<" + sender + b">\r\nRCPT TO:<ada@example.org>\r\nDATA\r\nFrom: a@b.example\r\n\r\nhi\r\n.\r\n"
    heard = await drip(client, mail, 200, 20)
    assert heard.count("250 2.0.0 Message accepted") == 20
    assert SLOW not in heard


async def test_what_the_peer_waits_for_us_is_not_its_time() -> None:
    client = await begin(b"BDAT 3\r\nabc")
    client.desk.clock.at += 100
    session = client.session
    assert session._pace is not None
    session._use(_an_hour(client), lambda _: None)
    await client.read()
    assert await drip(client, b"BDAT 2000\r\n" + b"x" * 2000, 100, 2) == [
        "250 2.0.0 2003 octets received",
        "250 2.0.0 4003 octets received",
    ]


async def _an_hour(client: Client) -> None:
    client.desk.clock.at += 3600


async def test_a_command_line_that_drips_is_no_command() -> None:
    client = await begin(b"")
    before = client.desk.clock.at
    assert await drip(client, b"x", 100, 200) == [IDLE]
    assert client.desk.clock.at - before <= 301


async def test_a_response_to_auth_that_drips_is_none() -> None:
    client = Desk().connect("submissions", tls=True)
    await client.read()
    await client.say(b"EHLO c.example\r\nAUTH LOGIN\r\n")
    assert await drip(client, b"x", 100, 200) == [IDLE]


async def test_a_pop3_command_that_drips_is_none() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.octets()
    for _ in range(20):
        counter.desk.clock.at += 100
        for timer in [
            each for each in client.wire.timers if not each.is_cancelled and each.due <= counter.desk.clock.at
        ]:
            timer.is_cancelled = True
            timer.callback()
        await client.octets(b"x")
    assert client.wire.is_closed
    client.hang_up()
    (event,) = counter.desk.recorder.of("pop3.session")
    assert event.details["lost"] == "silent for 600 seconds"
