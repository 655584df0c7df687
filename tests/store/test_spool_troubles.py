"""What a spool does with files and rows that are not what it wrote, with a full disk, and with other versions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.conformance.spool import BODY, NOW, PREFIX, add, end, ids, new_entry, whole, written
from tests.programs import need_root
from tests.support.clock import HandClock

from gatepost.mail.ids import make_id
from gatepost.ports.faults import Faults, no_fault
from gatepost.spool.model import Hold, State
from gatepost.spool.port import SpoolError, SpoolFullError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader
from gatepost.store.sqlite.spool_schema import MIGRATIONS

LARGE = b"0123456789abcdef" * 20_000


class House:
    """A data folder with a spool "0" that can be closed, tampered with and opened again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = data / "spool" / "0"
        self.damage: list[tuple[str, str]] = []
        self.spool = self.open()

    def open(self, settings: SpoolSettings | None = None, faults: Faults = no_fault) -> SqliteSpool:
        self.spool = SqliteSpool.open(
            self.data,
            "0",
            settings or SpoolSettings(),
            HandClock(NOW),
            on_damage=lambda entry_id, reason: self.damage.append((entry_id, reason)),
            faults=faults,
        )
        return self.spool

    def tamper(self, statement: str, *values: str) -> None:
        # Not with the standard library's SQLite: two of them in one process drop each other's locks.
        with closing(apsw.Connection(str(self.folder / "spool.db"))) as connection:
            connection.execute(statement, values)

    async def told(self) -> list[tuple[str, str]]:
        """What `on_damage` was called with. The writer's thread tells it before it takes the next work."""
        await self.spool.next_due()
        return self.damage


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    await house.spool.close()


# --- leases and owners


async def test_leases_of_a_former_owner_are_due_again_with_the_attempts_they_had(house: House) -> None:
    await add(house.spool)
    await house.spool.settle(end(await house.spool.lease(NOW, 1), State.DEFERRED, NOW))
    await house.spool.lease(NOW, 1)
    await house.spool.close()
    (again,) = await house.open().lease(NOW, 1)
    assert again.recipients[0].attempts == 1


async def test_a_wish_for_a_leased_entry_outlives_its_owner(house: House) -> None:
    dropped, held = await add(house.spool), await add(house.spool)
    await house.spool.lease(NOW, 10)
    await house.spool.change(dropped, "drop", NOW)
    await house.spool.change(held, "hold", NOW)
    await house.spool.close()
    house.open()
    assert await house.spool.lease(NOW, 10) == []
    assert (house.spool.entries, house.spool.octets) == (1, len(PREFIX + BODY))
    assert [entry.id for entry in SqliteSpoolReader(house.data).list(states=["held"])] == [held]


async def test_a_spool_is_held_once_and_free_after_closing(house: House) -> None:
    with pytest.raises(SpoolError, match="held by another"):
        SqliteSpool.open(house.data, "0", SpoolSettings(), HandClock(NOW))
    await house.spool.close()
    house.open()


@pytest.mark.parametrize("name", ["", "../0", "a/b", ".", "x" * 65])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpoolError, match="name"):
        SqliteSpool.open(tmp_path, name, SpoolSettings(), HandClock(NOW))


