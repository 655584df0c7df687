"""Callouts: whom we ask about a sender, how often, and that it never goes in a circle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.gate.hosts import HOST, NO_USER, SECOND, TAKEN, ScriptedHosts, at_rcpt
from tests.support.clock import HandClock
from tests.support.memory_standing import MemoryStanding

from gatepost.delivery.next_hop import NextHop
from gatepost.gate.callouts import MARK_SECONDS, UNKNOWN_SECONDS, Callouts
from gatepost.gate.later import is_later
from gatepost.mail.address import Path, parse_mailbox
from gatepost.mail.reply import Reply
from gatepost.mail.units import Quota
from gatepost.policy.checks.sender_callout import Settings
from gatepost.policy.findings import AddressAnswer

PEER = "203.0.113.9"
BOB, EVE = parse_mailbox("bob@far.example"), parse_mailbox("eve@far.example")
GREYLISTED = at_rcpt(450, "4.7.1", "Greylisted")


class House:
    def __init__(self, hosts: ScriptedHosts | None = None, **settings: Any) -> None:
        self.hosts = hosts or ScriptedHosts({"bob@far.example": TAKEN})
        self.clock = HandClock()
        self.standing = MemoryStanding()
        self.settings = Settings(mode="enforce", **settings)
        self.callouts = self.worker()

    def worker(self) -> Callouts:
        return Callouts(self.hosts, self.standing, self.clock, self.settings)

    async def answer(self, path: Path, peer: str = PEER, callouts: Callouts | None = None) -> AddressAnswer:
        answer = (callouts or self.callouts).find(peer, path)
        if is_later(answer):
            answer = await answer
        assert isinstance(answer, AddressAnswer)
        return answer

    async def says(self, path: Path, peer: str = PEER) -> str:
        return (await self.answer(path, peer)).says


async def test_the_senders_host_is_asked_whether_it_takes_a_notice() -> None:
    house = House()
    assert await house.says(BOB) == "yes"
    assert await house.says(EVE) == "no"
    assert house.hosts.asked == [
        (HOST.address, "", ["bob@far.example"]),
        (HOST.address, "", ["eve@far.example"]),
    ]
    assert house.hosts.sought == ["far.example"] * 2


async def test_both_answers_are_remembered_for_all_workers_and_have_an_end() -> None:
    house = House(accepted_for=10_000.0, refused_for=1000.0)
    for _ in range(3):
        await house.answer(BOB, callouts=house.worker())
        await house.answer(EVE, callouts=house.worker())
    assert len(house.hosts.asked) == 2
    house.clock.at += 1001
    assert await house.says(BOB) == "yes"
    assert await house.says(EVE) == "no"
    assert len(house.hosts.asked) == 3
    house.clock.at += 10_000
    assert await house.says(BOB) == "yes"
    assert len(house.hosts.asked) == 4


@pytest.mark.parametrize("answer", [GREYLISTED, at_rcpt(550, "5.7.1", "no callouts here")])
async def test_a_host_that_does_not_tell_is_left_alone_for_some_minutes(answer: Any) -> None:
    house = House(ScriptedHosts(other=answer))
    for _ in range(3):
        assert await house.says(BOB) == "unknown"
    assert len(house.hosts.asked) == 1
    house.clock.at += UNKNOWN_SECONDS + 1
    house.hosts.other = NO_USER
    assert await house.says(BOB) == "no"


async def test_the_budget_of_a_domain_is_kept_and_what_is_over_it_is_not_asked() -> None:
    house = House(per_domain=Quota(2, 3600.0))
    said = [await house.says(Path(f"u{number}", "far.example")) for number in range(4)]
    assert said == ["no", "no", "not asked", "not asked"]
    assert len(house.hosts.asked) == 2
    assert await house.says(Path("u9", "other.example")) == "no"
    house.clock.at += 3600
    assert await house.says(Path("u9", "far.example")) == "no"


async def test_the_budget_of_all_domains_is_kept_and_one_that_is_over_it_uses_up_no_other() -> None:
    house = House(total=Quota(2, 3600.0), per_domain=Quota(2, 3600.0))
    said = [await house.says(Path("u", f"d{number}.example")) for number in range(4)]
    assert said == ["no", "no", "not asked", "not asked"]
    house.clock.at += 3600
    said = [await house.says(Path(f"v{number}", "d3.example")) for number in range(2)]
    assert said == ["no", "no"]


async def test_the_peer_itself_is_never_called() -> None:
    house = House()
    assert await house.says(EVE, HOST.address) == "not asked"
    assert not house.hosts.asked
    house.hosts.found = (HOST, SECOND)
    assert await house.says(EVE, HOST.address) == "no"
    assert [host for host, *_ in house.hosts.asked] == [SECOND.address]


async def test_a_host_that_we_are_calling_is_not_called_back() -> None:
    """A host that verifies our callout by a callout of its own would otherwise keep both busy for ever."""
    house = House()
    house.hosts.gate = asyncio.Event()
    calling = asyncio.ensure_future(house.answer(EVE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert house.hosts.asked
    neighbour = "192.0.2.77"  # in the network of the host that is being asked
    other = house.worker()
    back = await house.answer(Path("verify", "far.example"), neighbour, other)
    assert back.says == "not asked"
    house.hosts.gate.set()
    assert (await calling).says == "no"
    assert len(house.hosts.asked) == 1
    house.clock.at += house.settings.timeout + MARK_SECONDS + 1
    assert await house.says(Path("verify", "far.example"), neighbour) == "no"


@pytest.mark.parametrize(
    ("sender", "host", "asked"),
    [
        ("bob@gmail.com", "mx.far.example", False),
        ("bob@mail.gmail.com", "mx.far.example", False),
        ("bob@notgmail.com", "mx.far.example", True),
        ("bob@small.example", "aspmx.l.google.com", False),
        ("bob@small.example", "small-example.mail.protection.outlook.com", False),
    ],
)
async def test_shared_providers_are_not_asked(sender: str, host: str, asked: bool) -> None:
    house = House(ScriptedHosts(found=(NextHop("192.0.2.25", host),)))
    assert await house.says(parse_mailbox(sender)) == ("no" if asked else "not asked")
    assert bool(house.hosts.asked) is asked


async def test_configured_providers_replace_those_that_are_built_in() -> None:
    house = House(providers=("elsewhere.example",))
    assert await house.says(parse_mailbox("bob@mx.elsewhere.example")) == "not asked"
    assert await house.says(parse_mailbox("bob@gmail.com")) == "no"


async def test_a_domain_without_a_mail_host_and_a_host_that_is_down_are_unknown() -> None:
    house = House(ScriptedHosts(found=Reply(451, "4.4.3", "no answer from the DNS")))
    assert await house.says(BOB) == "unknown"
    house = House()
    house.hosts.down = {HOST.address}
    assert await house.says(BOB) == "unknown"


async def test_many_messages_at_once_from_one_sender_ask_once() -> None:
    house = House()
    house.hosts.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(house.says(EVE)) for _ in range(10)]
    await asyncio.sleep(0)
    house.hosts.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"no"}
    assert len(house.hosts.asked) == 1


async def test_without_counters_nobody_is_asked() -> None:
    house = House()
    house.standing.fail = True
    assert await house.says(EVE) == "unknown"
    assert not house.hosts.asked


async def test_a_question_what_would_be_decided_asks_nobody_and_counts_nothing() -> None:
    house = House(per_domain=Quota(1, 3600.0))
    for _ in range(3):
        assert house.callouts.find(PEER, EVE, only_reads=True).says == "not asked"
    assert await house.says(EVE) == "no"
    assert house.callouts.find(PEER, EVE, only_reads=True).says == "no"
