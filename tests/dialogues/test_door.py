"""Dialogues with peers that may start no session: what they hear, and what the record keeps."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.accounts.memory import MemoryAccounts
from tests.pickup.counter import Counter
from tests.support.desk import PASSWORD, Desk, talk

from gatepost.accounts.credentials import with_password
from gatepost.accounts.model import Account
from gatepost.gate.flood import ONE_BY_ONE, PERIOD_SECONDS
from gatepost.gate.gateway import LEAST, MANY_ACCOUNTS
from gatepost.gate.session import GateSession
from gatepost.mail.units import Quota
from gatepost.policy.checks import client_access, client_rate
from gatepost.policy.findings import ArrivalWaits, Ban
from gatepost.ports.wire import Peer

IP = "192.0.2.7"


def with_tables(**settings: Any) -> Desk:
    return Desk(policy={"client.access": client_access.Settings(**settings)})


async def banned(by: str = "", **desk: Any) -> Desk:
    made = Desk(**desk)
    assert await made.door.bans.lay(IP, 3600.0, "harvesting", "01ARZ3NDEKTSV4RRFFQ69G5FAV", by)
    return made


DENIED = "554 5.7.1 No service for your address; if that is wrong, tell the postmaster by other means"


async def test_a_denied_peer_is_told_so_instead_of_a_greeting_and_the_record_says_why() -> None:
    desk = await talk(f"S: {DENIED}", with_tables(deny=("192.0.2.0/24",)))
    (session,) = desk.recorder.of("smtp.session")
    (verdict,) = session.verdicts
    assert (verdict.check, verdict.verdict, verdict.reason) == (
        "client.access", "reject", "denied by the configuration",
    )  # fmt: skip
    assert session.dialogue == [f"S: {DENIED} ({session.id})"]


async def test_only_the_listed_start_a_session_where_the_tables_say_so() -> None:
    desk = with_tables(only_listed=True, allow=("198.51.100.0/24",))
    client = desk.connect(ip=IP)
    assert await client.read() == [DENIED]
    assert client.wire.is_closed
    assert await desk.connect(ip="127.0.0.1").read() == [DENIED]
    assert await desk.connect(ip="198.51.100.9").read() == ["220 mx.example.org ESMTP"]
    assert await desk.connect(ip="", service="submission", user="root").read() == ["220 mx.example.org ESMTP"]


async def test_a_silent_refusal_closes_without_a_word_and_is_recorded() -> None:
    desk = with_tables(deny=("192.0.2.0/24",), silent=True)
    client = desk.connect()
    assert await client.read() == []
    assert client.wire.is_closed
    client.hang_up()
    (session,) = desk.recorder.of("smtp.session")
    assert (session.verdicts[0].check, session.dialogue) == ("client.access", [])


async def test_a_peer_waits_for_its_name_to_be_verified_and_comes_later_when_it_cannot_be() -> None:
    desk = with_tables(deny=(".dynamic.example",))
    desk.resolver.put("7.2.0.192.in-addr.arpa", "PTR", "mail.example.net")
    client = desk.connect()
    assert await client.read() == ["220 mx.example.org ESMTP"]
    desk.resolver.fail("7.2.0.192.in-addr.arpa", "PTR")
    client = desk.connect()
    assert await client.read() == ["421 4.4.3 The name of your host cannot be verified now, try again later"]
    assert client.wire.is_closed


async def test_a_ban_of_a_detector_defers_and_a_ban_by_hand_refuses() -> None:
    end = "2025-11-24 17:00 UTC"
    await talk(f"S: 421 4.7.0 Your network is banned for abuse until {end}; try again after that", await banned())
    text = f"Your network is banned until {end}; if that is wrong, tell the postmaster by other means"
    desk = await talk(f"S: 554 5.7.1 {text}", await banned("root"))
    (session,) = desk.recorder.of("smtp.session")
    verdict = session.verdicts[-1]
    assert verdict.check == "client.banned"
    assert verdict.reason == f"{IP} is banned until {end}: harvesting"
    assert isinstance(verdict.facts["ban"], Ban)


async def test_a_ban_ends() -> None:
    desk = await banned()
    desk.clock.at += 3600
    assert await desk.connect().read() == ["220 mx.example.org ESMTP"]


async def test_a_trusted_peer_is_heard_though_a_larger_network_is_banned() -> None:
    desk = Desk(trusted=("192.0.2.7/32",))
    assert await desk.door.bans.lay("192.0.2.0/24", 3600.0, "harvesting", "", "root")
    assert await desk.connect().read() == ["220 mx.example.org ESMTP"]
    assert (await desk.connect(ip="192.0.2.8").read())[0].startswith("554 5.7.1")


async def test_connections_that_come_too_fast_are_told_when_to_come_again() -> None:
    settings = client_rate.Settings(per_address=Quota(2, 60.0), per_prefix=Quota(5, 60.0))
    desk = Desk(policy={"client.rate": settings})

    async def meet(ip: str) -> str:
        return (await desk.connect(ip=ip).read())[0]

    welcome = "220 mx.example.org ESMTP"
    assert [await meet(IP) for _ in range(2)] == [welcome] * 2
    refused = "421 4.7.0 Too many new connections from your network, try again in 30 seconds"
    assert [await meet(IP) for _ in range(20)] == [refused] * 20
    # The flood used up nothing of what its neighbours have.
    assert [await meet("192.0.2.8"), await meet("192.0.2.9"), await meet("192.0.2.10")] == [welcome] * 3
    assert (await meet("192.0.2.11")).startswith("421 4.7.0")
    assert await meet("198.51.100.1") == welcome
    desk.clock.at += 30
    assert [await meet(IP), await meet(IP)] == [welcome, refused]


async def test_a_trusted_peer_may_come_as_fast_as_it_likes() -> None:
    settings = client_rate.Settings(per_address=Quota(1, 60.0))
    desk = Desk(policy={"client.rate": settings}, trusted=("192.0.2.7/32",))
    for _ in range(5):
        assert await desk.connect().read() == ["220 mx.example.org ESMTP"]


async def test_a_check_that_is_off_counts_nothing() -> None:
    desk = Desk(policy={"client.rate": client_rate.Settings(mode="off", per_address=Quota(1, 60.0))})
    for _ in range(3):
        assert await desk.connect().read() == ["220 mx.example.org ESMTP"]
    assert not desk.standing._arrivals


async def test_where_the_memory_cannot_be_had_mail_goes_on() -> None:
    desk = await banned("root")
    desk.standing.fail = True
    assert await desk.connect().read() == ["220 mx.example.org ESMTP"]


async def test_a_flood_of_refused_sessions_is_one_event_and_peers_are_told_its_id() -> None:
    desk = await banned("root")
    last = ""
    for _ in range(ONE_BY_ONE + 40):
        client = desk.connect()
        last = client.wire.take().decode()
        client.hang_up()
    assert len(desk.recorder.of("smtp.session")) == ONE_BY_ONE
    desk.clock.at += PERIOD_SECONDS
    await desk.door.keep()
    flood = desk.recorder.of("smtp.session")[-1]
    assert flood.details["sessions"] == 40
    assert f"({flood.id})" in last


async def test_a_client_that_xclient_names_and_that_is_banned_ends_the_session() -> None:
    desk = await banned("root", trusted=("127.0.0.1/32",))
    client = desk.connect(ip="127.0.0.1", xclient=True)
    assert await client.read() == ["220 mx.example.org ESMTP"]
    await client.line("EHLO proxy.example.net")
    assert (await client.line(f"XCLIENT ADDR={IP}")).startswith("554 5.7.1 Your network is banned")
    assert client.wire.is_closed
    assert desk.standing._at_once.get("conn:all") == 1
    client.hang_up()
    desk.parts.gate.departures.count()
    assert not any(desk.standing._at_once.values())


async def test_xclient_is_for_trusted_peers_only_whatever_the_listener_takes() -> None:
    """Else anybody could say who he is, and get out of a ban or into a network that may relay."""
    desk = Desk(trusted=("127.0.0.1/32",))
    stranger = desk.connect(ip=IP, xclient=True)
    assert await stranger.read() == ["220 mx.example.org ESMTP"]
    assert "XCLIENT" not in await stranger.line("EHLO client.example.net")
    assert (await stranger.line("XCLIENT ADDR=127.0.0.1")).startswith("500 5.5.2")
    await stranger.line("QUIT")
    stranger.hang_up()
    (session,) = desk.recorder.of("smtp.session")
    assert session.client.ip == IP
    trusted = desk.connect(ip="127.0.0.1", xclient=True)
    assert await trusted.read() == ["220 mx.example.org ESMTP"]
    assert "XCLIENT" in await trusted.line("EHLO proxy.example.net")


async def test_pop3_hears_the_same_in_its_own_words() -> None:
    tables = client_access.Settings(deny=("192.0.2.0/24",))
    counter = Counter(policy={"client.access": tables})
    client = counter.connect("pop3s", tls=True)
    (line,) = await client.say()
    assert line.startswith("-ERR [SYS/PERM] No service for your address")
    assert client.wire.is_closed
    assert await counter.desk.door.bans.lay("198.51.100.7", 3600.0, "guessing", "")
    (line,) = await counter.connect("pop3s", "198.51.100.7", tls=True).say()
    assert line.startswith("-ERR [SYS/TEMP] Your network is banned for abuse until")


async def test_pop3_can_be_refused_without_a_word_too() -> None:
    tables = client_access.Settings(deny=("192.0.2.0/24",), silent=True)
    counter = Counter(policy={"client.access": tables})
    client = counter.connect("pop3s", tls=True)
    assert await client.octets() == b""
    assert client.wire.is_closed
    client.hang_up()
    (session,) = counter.desk.recorder.of("pop3.session")
    assert session.verdicts[0].check == "client.access"


async def test_a_question_what_would_be_decided_counts_nothing() -> None:
    desk = Desk(policy={"client.rate": client_rate.Settings(per_address=Quota(1, 60.0))})
    for _ in range(3):
        session = GateSession(desk.parts.gate, Peer(IP, 40112, "mx"), None)
        session.only_asks = True
        decided = session.connect()
        assert isinstance(decided, tuple)
        assert decided[1].arrivals == ArrivalWaits(0.0, 0.0)
    assert not any(desk.standing._at_once.values())
    assert await desk.connect().read() == ["220 mx.example.org ESMTP"]


async def test_an_administrator_who_logs_in_cannot_be_banned_from_there_for_a_day() -> None:
    admin = with_password(Account("ada@example.org", role="admin"), PASSWORD, 0.0)
    counter = Counter(accounts=MemoryAccounts(admin))
    client = counter.connect("pop3s", tls=True)
    await client.say("USER ada@example.org", f"PASS {PASSWORD}")
    assert not await counter.desk.door.bans.lay(IP, 3600.0, "guessing", "")
    assert await counter.desk.door.bans.lay("192.0.2.8", 3600.0, "guessing", "")
    counter.desk.clock.at += 86400
    assert await counter.desk.door.bans.lay(IP, 3600.0, "guessing", "")


async def test_a_user_who_logs_in_can_be_banned() -> None:
    counter = Counter()
    client = counter.connect("pop3s", tls=True)
    assert (await client.say("USER ada@example.org", f"PASS {PASSWORD}"))[-1].startswith("+OK")
    assert await counter.desk.door.bans.lay(IP, 3600.0, "guessing", "")


async def test_a_proxy_in_front_is_noticed_by_the_sessions_that_come_through_it_and_not_banned() -> None:
    counter = Counter(policy={"client.rate": client_rate.Settings(mode="off")})
    for _ in range(LEAST):
        counter.connect("pop3s", "172.17.0.1", tls=True).hang_up()
    await counter.desk.door.keep()
    assert [what for what, _ in counter.desk.alerts] == ["gateway"]
    assert not await counter.desk.door.bans.lay("172.17.0.1", 3600.0, "guessing", "")


async def test_good_logins_of_several_accounts_show_a_gateway_on_the_internet() -> None:
    names = [f"user{number}@example.org" for number in range(MANY_ACCOUNTS)]
    one = with_password(Account("ada@example.org"), PASSWORD, 0.0)
    accounts = MemoryAccounts(*(msgspec.structs.replace(one, address=name) for name in names))
    counter = Counter(policy={"client.rate": client_rate.Settings(mode="off")}, accounts=accounts)
    for _ in range(LEAST - MANY_ACCOUNTS):
        counter.connect("pop3s", tls=True).hang_up()
    for name in names:
        await counter.desk.door.keep()
        assert not counter.desk.alerts
        client = counter.connect("pop3s", tls=True)
        assert (await client.say(f"USER {name}", f"PASS {PASSWORD}"))[-1].startswith("+OK")
        client.hang_up()
    await counter.desk.door.keep()
    assert counter.desk.alerts