def test_everything_is_for_its_owner_only(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        house = House(tmp_path / "data")
        asyncio.run(house.spool.close())
    finally:
        os.umask(previous)
    open_to_others = [path for path in (house.data / "spool").rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []


# --- content files


async def test_content_that_nothing_refers_to_is_removed_at_the_next_start(house: House) -> None:
    kept = await add(house.spool, body=LARGE)
    unfinished = house.spool.new_content()
    unfinished.write(LARGE)
    never_committed = make_id(1, 1)
    (house.folder / "content" / never_committed).write_bytes(b"x")
    await house.spool.close()
    house.open()
    assert [path.name for path in (house.folder / "content").iterdir()] == [kept]
    assert await whole(house.spool, kept) == PREFIX + LARGE


async def test_discarded_content_leaves_no_file(house: House) -> None:
    content = written(house.spool, LARGE)
    assert len(list((house.folder / "content").iterdir())) == 1
    content.discard()
    assert list((house.folder / "content").iterdir()) == []


async def test_content_that_was_added_is_not_discarded_any_more(house: House) -> None:
    entry = new_entry(octets=len(LARGE))
    content = written(house.spool, LARGE)
    await house.spool.add(entry, content)
    content.discard()
    assert await whole(house.spool, entry.id) == PREFIX + LARGE


async def test_what_the_memory_has_no_room_for_goes_to_a_file_however_small_it_is(house: House) -> None:
    await house.spool.close()
    spool = house.open(SpoolSettings(memory_octets=1000))
    first, second = spool.new_content(), spool.new_content()
    first.write(b"a" * 600)
    second.write(b"b" * 300)
    second.write(b"b" * 300)
    assert (first.path is None, second.path is None) == (True, False)
    for content, octet in ((first, b"a"), (second, b"b")):
        content.finish()
        entry = new_entry(octets=600)
        await spool.add(entry, content)
        assert await whole(spool, entry.id) == PREFIX + octet * 600
    del first, content  # whoever brought it has forgotten it
    third, fourth = spool.new_content(), spool.new_content()
    third.write(b"c" * 600)
    third.discard()
    fourth.write(b"d" * 900)
    assert fourth.path is None


async def test_content_is_added_once(house: House) -> None:
    content = written(house.spool, BODY)
    await house.spool.add(new_entry(), content)
    with pytest.raises(SpoolError, match="once"):
        await house.spool.add(new_entry(), content)


async def test_content_that_is_still_arriving_is_not_added(house: House) -> None:
    content = house.spool.new_content()
    content.write(BODY)
    with pytest.raises(SpoolError, match="finished"):
        await house.spool.add(new_entry(), content)


async def test_the_file_of_a_delivered_message_goes_and_checks_can_still_read_it(house: House) -> None:
    content = written(house.spool, LARGE)
    await house.spool.add(new_entry(octets=len(LARGE)), content)
    await house.spool.settle(end(await house.spool.lease(NOW, 1), State.DONE))
    await house.spool.close()  # what comes after the commit is done
    assert list((house.folder / "content").iterdir()) == []
    assert b"".join([piece async for piece in content.chunks()]) == LARGE


# --- damage


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE entry SET head = x'00' WHERE id = ?", "envelope"),
        ("UPDATE entry SET head = 'text' WHERE id = ?", "envelope"),
        ("UPDATE recipient SET head = x'91ff' WHERE entry = (SELECT number FROM entry WHERE id = ?)", "recipient 0"),
        ("UPDATE recipient SET state = 77 WHERE entry = (SELECT number FROM entry WHERE id = ?)", "no known state"),
        ("DELETE FROM recipient WHERE entry = (SELECT number FROM entry WHERE id = ?)", "no recipient"),
    ],
)
async def test_an_entry_whose_rows_cannot_be_read_is_set_aside_and_the_rest_served(
    house: House, statement: str, reason: str
) -> None:
    bad, good = await add(house.spool), await add(house.spool)
    await house.spool.close()
    house.tamper(statement, bad)
    spool = house.open()
    assert ids(await spool.lease(NOW, 10)) == [good]
    ((entry_id, why),) = await house.told()
    assert entry_id == bad
    assert reason in why
    assert [(entry.id, entry.reason) for entry in SqliteSpoolReader(house.data).damaged()] == [(bad, why)]
    assert spool.entries == 1
    assert spool.octets == len(PREFIX + BODY)


async def test_recipients_without_an_entry_are_set_aside(house: House) -> None:
    bad, good = await add(house.spool), await add(house.spool)
    await house.spool.close()
    house.tamper("DELETE FROM entry WHERE id = ?", bad)
    assert ids(await house.open().lease(NOW, 10)) == [good]
    assert "no entry" in (await house.told())[0][1]


