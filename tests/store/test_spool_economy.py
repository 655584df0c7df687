"""What a spool must not cost: plans that look at every entry, room that is never given back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.conformance.spool import NOW, add, end
from tests.support.clock import HandClock

from gatepost.spool.model import State
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite import writer
from gatepost.store.sqlite.spool import SqliteSpool

# Walks that are as short as what they return: lists given in the statement, and the few destinations.
SHORT_WALKS = ("carray", "waiting")


async def test_no_statement_on_the_way_of_a_message_looks_at_every_entry(tmp_path: Path) -> None:
    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW))
    plans: list[tuple[str, str]] = []

    def explain(cursor: apsw.Cursor, statement: str, values: object) -> bool:
        if statement.split()[0] in {"SELECT", "UPDATE", "DELETE"}:
            with closing(spool._connection.cursor()) as other:
                other.exec_trace = lambda *ignored: True
                for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", values):  # type: ignore[arg-type]
                    plans.append((str(row[3]), statement))
        return True

    spool._connection.exec_trace = explain
    entry_id = await add(spool, "a@example.org", "b@example.com")
    await add(spool)
    leased = await spool.lease(NOW, 10)
    await spool.settle(end(leased[:1], State.DEFERRED, NOW + 5))
    await spool.settle(end(leased[1:], State.DONE))
    await spool.next_due()
    await spool.change(entry_id, "hold", NOW)
    await spool.change(entry_id, "drop", NOW)
    spool._connection.exec_trace = None
    await spool.close()
    assert len(plans) > 15
    walks = [step for step in plans if step[0].startswith("SCAN") and not any(word in step[0] for word in SHORT_WALKS)]
    assert walks == []
    # By the index of due recipients, all that wait for a destination would be searched for each entry of a list.
    assert [step for step in plans if "recipient_due" in step[0] and "carray" in step[1]] == []


async def test_room_is_given_back_when_the_spool_is_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.001)
    monkeypatch.setattr(writer, "VACUUM_PAUSE_SECONDS", 0.0)
    database = tmp_path / "spool" / "0" / "spool.db"
    is_small = threading.Event()

    def look(point: str, /) -> None:
        if point == "checkpoint.before":
            with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as reader:
                if int(reader.pragma("page_count")) * 16384 < 20 * 1024 * 1024 and is_filled:
                    is_small.set()

    is_filled = False
    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW), faults=look)
    await asyncio.gather(*[add(spool, body=b"x" * 250_000) for _ in range(160)])
    leased = await spool.lease(NOW, 1000, per_destination=1000)
    is_filled = True
    await spool.settle(end(leased, State.DONE))
    assert await asyncio.to_thread(is_small.wait, 30)
    await spool.close()
    assert database.stat().st_size < 20 * 1024 * 1024


async def test_an_idle_spool_writes_a_long_log_back_and_leaves_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.001)
    checkpoints: list[str] = []

    def note(point: str, /) -> None:
        if point == "checkpoint.before":
            checkpoints.append(point)

    async def until(is_so: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + 30
        while not is_so():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.001)

    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW), faults=note)
    await add(spool)
    await until(lambda: spool._writer._patience is None)
    await spool.close()  # waits for the thread
    assert checkpoints == []
    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW), faults=note)
    await asyncio.gather(*[add(spool, body=b"x" * 250_000) for _ in range(12)])
    await until(lambda: bool(checkpoints))
    await spool.close()


async def test_the_writer_does_not_begin_before_the_turn_of_the_loop_is_over(tmp_path: Path) -> None:
    begun = threading.Event()

    def note(point: str, /) -> None:
        if point == "commit.before":
            begun.set()

    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW), faults=note)
    first = spool._submit(int, 1, 0)
    assert not begun.wait(0.2)  # it would commit the first alone
    second = spool._submit(int, 1, 0)
    await asyncio.gather(first, second)
    await spool.close()


async def test_messages_that_come_turn_after_turn_share_commits_and_wait_for_a_bounded_time(tmp_path: Path) -> None:
    begun: list[str] = []

    def note(point: str, /) -> None:
        if point == "commit.before":
            begun.append(point)

    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW), faults=note)
    submitted = []
    for _ in range(writer.GATHERING_TURNS):
        submitted.append(spool._submit(int, 1, 0))
        await asyncio.sleep(0)
    await asyncio.gather(*submitted)
    assert len(begun) == 1
    while len(begun) == 1:  # though something comes in each turn
        submitted.append(spool._submit(int, 1, 0))
        await asyncio.sleep(0)
        assert len(submitted) < 1_000_000
    await asyncio.gather(*submitted)
    await spool.close()


async def test_messages_that_come_in_one_turn_of_the_loop_share_a_commit(tmp_path: Path) -> None:
    commits: list[str] = []

    def note(point: str, /) -> None:
        if point == "commit.after":
            commits.append(point)

    spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW), faults=note)
    several = ["ada@example.org", "bob@example.com", "eve@example.net"]
    ids = await asyncio.gather(*[add(spool, *several[: 1 + turn % 3]) for turn in range(15)])  # 30 recipients
    assert len(commits) == 1
    ids += await asyncio.gather(*[add(spool, *several) for _ in range(15)])  # more than one statement takes
    assert len(commits) == 2
    leased = await spool.lease(NOW, 1000, per_destination=1000)
    assert sorted({entry.id for entry in leased}) == sorted(ids)
    assert sum(len(entry.recipients) for entry in leased) == 30 + 45
    await spool.close()
