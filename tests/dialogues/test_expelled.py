"""Dialogues that a ban ends: the peer was there before it."""

from __future__ import annotations

import asyncio

import pytest
from tests.pickup.counter import Counter
from tests.support.desk import PASSWORD, Client, Desk

from gatepost.gate import expelling
from gatepost.gate.bans import remember_admin
from gatepost.policy.check import CheckSettings
from gatepost.standing.port import StandingError

IP = "192.0.2.7"


async def ban(desk: Desk, network: str = IP, by: str = "") -> None:
    """A ban is laid elsewhere, and this worker looks."""
    assert await desk.door.bans.lay(network, 3600.0, "harvesting", "01ARZ3NDEKTSV4RRFFQ69G5FAV", by)
    await desk.door.expelling.look()


async def ready(desk: Desk, ip: str = IP, service: str = "mx") -> Client:
    client = desk.connect(service, ip)
    await client.read()
    await client.line("EHLO client.example.net")
    return client


async def test_a_session_that_says_nothing_is_sent_away_and_its_neighbour_stays() -> None:
    desk = Desk()
    client, neighbour = await ready(desk), await ready(desk, "192.0.2.8")
    await ban(desk)
    (line,) = await client.read()
    assert line.startswith("421 4.7.0 Your network is banned for abuse until ")
    assert client.wire.is_closed
    assert await neighbour.line("NOOP") == "250 2.0.0 Ok"
    client.hang_up()
    (event,) = desk.recorder.of("smtp.session")
    told = event.verdicts[-1]
    assert (told.check, told.mode, told.verdict) == ("client.banned", "enforce", "defer")
    assert "harvesting" in told.reason
    assert line in event.dialogue[-1]


async def test_a_person_s_ban_ends_a_session_with_421_too_and_one_on_a_network_all_its_sessions() -> None:
    desk = Desk()
    clients = [await ready(desk, f"192.0.2.{host}") for host in (7, 8)]
    await ban(desk, "192.0.2.0/24", by="root")
    for client in clients:
        (line,) = await client.read()
        assert line.startswith("421 4.7.0 Your network is banned until ")
        assert client.wire.is_closed


async def test_content_that_is_still_coming_is_not_taken() -> None:
    desk = Desk()
    client = await ready(desk)
    for line in ("MAIL FROM:<bob@example.net>", "RCPT TO:<ada@example.org>", "DATA", "Subject: half"):
        await client.line(line)
    await ban(desk)
    (line,) = await client.read()
    assert line.startswith("421 4.7.0 ")
    client.hang_up()
    assert not desk.spool.entries
    assert all(content.is_discarded for content in desk.spool.contents)


async def test_a_message_that_is_being_kept_has_its_250_before_the_session_ends() -> None:
    desk = Desk()
    desk.spool.hold = asyncio.Event()
    client = await ready(desk)
    for line in ("MAIL FROM:<bob@example.net>", "RCPT TO:<ada@example.org>", "DATA"):
        await client.line(line)
    client.session.data_received(b"From: bob@example.net\r\n\r\nhello\r\n.\r\nNOOP\r\n")
    await asyncio.sleep(0)
    await ban(desk)
    assert not client.wire.take()
    desk.spool.hold.set()
    taken, gone = await client.read()  # and NOOP is not heard
    assert taken.startswith("250 2.0.0 ")
    assert gone.startswith("421 4.7.0 ")
    assert len(desk.spool.entries) == 1


async def test_a_handshake_is_not_disturbed_and_the_session_inside_ends() -> None:
    desk = Desk()
    client = await ready(desk)
    assert await client.line("STARTTLS") == "220 2.0.0 Ready to start TLS"
    await ban(desk)
    assert not client.wire.take()
    await client.start_tls()
    (line,) = await client.read()
    assert line.startswith("421 4.7.0 ")
    assert client.wire.is_closed


@pytest.mark.parametrize("mode", ["off", "shadow"])
async def test_a_ban_that_is_not_enforced_ends_nothing_and_a_shadow_is_on_the_record_once(mode: str) -> None:
    desk = Desk(policy={"client.banned": CheckSettings(mode=mode)})  # type: ignore[arg-type]
    client = await ready(desk)
    await ban(desk)
    await ban(desk, "198.51.100.7")  # the worker looks again
    assert await client.line("NOOP") == "250 2.0.0 Ok"
    client.hang_up()
    (event,) = desk.recorder.of("smtp.session")
    told = [one.mode for one in event.verdicts if one.check == "client.banned" and one.verdict != "pass"]
    assert told == ([] if mode == "off" else ["shadow"])


async def test_whoever_is_never_banned_stays() -> None:
    desk = Desk(trusted=("192.0.2.9/32",))
    trusted, admin, local = await ready(desk, "192.0.2.9"), await ready(desk, "192.0.2.10"), desk.connect(ip="")
    await local.read()
    await remember_admin(desk.standing, "192.0.2.10", "ada@example.org", desk.clock.unix())
    await ban(desk, "192.0.2.0/24", by="root")
    for client in (trusted, admin):
        assert await client.line("NOOP") == "250 2.0.0 Ok"
    assert not local.wire.is_closed


async def test_who_is_gone_is_not_looked_for_and_nothing_is_looked_up_without_a_new_ban(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    client = await ready(desk)
    client.hang_up()
    assert not desk.door.expelling.present
    await ban(desk)
    await ready(desk, "192.0.2.8")
    monkeypatch.setattr(desk.door.bans, "find", lambda *_: pytest.fail("looked up"))
    await desk.door.expelling.look()


async def test_bans_that_cannot_be_read_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    client = await ready(desk)
    assert await desk.door.bans.lay(IP, 3600.0, "harvesting", "", "")

    def fails(*_: object) -> None:
        raise StandingError("the memory cannot be had")

    with monkeypatch.context() as broken:
        broken.setattr(desk.door.bans, "find", fails)
        with pytest.raises(StandingError):
            await desk.door.expelling.look()
    await desk.door.expelling.look()
    assert client.wire.is_closed


async def test_other_sessions_have_their_turn_while_many_peers_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expelling, "PEERS_AT_ONCE", 2)
    desk = Desk()
    for host in range(7):
        await ready(desk, f"192.0.2.{host}")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going = asyncio.create_task(others())
    await asyncio.sleep(0)
    turns = 0
    await ban(desk, "192.0.2.0/24")
    going.cancel()
    assert turns >= 3


async def test_a_pop3_session_ends_too_and_removes_nothing() -> None:
    counter = Counter()
    client = counter.connect(tls=True)
    await client.octets()
    await client.say("USER ada@example.org", f"PASS {PASSWORD}", "DELE 1")
    await ban(counter.desk)
    (line,) = await client.say()
    assert line.startswith("-ERR [SYS/TEMP] Your network is banned for abuse until ")
    assert client.wire.is_closed
    client.session.connection_lost("")
    again = counter.connect(ip="198.51.100.7", tls=True)
    await again.octets()
    told = await again.say("USER ada@example.org", f"PASS {PASSWORD}", "STAT")
    assert told[-1].startswith("+OK 3 ")


async def test_a_pop3_session_in_its_handshake_ends_inside() -> None:
    counter = Counter()
    client = counter.connect()
    await client.octets()
    await client.say("STLS")
    await ban(counter.desk)
    assert not client.wire.take()
    client.wire.is_upgrading = False
    client.session.wire.tls = counter.connect(tls=True).wire.tls  # type: ignore[misc]
    client.session.tls_started()
    (line,) = await client.say()
    assert line.startswith("-ERR [SYS/TEMP] Your network is banned ")