async def test_octets_that_changed_on_the_disk_are_never_sent(house: House) -> None:
    bad, good = await add(house.spool), await add(house.spool)
    house.tamper("UPDATE content SET octets = CAST('!' || substr(octets, 2) AS BLOB) WHERE number = 1")
    with pytest.raises(SpoolError, match="not those that were stored"):
        await whole(house.spool, bad)
    assert await whole(house.spool, good) == PREFIX + BODY
    assert (await house.told())[0][0] == bad
    assert ids(await house.spool.lease(NOW, 10)) == [good]


@pytest.mark.parametrize("large", [b"", b"x" * 300_000])
async def test_content_rows_that_are_gone_are_reported(house: House, large: bytes) -> None:
    bad = await add(house.spool, body=large)
    house.tamper("DELETE FROM content")
    with pytest.raises(SpoolError, match="missing"):
        await whole(house.spool, bad)
    assert (await house.told())[0][0] == bad


async def test_a_content_file_that_changed_never_comes_to_its_end(house: House) -> None:
    bad = await add(house.spool, body=LARGE)
    path = house.folder / "content" / bad
    path.write_bytes(b"!" + LARGE[1:])
    seen: list[bytes] = []

    async def read() -> None:
        async for piece in house.spool.read(bad):
            seen.append(piece)

    with pytest.raises(SpoolError, match="not those that were stored"):
        await read()
    assert 0 < sum(map(len, seen)) < len(LARGE)
    await house.spool.close()
    assert (house.folder / "damaged" / bad).exists()  # kept for people
    assert not path.exists()


@pytest.mark.parametrize("octets", [LARGE[:-1], LARGE + b"x"])
async def test_a_content_file_of_another_size_is_reported(house: House, octets: bytes) -> None:
    bad = await add(house.spool, body=LARGE)
    (house.folder / "content" / bad).write_bytes(octets)
    with pytest.raises(SpoolError, match="size"):
        await whole(house.spool, bad)


async def test_a_content_file_that_is_gone_is_found_at_the_start(house: House) -> None:
    bad, good = await add(house.spool, body=LARGE), await add(house.spool, body=LARGE)
    await house.spool.close()
    (house.folder / "content" / bad).unlink()
    spool = house.open()
    assert house.damage == [(bad, "its content file is missing")]
    assert ids(await spool.lease(NOW, 10)) == [good]


async def test_settling_an_entry_that_was_set_aside_meanwhile_still_adds_what_is_new(house: House) -> None:
    bad = await add(house.spool, body=LARGE)
    leased = await house.spool.lease(NOW, 1)
    (house.folder / "content" / bad).unlink()
    with pytest.raises(SpoolError, match="set aside"):
        await whole(house.spool, bad)
    dsn = new_entry("bob@example.net")
    await house.spool.settle(end(leased, State.BOUNCED), [(dsn, written(house.spool, BODY))])
    assert ids(await house.spool.lease(NOW, 10)) == [dsn.id]


async def test_a_database_that_is_none_says_what_to_do(house: House) -> None:
    await house.spool.close()
    (house.folder / "spool.db").write_bytes(b"This is not a database at all." * 1000)
    with pytest.raises(SpoolError, match=r"spool\.db is damaged.*restore a backup"):
        house.open()
    with pytest.raises(SpoolError, match=r"spool\.db"):
        SqliteSpoolReader(house.data).list()


# --- versions


