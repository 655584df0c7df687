"""Several spools under one data folder: adoption, readers, and changes by commands."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.conformance.spool import BODY, NOW, PREFIX, add, end, ids, new_entry, whole, written
from tests.support.clock import HandClock

from gatepost.mail.ids import make_id
from gatepost.net.control import ControlServer, ask
from gatepost.spool.control import change_handler
from gatepost.spool.model import Hold, State
from gatepost.spool.port import SpoolError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.connection import connect
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_change import change_entry
from gatepost.store.sqlite.spool_layout import Holder, holder_of, is_held, layout_of
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader
from gatepost.store.sqlite.spool_set import SpoolSet

CLOCK = HandClock(NOW)


def open_set(data: Path, **more: Any) -> SpoolSet:
    return SpoolSet.open(data, SpoolSettings(), CLOCK, **more)


async def leave_behind(data: Path, name: str, *recipients: str, **more: Any) -> str:
    """An entry in a spool that nobody holds."""
    spool = SqliteSpool.open(data, name, SpoolSettings(), CLOCK)
    entry_id = await add(spool, *recipients, **more)
    await spool.close()
    return entry_id


@pytest.fixture
async def spools(tmp_path: Path) -> AsyncIterator[SpoolSet]:
    spools = open_set(tmp_path)
    yield spools
    await spools.close()


# --- a spool of one's own


async def test_whoever_comes_second_gets_another_spool(tmp_path: Path, spools: SpoolSet) -> None:
    other = open_set(tmp_path)
    assert (spools.own.name, other.own.name) == ("0", "1")
    await other.close()


async def test_the_preferred_spool_is_taken_when_it_is_free(tmp_path: Path) -> None:
    spools = open_set(tmp_path, prefer="5", socket="worker-5.sock")
    assert spools.own.name == "5"
    assert holder_of(layout_of(tmp_path, "5")) == Holder(os.getpid(), "worker-5.sock")
    assert is_held(layout_of(tmp_path, "5"))
    await spools.close()
    assert not is_held(layout_of(tmp_path, "5"))


# --- adoption


@pytest.mark.parametrize("is_empty", [True, False])
async def test_a_spool_of_an_older_version_is_brought_up_to_date_by_adoption(
    tmp_path: Path, spools: SpoolSet, is_empty: bool
) -> None:
    """Else every command that reads the spools would refuse for its sake, for good."""
    layout = layout_of(tmp_path, "7")
    layout.make()
    with closing(apsw.Connection(str(layout.database))) as connection:
        connection.execute((Path(__file__).parents[1] / "corpus" / "spool" / "version-1.sql").read_text())
        if is_empty:
            for table in ("entry", "content", "recipient"):
                connection.execute(f"DELETE FROM {table}")
    with pytest.raises(SpoolError, match="start this one once"):
        SqliteSpoolReader(tmp_path).list()
    assert await spools.adopt() == ["7"]
    assert len(SqliteSpoolReader(tmp_path).list()) == (0 if is_empty else 1)


async def test_a_spool_that_nobody_holds_is_drained_and_given_back(tmp_path: Path, spools: SpoolSet) -> None:
    left = await leave_behind(tmp_path, "4", body=b"x" * 300_000)
    assert await spools.adopt() == ["4"]
    (leased,) = await spools.lease(NOW, 10)
    assert (leased.id, leased.spool) == (left, "4")
    assert await whole(spools, left) == PREFIX + b"x" * 300_000
    await spools.settle(end([leased], State.DONE))
    assert is_held(layout_of(tmp_path, "4"))
    assert await spools.adopt() == []
    assert spools.adopted == ()
    assert not is_held(layout_of(tmp_path, "4"))


async def test_an_empty_spool_and_one_that_is_held_are_left_alone(tmp_path: Path, spools: SpoolSet) -> None:
    await SqliteSpool.open(tmp_path, "1", SpoolSettings(), CLOCK).close()
    held = SqliteSpool.open(tmp_path, "2", SpoolSettings(), CLOCK)
    await add(held)
    assert await spools.adopt() == []
    await held.close()
    assert await spools.adopt() == ["2"]


async def test_new_entries_go_to_the_own_spool(tmp_path: Path, spools: SpoolSet) -> None:
    await leave_behind(tmp_path, "4")
    await spools.adopt()
    entry_id = await add(spools)
    assert (SqliteSpoolReader(tmp_path).show(entry_id) or pytest.fail("it is gone")).spool == "0"


async def test_own_and_adopted_entries_share_a_lease(tmp_path: Path, spools: SpoolSet) -> None:
    left = [await leave_behind(tmp_path, str(number), "a@example.org", at=NOW - 9) for number in (3, 4)]
    own = await add(spools, "b@example.com")
    await spools.adopt()
    seen: list[str] = []
    for _ in range(3):  # example.org is served from one spool at a time
        seen += ids(await spools.lease(NOW, 2))
    assert sorted(seen) == sorted([*left, own])


async def test_a_destination_gets_no_more_from_several_spools_than_from_one(tmp_path: Path, spools: SpoolSet) -> None:
    for spool in ("3", "4"):
        for _ in range(3):
            await leave_behind(tmp_path, spool)
    await spools.adopt()
    assert len(await spools.lease(NOW, 100, per_destination=2)) == 2


async def test_one_settlement_over_several_spools_ends_each_lease_where_it_began(
    tmp_path: Path, spools: SpoolSet
) -> None:
    await leave_behind(tmp_path, "4", "a@example.org")
    await add(spools, "b@example.com")
    await spools.adopt()
    leased = await spools.lease(NOW, 10)
    dsn = new_entry("bob@example.net")
    await spools.settle(end(leased, State.BOUNCED), [(dsn, written(spools, BODY))])
    assert ids(await spools.lease(NOW, 10)) == [dsn.id]
    assert SqliteSpoolReader(tmp_path).counts()["entries"] == 1


async def test_a_dsn_for_an_adopted_entry_is_committed_with_it(tmp_path: Path, spools: SpoolSet) -> None:
    await leave_behind(tmp_path, "4")
    await spools.adopt()
    leased = await spools.lease(NOW, 10)
    dsn = new_entry("bob@example.net", octets=300_000)
    await spools.settle(end(leased, State.BOUNCED), [(dsn, written(spools, b"d" * 300_000))])
    (again,) = await spools.lease(NOW, 10)
    assert (again.id, again.spool) == (dsn.id, "4")
    assert await whole(spools, dsn.id) == PREFIX + b"d" * 300_000


async def test_a_spool_that_cannot_be_read_is_told_and_the_others_are_adopted(tmp_path: Path) -> None:
    told: list[str] = []
    spools = open_set(tmp_path, on_unreadable=told.append)
    await leave_behind(tmp_path, "3")
    (tmp_path / "spool" / "3" / "spool.db").write_bytes(b"no database" * 1000)
    await leave_behind(tmp_path, "4")
    assert await spools.adopt() == ["4"]
    assert spools.adopted == ("4",)
    assert [str(layout_of(tmp_path, "3").database) in why for why in told] == [True]
    assert not is_held(layout_of(tmp_path, "3"))
    await spools.close()


async def test_an_own_spool_that_is_damaged_is_told_left_alone_and_another_one_taken(tmp_path: Path) -> None:
    await leave_behind(tmp_path, "0")
    database = layout_of(tmp_path, "0").database
    database.write_bytes(b"no database" * 1000)
    told: list[str] = []
    spools = open_set(tmp_path, on_unreadable=told.append)
    assert spools.own.name == "1"
    assert [str(database) in why and "is damaged" in why for why in told] == [True]
    assert database.read_bytes() == b"no database" * 1000
    await spools.close()


async def test_an_own_spool_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await leave_behind(tmp_path, "0")
    with closing(connect(layout_of(tmp_path, "0").database)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SpoolError, match="a newer one wrote it"):
        open_set(tmp_path)


# --- readers


async def test_a_reader_sees_all_spools_oldest_first_with_states(tmp_path: Path, spools: SpoolSet) -> None:
    oldest = await leave_behind(tmp_path, "4", "a@example.org", "b@example.com", at=NOW - 50)
    held = await add(spools, held_by=Hold.PERSON, at=NOW - 20)
    newest = await add(spools)
    await spools.lease(NOW, 1)
    reader = SqliteSpoolReader(tmp_path)
    assert ids(reader.list()) == [oldest, held, newest]
    assert ids(reader.list(limit=2)) == [oldest, held]
    assert ids(reader.list(states=["held"])) == [held]
    assert ids(reader.list(states=["due"])) == [oldest]
    assert ids(reader.list(states=["leased", "held"])) == [held, newest]
    assert ids(reader.list(states=["due", "held", "leased"], limit=2)) == [oldest, held]
    entry = reader.show(oldest)
    assert entry is not None
    assert [recipient.destination for recipient in entry.recipients] == ["example.org", "example.com"]
    assert reader.counts() == {
        "due": 2, "leased": 1, "deferred": 0, "held": 1, "done": 0, "bounced": 0, "entries": 3,
    }  # fmt: skip
    assert reader.show(make_id(1, 1)) is None


async def test_a_long_list_is_read_in_pages_and_misses_nothing(tmp_path: Path, spools: SpoolSet) -> None:
    added = await asyncio.gather(*[add(spools, at=NOW + number) for number in range(1203)])
    reader = SqliteSpoolReader(tmp_path)
    assert ids(reader.list(limit=5000)) == added
    assert ids(reader.list(limit=1001)) == added[:1001]
    assert ids(reader.list(states=["due"], limit=5000)) == added


@pytest.mark.parametrize("octets", [10, 300_000])
async def test_content_is_read_while_its_owner_lives_and_afterwards(
    tmp_path: Path, spools: SpoolSet, octets: int
) -> None:
    entry_id = await add(spools, body=b"x" * octets)
    reader = SqliteSpoolReader(tmp_path)
    assert reader.content(entry_id) == PREFIX + b"x" * octets
    await spools.close()
    assert reader.content(entry_id) == PREFIX + b"x" * octets
    assert reader.content(make_id(1, 1)) is None


async def test_a_reader_keeps_no_log_from_starting_anew(tmp_path: Path, spools: SpoolSet) -> None:
    await add(spools)
    reader = SqliteSpoolReader(tmp_path)
    assert reader.list()
    log = tmp_path / "spool" / "0" / "spool.db-wal"
    for _ in range(150):
        await add(spools, body=b"x" * 250_000)
        reader.counts()
    assert log.stat().st_size < 24 * 1024 * 1024  # 37 MiB were written; it started anew at about 8


def test_there_may_be_no_spool_at_all(tmp_path: Path) -> None:
    reader = SqliteSpoolReader(tmp_path)
    assert reader.list() == []
    assert reader.counts()["entries"] == 0


def test_an_unknown_state_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="deferred"):
        SqliteSpoolReader(tmp_path).list(states=["defered"])


# --- changes by commands


def nobody(path: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise AssertionError(f"{path} was asked {request}, though nobody holds the spool")


async def test_an_entry_that_nobody_holds_is_changed_directly(tmp_path: Path) -> None:
    entry_id = await leave_behind(tmp_path, "4", body=b"x" * 300_000)
    assert change_entry(tmp_path, entry_id, "hold", NOW, nobody)
    assert SqliteSpoolReader(tmp_path).counts()["held"] == 1
    assert change_entry(tmp_path, entry_id, "drop", NOW, nobody)
    assert not change_entry(tmp_path, entry_id, "drop", NOW, nobody)
    assert list((tmp_path / "spool" / "4" / "content").iterdir()) == []
    assert not is_held(layout_of(tmp_path, "4"))


async def test_an_entry_that_a_worker_holds_is_changed_by_asking_it(tmp_path: Path) -> None:
    spools = open_set(tmp_path, socket="worker-0.sock")
    woken: list[bool] = []
    handlers = {"change": change_handler(spools, lambda: NOW, lambda: woken.append(True))}
    server = ControlServer(tmp_path / "run" / "worker-0.sock", handlers, lambda verb, error: pytest.fail(repr(error)))
    await server.start()
    entry_id = await add(spools)
    left = await leave_behind(tmp_path, "4")
    await spools.adopt()
    for known in (entry_id, left):  # what was adopted is its new holder's too
        assert await asyncio.to_thread(change_entry, tmp_path, known, "hold", NOW, ask)
    assert await spools.lease(NOW, 10) == []
    assert woken == [True, True]
    assert not await asyncio.to_thread(change_entry, tmp_path, make_id(1, 1), "hold", NOW, ask)
    await server.close()
    await spools.close()


async def test_a_holder_that_does_not_answer_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    spools = open_set(tmp_path, socket="worker-0.sock")
    entry_id = await add(spools)
    (tmp_path / "run").mkdir()
    with pytest.raises(SpoolError, match=rf"{os.getpid()} holds it and does not answer on worker-0\.sock"):
        change_entry(tmp_path, entry_id, "drop", NOW, ask, pause=lambda seconds: None)
    assert ids(await spools.lease(NOW, 1)) == [entry_id]
    await spools.close()


async def test_a_holder_that_ends_between_two_looks_hands_over(tmp_path: Path) -> None:
    spools = open_set(tmp_path, socket="worker-0.sock")
    entry_id = await add(spools)

    def refuse(path: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ConnectionRefusedError

    def end_it(seconds: float) -> None:
        spools.own._close()

    assert change_entry(tmp_path, entry_id, "drop", NOW, refuse, pause=end_it)
    assert SqliteSpoolReader(tmp_path).counts()["entries"] == 0


def test_an_unknown_action_of_a_command_touches_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="retry"):
        change_entry(tmp_path, make_id(1, 1), "rerty", NOW, nobody)


# --- other processes


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns spool "0" with one leased entry, and waits."""
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.conformance.spool import NOW, add\n"
        "from tests.support.clock import HandClock\n"
        "from gatepost.spool.settings import SpoolSettings\n"
        "from gatepost.store.sqlite.spool import SqliteSpool\n"
        "async def main():\n"
        "    spool = SqliteSpool.open(Path(sys.argv[1]), '0', SpoolSettings(), HandClock(NOW))\n"
        "    entry_id = await add(spool)\n"
        "    await spool.lease(NOW, 1)\n"
        "    print(entry_id, flush=True)\n"
        "    sys.stdin.read()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


async def test_a_killed_workers_entries_are_read_adopted_and_due_again(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    assert owner.stdout is not None
    entry_id = owner.stdout.readline().strip()
    reader = SqliteSpoolReader(tmp_path)
    assert reader.counts()["leased"] == 1
    spools = open_set(tmp_path)
    assert spools.own.name == "1"
    assert await spools.adopt() == []
    owner.kill()
    owner.communicate()
    assert reader.content(entry_id) == PREFIX + BODY  # with the log that the dead left behind
    assert await spools.adopt() == ["0"]
    assert ids(await spools.lease(NOW, 10)) == [entry_id]
    await spools.close()
