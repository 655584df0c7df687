"""Connections that are over: counted with the next arrival, or soon, and never against whoever comes back at once."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Sequence

from tests.support.clock import HandClock
from tests.support.desk import Desk
from tests.support.memory_standing import MemoryStanding

from gatepost.gate.departures import MANY, Departures
from gatepost.policy.check import CheckSettings
from gatepost.policy.checks import client_connections
from gatepost.standing.port import Enter, Leave, Operation, Result


class Counting(MemoryStanding):
    """Tells how many steps were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Sequence[Operation]] = []
        self.stepped = asyncio.Event()

    def tally(self, operations: Sequence[Operation], now: float) -> list[Result]:
        self.steps.append(operations)
        results = super().tally(operations, now)
        self.stepped.set()
        return results


def one_connection() -> dict[str, CheckSettings]:
    return {"client.connections": client_connections.Settings(per_address=1)}


async def test_who_comes_back_at_once_is_not_refused_for_the_connection_that_is_over() -> None:
    desk = Desk(policy=one_connection())
    for _ in range(5):
        client = desk.connect()
        assert await client.read() == ["220 mx.example.org ESMTP"]
        client.hang_up()
    assert desk.standing._at_once["conn:ip:192.0.2.7"] == 1  # the last one, which nobody came after yet
    second = [desk.connect(), desk.connect()]
    assert [(await each.read())[0][:3] for each in second] == ["220", "421"]


async def test_a_session_costs_one_step_of_the_counters() -> None:
    standing = Counting()
    desk = Desk(standing=standing)
    for _ in range(10):
        client = desk.connect()
        await client.say(b"EHLO c.example\r\nQUIT\r\n")
        client.hang_up()
    assert len(standing.steps) == 10


async def test_what_nobody_comes_after_is_counted_soon() -> None:
    standing = Counting()
    standing.tally([Enter("k"), Enter("k")], 0.0)
    standing.stepped.clear()
    leaving = Departures(standing, HandClock())
    leaving.leave([Leave("k")])
    leaving.leave([Leave("k")])
    assert standing._at_once["k"] == 2
    async with asyncio.timeout(10):
        await standing.stepped.wait()
    assert standing._at_once["k"] == 0
    assert len(standing.steps) == 2  # both in one


async def test_many_are_counted_at_once_and_the_end_leaves_none() -> None:
    standing = Counting()
    standing.tally([Enter("k")] * (MANY + 1), 0.0)
    leaving = Departures(standing, HandClock())
    leaving.leave([Leave("k")] * MANY)
    assert standing._at_once["k"] == 1
    leaving.leave([Leave("k")])
    leaving.close()
    assert standing._at_once["k"] == 0


async def test_a_memory_that_cannot_be_had_lets_sessions_end() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    desk.standing.fail = True
    client.hang_up()
    desk.parts.gate.departures.count()
    assert desk.recorder.of("smtp.session")


async def test_a_session_that_is_over_is_gone_without_the_collector() -> None:
    desk = Desk()
    client = desk.connect()
    await client.say(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\nQUIT\r\n")
    client.hang_up()
    client.wire.timers.clear()  # a real one forgets whom it calls once it is cancelled
    session = weakref.ref(client.session)
    gc.collect()
    gc.disable()
    try:
        del client
        assert session() is None
    finally:
        gc.enable()
