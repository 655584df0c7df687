"""What is held of one account is let go, in every spool, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.spool import add
from tests.support.clock import HandClock

from gatepost.spool.model import Hold, State
from gatepost.spool.port import SpoolError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_held import release_held
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

HELD: dict[str, Any] = {
    "held_by": Hold.CHECK,
    "hold_reason": "sender.rate: account ada@example.org: too many",
    "client": "192.0.2.7",
}


def nobody_listens(_socket: Path, _request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise OSError("nobody")


async def test_what_is_held_of_an_account_is_released_wherever_it_lies(tmp_path: Path) -> None:
    mine = []
    for name in ("0", "1"):
        spool = SqliteSpool.open(tmp_path, name, SpoolSettings(), HandClock())
        mine.append(await add(spool, "x@far.example", "y@far.example", login="ada@example.org", **HELD))
        others = [
            await add(spool, "x@far.example", login="bob@example.org", **HELD),
            await add(spool, "x@far.example", login="ada@example.org", **{**HELD, "client": "203.0.113.66"}),
            await add(spool, "x@far.example", login="ada@example.org", **{**HELD, "client": ""}),
            await add(spool, "x@far.example", login="ada@example.org", **{**HELD, "hold_reason": "content.scan: down"}),
            await add(spool, "x@far.example", login="ada@example.org", **{**HELD, "held_by": Hold.QUARANTINE}),
            await add(spool, "x@far.example", login="ada@example.org", **HELD),
            await add(spool, "x@far.example", login="ada@example.org"),
        ]
        for entry_id in others[-2:]:
            assert await spool.change(entry_id, "hold", 1.0)  # a person did, the second time after the check
        await spool.close()
    assert release_held(tmp_path, "ada@example.org", "192.0.2.0/24", "sender.rate", 5.0, nobody_listens) == mine
    states = {entry.id: {item.state for item in entry.recipients} for entry in SqliteSpoolReader(tmp_path).list()}
    assert [states.pop(entry_id) for entry_id in mine] == [{State.DUE}] * 2
    assert set(map(frozenset, states.values())) == {frozenset({State.HELD})}
    assert release_held(tmp_path, "ada@example.org", "192.0.2.0/24", "sender.rate", 6.0, nobody_listens) == []


async def test_a_spool_whose_holder_does_not_answer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.store.sqlite.spool_change.TRIES", 1)
    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(), socket=str(tmp_path / "w.sock"))
    await add(spool, "x@far.example", login="ada@example.org", **HELD)
    with pytest.raises(SpoolError, match="does not answer"):
        release_held(tmp_path, "ada@example.org", "192.0.2.0/24", "sender.rate", 5.0, nobody_listens)
    await spool.close()
