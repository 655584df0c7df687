"""What an account that is held has in the queue: frozen in every spool, by its holder where one lives, and let go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conformance.spool import add
from tests.support.clock import HandClock

from gatepost.spool.control import change_handler
from gatepost.spool.model import Hold, Settlement, State
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_held import freeze, thaw
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

ADA = "ada@example.org"
NOW = 1_764_000_000.0


def nobody_listens(_socket: Path, _request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise OSError("nobody")


def standing(data: Path) -> dict[str, list[tuple[State, Hold | None]]]:
    return {
        entry.id: [(item.state, item.held_by) for item in entry.recipients] for entry in SqliteSpoolReader(data).list()
    }


async def test_what_waits_of_an_account_is_frozen_wherever_it_lies_and_just_that_is_let_go(tmp_path: Path) -> None:
    mine, others = [], []
    for name in ("0", "1"):
        spool = SqliteSpool.open(tmp_path, name, SpoolSettings(), HandClock())
        mine.append(await add(spool, "x@far.example", "y@far.example", login=ADA))
        others += [
            await add(spool, "x@far.example", login="bob@example.org"),
            await add(spool, "x@far.example"),
            await add(spool, "x@far.example", login=ADA, held_by=Hold.CHECK, hold_reason="content.scan: down"),
            await add(spool, "x@far.example", login=ADA),
        ]
        assert await spool.change(others[-1], "hold", NOW)
        await spool.close()
    before = standing(tmp_path)
    assert freeze(tmp_path, ADA, NOW, nobody_listens) == mine
    after = standing(tmp_path)
    assert [after[one] for one in mine] == [[(State.HELD, Hold.ACCOUNT)] * 2] * 2
    assert {one: after[one] for one in others} == {one: before[one] for one in others}
    assert thaw(tmp_path, ADA, NOW, nobody_listens) == mine
    assert standing(tmp_path) == before
    assert thaw(tmp_path, ADA, NOW, nobody_listens) == []


async def test_a_worker_that_holds_its_spool_freezes_what_is_on_its_way_when_the_attempt_has_ended(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(), socket=str(tmp_path / "run/w.sock"))
    changed = change_handler(spool, lambda: NOW, lambda: None)
    loop = asyncio.get_running_loop()

    def ask(_socket: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return asyncio.run_coroutine_threadsafe(changed(request), loop).result(10)  # type: ignore[arg-type]

    entry_id = await add(spool, "x@far.example", login=ADA)
    (entry,) = await spool.lease(NOW, 1)
    assert await asyncio.to_thread(freeze, tmp_path, ADA, NOW, ask) == [entry_id]
    assert standing(tmp_path)[entry_id] == [(State.LEASED, None)]
    await spool.settle([Settlement(entry_id, entry.recipients[0].number, State.DEFERRED, NOW + 60)])
    assert standing(tmp_path)[entry_id] == [(State.HELD, Hold.ACCOUNT)]
    assert await spool.lease(NOW + 3600, 1) == []
    assert await asyncio.to_thread(thaw, tmp_path, ADA, NOW, ask) == [entry_id]
    assert [one.id for one in await spool.lease(NOW, 1)] == [entry_id]
    await spool.close()