async def test_a_spool_of_a_newer_program_is_refused_untouched(house: House) -> None:
    await house.spool.close()
    house.tamper(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(SpoolError, match=r"spool\.db has schema .* a newer one wrote it"):
        house.open()
    with pytest.raises(SpoolError, match="schema"):
        SqliteSpoolReader(house.data).list()


async def test_a_spool_of_the_first_version_is_brought_up_to_date_with_its_entries(house: House) -> None:
    await house.spool.close()
    for path in house.folder.glob("spool.db*"):
        path.unlink()
    script = (Path(__file__).parents[1] / "corpus" / "spool" / "version-1.sql").read_text()
    house.tamper(script)
    spool = house.open()
    (leased,) = await spool.lease(NOW, 10)
    assert leased.recipients[0].recipient.path.local_part == "ada"
    assert await whole(spool, leased.id) == PREFIX + BODY


@pytest.mark.parametrize(
    ("reply", "held_by", "reason"),
    [("sender.rate: too many", Hold.CHECK, "sender.rate: too many"), ("451 4.7.1 Later", Hold.PERSON, "")],
)
async def test_what_the_first_version_held_is_held_by_whoever_held_it(
    house: House, reply: str, held_by: Hold, reason: str
) -> None:
    await house.spool.close()
    for path in house.folder.glob("spool.db*"):
        path.unlink()
    house.tamper((Path(__file__).parents[1] / "corpus" / "spool" / "version-1.sql").read_text())
    house.tamper("UPDATE recipient SET state = 3, reply = ?", reply)
    spool = house.open()
    (entry,) = SqliteSpoolReader(house.data).list(states=("held",))
    (recipient,) = entry.recipients
    assert (recipient.held_by, recipient.hold_reason) == (held_by, reason)
    assert await spool.change(entry.id, "release", NOW)
    assert ids(await spool.lease(NOW, 10)) == [entry.id]


# --- no room


async def test_the_cap_on_a_spool_refuses_until_something_has_left(house: House) -> None:
    await house.spool.close()
    size = len(PREFIX) + len(BODY)
    spool = house.open(SpoolSettings(size_limit_octets=2 * size))
    await add(spool)
    await add(spool)
    with pytest.raises(SpoolFullError, match="cap"):
        await add(spool)
    (first, _) = await spool.lease(NOW, 2)
    await spool.settle(end([first], State.DONE))
    await add(spool)


async def test_a_bounce_passes_the_cap(house: House) -> None:
    await house.spool.close()
    spool = house.open(SpoolSettings(size_limit_octets=len(PREFIX) + len(BODY)))
    await add(spool)
    dsn = new_entry("bob@example.net", octets=9 * len(BODY))
    await spool.settle(end(await spool.lease(NOW, 1), State.BOUNCED), [(dsn, written(spool, BODY * 9))])
    assert ids(await spool.lease(NOW, 1)) == [dsn.id]


async def test_too_little_free_disk_refuses(house: House) -> None:
    await house.spool.close()
    spool = house.open(SpoolSettings(free_limit_octets=1 << 60))
    with pytest.raises(SpoolFullError, match="must stay free"):
        await add(spool)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    need_root("mounts a file system of 4 MiB")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def fill(spool: SqliteSpool, added: list[str]) -> None:
    while True:
        added.append(await add(spool, body=b"x" * 100_000))


async def test_a_full_disk_refuses_keeps_what_it_has_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    house = House(small_disk)
    await house.spool.close()
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"z" * 2_000_000)
    spool = house.open(SpoolSettings(free_limit_octets=0))
    added: list[str] = []
    with pytest.raises(SpoolFullError):
        await fill(spool, added)
    large = spool.new_content()
    with pytest.raises(SpoolFullError):
        large.write(b"y" * 5_000_000)
    large.discard()
    assert len(added) > 5
    for entry_id in added:
        assert len(await whole(spool, entry_id)) == len(PREFIX) + 100_000
    ballast.unlink()
    added.append(await add(spool))
    assert sorted(ids(await spool.lease(NOW, 1000))) == sorted(added)
    await spool.close()
    assert sorted(ids(await house.open().lease(NOW, 1000))) == sorted(added)
    await house.spool.close()


