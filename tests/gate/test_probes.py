"""Recipient probes: what is asked of a next hop, how often, and what is remembered."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.gate.hosts import HOST, NO_USER, SECOND, TAKEN, ScriptedHosts, at_rcpt
from tests.support.clock import HandClock
from tests.support.memory_standing import MemoryStanding

from gatepost.gate.later import is_later
from gatepost.gate.probes import REFUSES_SECONDS, TAKES_ALL_SECONDS, UNKNOWN_SECONDS, Probes
from gatepost.mail.address import Path, parse_mailbox
from gatepost.mail.reply import Reply
from gatepost.policy.checks.recipient_exists import Settings
from gatepost.policy.findings import AddressAnswer

ADA, EVE = parse_mailbox("ada@inner.example"), parse_mailbox("eve@inner.example")


class House:
    def __init__(self, hosts: ScriptedHosts, **settings: Any) -> None:
        self.hosts = hosts
        self.clock = HandClock()
        self.standing = MemoryStanding()
        self.alerts: list[str] = []
        self.settings = Settings(**settings)
        self.probes = self.worker()

    def worker(self) -> Probes:
        """Another worker of the same server."""
        return Probes(self.hosts, self.standing, self.clock, self.settings, self.alerts.append)

    async def says(self, path: Path, probes: Probes | None = None) -> str:
        answer = (probes or self.probes).find(path)
        if is_later(answer):
            answer = await answer
        assert isinstance(answer, AddressAnswer)
        return answer.says


async def test_the_next_hop_is_asked_from_the_null_sender_and_a_name_that_nobody_has_beside_it() -> None:
    house = House(ScriptedHosts({"ada@inner.example": TAKEN}))
    assert await house.says(ADA) == "yes"
    (host, sender, (first, random)) = house.hosts.asked[0]
    assert (host, sender, first) == (HOST.address, "", "ada@inner.example")
    assert random.endswith("@inner.example")
    assert len(random.partition("@")[0]) > 30


async def test_both_answers_are_remembered_for_all_workers_and_have_an_end() -> None:
    house = House(ScriptedHosts({"ada@inner.example": TAKEN}), accepted_for=1000.0, refused_for=100.0)
    other = house.worker()
    assert await house.says(ADA) == "yes"
    assert await house.says(EVE) == "no"
    asked = len(house.hosts.asked)
    assert await house.says(parse_mailbox("Eve@inner.example"), other) == "no"
    assert not is_later(other.find(ADA))
    house.clock.at += 101
    assert await house.says(ADA, other) == "yes"
    assert len(house.hosts.asked) == asked
    assert await house.says(EVE) == "no"
    assert len(house.hosts.asked) == asked + 1
    house.clock.at += 1000
    assert await house.says(ADA) == "yes"
    assert len(house.hosts.asked) == asked + 2


async def test_the_name_that_nobody_has_is_asked_about_once_a_day() -> None:
    house = House(ScriptedHosts({"ada@inner.example": TAKEN, "bob@inner.example": TAKEN}))
    for name in ("ada", "bob"):
        assert await house.says(Path(name, "inner.example")) == "yes"
    assert [len(recipients) for *_, recipients in house.hosts.asked] == [2, 1]
    house.clock.at += REFUSES_SECONDS + 1
    assert await house.says(ADA) == "yes"
    assert len(house.hosts.asked[-1][2]) == 2


async def test_a_next_hop_that_takes_every_name_is_noticed_and_left_alone() -> None:
    house = House(ScriptedHosts(other=TAKEN))
    assert await house.says(ADA) == "yes"
    assert await house.says(EVE) == "not asked"
    assert len(house.hosts.asked) == 1
    (alert,) = house.alerts
    assert "inner.example takes recipients that do not exist" in alert
    house.clock.at += TAKES_ALL_SECONDS + 1
    house.hosts.other = NO_USER  # it has learnt to refuse
    assert await house.says(EVE) == "no"


async def test_a_next_hop_that_is_down_is_tried_at_its_second_address_and_then_again_after_a_minute() -> None:
    house = House(ScriptedHosts({"ada@inner.example": TAKEN}, found=(HOST, SECOND)))
    house.hosts.down = {HOST.address}
    assert await house.says(ADA) == "yes"
    house.hosts.down.add(SECOND.address)
    assert await house.says(EVE) == "unknown"
    asked = len(house.hosts.asked)
    assert await house.says(EVE) == "unknown"
    assert len(house.hosts.asked) == asked
    house.clock.at += UNKNOWN_SECONDS + 1
    house.hosts.down.clear()
    assert await house.says(EVE) == "no"


async def test_a_second_host_is_not_asked_where_the_first_has_answered() -> None:
    house = House(ScriptedHosts(found=(HOST, SECOND)))
    assert await house.says(EVE) == "no"
    assert [host for host, *_ in house.hosts.asked] == [HOST.address]


async def test_a_next_hop_without_an_address_is_unknown() -> None:
    house = House(ScriptedHosts(found=Reply(451, "4.4.4", "no address now")))
    assert await house.says(ADA) == "unknown"


async def test_many_sessions_that_wait_for_one_answer_ask_once() -> None:
    house = House(ScriptedHosts())
    house.hosts.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(house.says(EVE)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting.pop().cancel()  # a peer that hung up takes the answer from nobody
    house.hosts.gate.set()
    assert await asyncio.gather(*waiting) == ["no"] * 19
    assert len(house.hosts.asked) == 1


async def test_a_next_hop_that_keeps_silent_holds_a_session_for_so_long_and_no_longer() -> None:
    house = House(ScriptedHosts(), timeout=0.01)
    house.hosts.gate = asyncio.Event()
    assert await house.says(EVE) == "unknown"


async def test_a_memory_that_cannot_be_read_is_unknown_and_one_that_cannot_be_written_costs_a_question() -> None:
    house = House(ScriptedHosts())
    house.standing.fail = True
    assert await house.says(EVE) == "unknown"
    assert not house.hosts.asked


async def test_a_question_what_would_be_decided_asks_nobody() -> None:
    house = House(ScriptedHosts())
    assert house.probes.find(EVE, only_reads=True).says == "not asked"
    assert not house.hosts.asked
    await house.says(EVE)
    assert house.probes.find(EVE, only_reads=True).says == "no"


async def test_probes_can_be_switched_off() -> None:
    house = House(ScriptedHosts(), probe=False)
    assert await house.says(EVE) == "not asked"


async def test_what_a_next_hop_says_of_anything_but_the_address_is_no_no() -> None:
    house = House(ScriptedHosts(other=at_rcpt(550, "5.7.1", "null sender not wanted")))
    assert await house.says(EVE) == "unknown"
