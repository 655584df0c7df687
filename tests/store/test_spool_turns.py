"""A pile for one destination: what came last does not wait for all of it, and what came first is not forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.spool import NOW, add, ids
from tests.support.clock import HandClock

from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool

PILE = 120


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[SqliteSpool]:
    opened = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW))
    yield opened
    await opened.close()


async def pile(spool: SqliteSpool) -> list[str]:
    return [await add(spool, "x@slow.example", at=NOW - 500 + number) for number in range(PILE)]


async def test_a_quarter_of_a_lease_came_last_while_more_waits_than_it_takes(spool: SqliteSpool) -> None:
    added = await pile(spool)
    assert ids(await spool.lease(NOW, 100, per_destination=20)) == added[:15] + added[-5:]
    assert ids(await spool.lease(NOW, 100, per_destination=20)) == added[15:30] + added[-10:-5]


async def test_each_entry_of_a_pile_comes_once(spool: SqliteSpool) -> None:
    added = await pile(spool)
    leased: list[str] = []
    while more := ids(await spool.lease(NOW, 100, per_destination=17)):
        leased += more
    assert sorted(leased) == sorted(added)


async def test_who_gets_one_at_a_time_gets_the_last_in_the_fourth_turn(spool: SqliteSpool) -> None:
    added = await pile(spool)
    leased = [ids(await spool.lease(NOW, 1))[0] for _ in range(8)]
    assert leased == [*added[:3], added[-1], *added[3:6], added[-2]]