async def test_a_message_that_meets_the_full_disk_half_way_keeps_what_was_written(small_disk: Path) -> None:
    house = House(small_disk)
    content = house.spool.new_content()
    for _ in range(10):
        content.write(b"a" * 100_000)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"z" * (os.statvfs(small_disk).f_bavail * 4096 - 50_000))
    with pytest.raises(SpoolFullError):
        content.write(b"b" * 200_000)
    ballast.unlink()
    content.write(b"c")
    content.finish()
    assert b"".join([piece async for piece in content.chunks()]) == b"a" * 1_000_000 + b"c"
    content.discard()
    await house.spool.close()


# --- callers that go away


class Gate:
    """Stops a thread of the spool at a point until it is opened."""

    def __init__(self, point: str) -> None:
        self.point = point
        self.is_reached = threading.Event()
        self.is_open = threading.Event()

    def __call__(self, point: str, /) -> None:
        if point == self.point:
            self.is_reached.set()
            assert self.is_open.wait(30)

    async def cancel_there(self, task: asyncio.Task[Any]) -> None:
        await asyncio.to_thread(self.is_reached.wait, 30)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        self.is_open.set()


async def test_a_session_that_ends_during_the_commit_leaves_a_whole_entry(house: House) -> None:
    await house.spool.close()
    gate = Gate("commit.before")
    spool = house.open(faults=gate)
    entry = new_entry(octets=len(LARGE))
    content = written(spool, LARGE)
    await gate.cancel_there(asyncio.ensure_future(spool.add(entry, content)))
    content.discard()  # as whoever made it does when the session is over
    assert await spool.next_due() == NOW
    assert await whole(spool, entry.id) == PREFIX + LARGE


@pytest.mark.parametrize("point", ["content.sync", "content.folder"])
async def test_a_session_that_ends_while_its_file_is_synced_leaves_no_file(house: House, point: str) -> None:
    await house.spool.close()
    gate = Gate(point)
    spool = house.open(faults=gate)
    content = written(spool, LARGE)
    await gate.cancel_there(asyncio.ensure_future(spool.add(new_entry(octets=len(LARGE)), content)))
    content.discard()
    await spool.close()  # waits for the thread
    await asyncio.sleep(0)  # and what it reports to the loop
    assert list((house.folder / "content").iterdir()) == []
    assert await house.open().next_due() is None


async def test_a_lease_whose_taker_went_away_is_given_back(house: House) -> None:
    entry_id = await add(house.spool)
    await house.spool.close()
    gate = Gate("commit.before")
    spool = house.open(faults=gate)
    await gate.cancel_there(asyncio.ensure_future(spool.lease(NOW, 10)))
    assert ids(await spool.lease(NOW, 10)) == []  # it was committed before
    assert ids(await spool.lease(NOW, 10)) == [entry_id]


async def test_a_large_entry_of_a_known_id_leaves_the_first_ones_file_alone(house: House) -> None:
    entry = new_entry(octets=len(LARGE))
    await house.spool.add(entry, written(house.spool, LARGE))
    other = written(house.spool, LARGE[::-1])
    with pytest.raises(SpoolError, match="already"):
        await house.spool.add(entry, other)
    other.discard()
    assert await whole(house.spool, entry.id) == PREFIX + LARGE
    assert len(list((house.folder / "content").iterdir())) == 1


# --- one that fails harms no other


async def test_an_entry_that_sqlite_refuses_spoils_no_other_of_its_batch(house: House) -> None:
    known = new_entry()
    await house.spool.add(known, written(house.spool, BODY))
    wanted = [new_entry() for _ in range(40)]
    batch = [*wanted[:20], known, *wanted[20:]]
    results = await asyncio.gather(
        *[house.spool.add(entry, written(house.spool, BODY)) for entry in batch], return_exceptions=True
    )
    assert [number for number, result in enumerate(results) if result is not None] == [20]
    assert len(await house.spool.lease(NOW, 100)) == 41
    assert house.spool.entries == 41


def test_sqlite_is_new_enough_to_have_no_corruption_bug() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)
