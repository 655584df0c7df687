"""A peer that pipelines thousands of commands takes turns with the others, and is answered no faster than it reads."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.desk import Desk

from gatepost.gate.turns import TURN


async def test_other_sessions_have_their_turn_between_pipelined_commands() -> None:
    desk = Desk(trusted=("192.0.2.0/24",))
    flooding, other = desk.connect(), desk.connect(ip="192.0.2.8")
    await flooding.read()
    await other.read()
    flooding.session.data_received(b"NOOP\r\n" * 90)
    assert flooding.wire.take().count(b"250 ") == TURN
    assert await other.line("NOOP") == "250 2.0.0 Ok"
    assert len(await flooding.read()) == 90 - TURN


async def test_a_peer_that_takes_no_answers_is_answered_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    taken = asyncio.Event()
    monkeypatch.setattr(client.wire, "drained", taken.wait)
    client.session.data_received(b"NOOP\r\n" * (TURN + 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.wire.take().count(b"250 ") == TURN
    taken.set()
    assert len(await client.read()) == 5


async def test_a_half_closed_peer_hears_every_answer_before_the_end() -> None:
    desk = Desk()
    client = desk.connect()
    await client.read()
    client.session.data_received(b"NOOP\r\n" * (TURN * 3))
    client.session.peer_finished()
    assert len(await client.read()) == TURN * 3
    assert client.wire.is_closed
