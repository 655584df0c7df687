"""A power cut: only what was synced is left. SQLite's files go through a VFS that keeps, for each, what its last sync
saw; `os.fsync` keeps the same of content files and folders. The worst case of a cut is made from these."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from tests.conformance.spool import BODY, NOW, PREFIX, add, end, ids, new_entry, whole, written
from tests.support.clock import HandClock

from gatepost.spool.model import State
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite import writer
from gatepost.store.sqlite.spool import SqliteSpool

LARGE = b"0123456789abcdef" * 20_000


class Disk:
    """What is on the platter. Files by inode, names by folder."""

    def __init__(self) -> None:
        self.files: dict[int, bytes] = {}
        self.folders: dict[str, dict[str, int]] = {}
        self.syncs = 0

    def sync(self, path: str) -> None:
        """What fsync of a file or of a folder makes safe."""
        self.syncs += 1
        if os.path.isdir(path):
            self.folders[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self.files[os.stat(path).st_ino] = Path(path).read_bytes()

    def after_the_cut(self, data: Path, to: Path) -> Path:
        """The data folder as the next boot finds it. A name whose folder was not synced since is not there; a file
        that was not synced is empty. SQLite syncs the folder itself when it makes a log."""
        for folder, names in self.folders.items():
            if not Path(folder).is_relative_to(data):
                continue
            target = to / Path(folder).relative_to(data)
            target.mkdir(parents=True, exist_ok=True)
            for name, inode in names.items():
                if inode in self.files and not name.endswith("-shm"):
                    (target / name).write_bytes(self.files[inode])
        return to


class SyncedFile(apsw.VFSFile):
    def __init__(self, disk: Disk, filename: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", filename, flags)
        self.disk = disk
        self.path = filename.filename() if isinstance(filename, apsw.URIFilename) else filename

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        if self.path:
            self.disk.sync(self.path)
            self.disk.sync(os.path.dirname(self.path))


class SyncedVfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        super().__init__("synced", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> SyncedFile:  # noqa: N802
        return SyncedFile(self.disk, name, flags)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    vfs = SyncedVfs(disk)

    def fsync(descriptor: int) -> None:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return
        disk.sync(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "fdatasync", fsync)
    yield disk
    vfs.unregister()


def open_spool(data: Path) -> SqliteSpool:
    return SqliteSpool.open(data, "0", SpoolSettings(), HandClock(NOW))


async def until(found: Callable[[], bool]) -> None:
    """Returns once `found` does; for what another thread does."""
    async with asyncio.timeout(20):
        while not found():  # noqa: ASYNC110 - the thread tells nobody
            await asyncio.sleep(0.001)


async def test_what_was_added_survives_a_power_cut_right_after_it(tmp_path: Path, disk: Disk) -> None:
    spool = open_spool(tmp_path / "data")
    for number, body in enumerate((BODY, LARGE, b"x" * 250_000, BODY)):
        entry_id = await add(spool, body=body)
        left = disk.after_the_cut(tmp_path / "data", tmp_path / f"cut{number}")
        after = open_spool(left)
        assert await whole(after, entry_id) == PREFIX + body
        assert after.entries == number + 1
        await after.close()
    await spool.close()


@pytest.fixture
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rides is synced with something else, or not at all."""
    monkeypatch.setattr(writer, "RIDE_SECONDS", 3600.0)


async def test_a_settled_entry_does_not_come_back_once_something_else_was_kept(
    tmp_path: Path, disk: Disk, never_by_itself: None
) -> None:
    spool = open_spool(tmp_path / "data")
    done, deferred = await add(spool, "a@example.org", body=LARGE), await add(spool, "b@example.com")
    first, second = await spool.lease(NOW, 2)
    assert first.id == done
    await spool.settle([*end([first], State.DONE), *end([second], State.DEFERRED, NOW + 60)])
    another = await add(spool, "c@example.com")
    after = open_spool(disk.after_the_cut(tmp_path / "data", tmp_path / "cut"))
    assert ids(await after.lease(NOW + 60, 10)) == [another, deferred]
    await after.close()
    await spool.close()


async def test_what_is_settled_is_synced_soon_by_itself(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RIDE_SECONDS", 0.001)
    monkeypatch.setattr(writer, "IDLE_SECONDS", 3600.0)  # no checkpoint does it
    spool = open_spool(tmp_path / "data")
    await add(spool, body=LARGE)
    leased = await spool.lease(NOW, 1)
    before = disk.syncs
    await spool.settle(end(leased, State.DONE))
    await until(lambda: disk.syncs > before and not os.listdir(spool._layout.content))
    after = open_spool(disk.after_the_cut(tmp_path / "data", tmp_path / "cut"))
    assert after.entries == 0
    await after.close()
    await spool.close()


async def test_an_entry_whose_settlement_a_power_cut_undoes_comes_back_whole(
    tmp_path: Path, disk: Disk, never_by_itself: None
) -> None:
    """Its content file must not be gone before its row is."""
    spool = open_spool(tmp_path / "data")
    entry_id = await add(spool, body=LARGE)
    await spool.settle(end(await spool.lease(NOW, 1), State.DONE))
    assert spool.entries == 0
    await spool.next_due()  # what the writer's thread tidies, it has tidied before it takes this
    assert os.listdir(spool._layout.content) == [entry_id]
    after = open_spool(disk.after_the_cut(tmp_path / "data", tmp_path / "cut"))
    assert await whole(after, entry_id) == PREFIX + LARGE
    assert ids(await after.lease(NOW, 1)) == [entry_id]
    await after.close()
    await spool.close()
    assert os.listdir(spool._layout.content) == []


async def test_what_delivery_adds_is_kept_before_it_goes_on(tmp_path: Path, disk: Disk, never_by_itself: None) -> None:
    """Only then what it was made from may go, which can lie in another spool."""
    spool = open_spool(tmp_path / "data")
    await add(spool)
    leased = await spool.lease(NOW, 1)
    made = new_entry("eve@example.net")
    await spool.settle(end(leased, State.DONE), [(made, written(spool, BODY))])
    after = open_spool(disk.after_the_cut(tmp_path / "data", tmp_path / "cut"))
    assert ids(await after.lease(NOW, 10)) == [made.id]
    await after.close()
    await spool.close()


async def test_a_lease_and_a_settlement_cost_no_sync(tmp_path: Path, disk: Disk, never_by_itself: None) -> None:
    spool = open_spool(tmp_path / "data")
    await add(spool)
    before = disk.syncs
    for _ in range(20):
        await add(spool)
        await spool.settle(end(await spool.lease(NOW, 10), State.DONE))
    assert disk.syncs - before == 2 * 20  # of each sync a folder is noted too
    await spool.close()


async def test_power_cuts_around_checkpoints_lose_nothing(tmp_path: Path, disk: Disk) -> None:
    spool = open_spool(tmp_path / "data")
    added = []
    for number in range(12):
        added += await asyncio.gather(*[add(spool, body=b"x" * 200_000) for _ in range(8)])
        if number % 3 == 2:
            left = disk.after_the_cut(tmp_path / "data", tmp_path / "cut")
            after = open_spool(left)
            assert sorted(ids(await after.lease(NOW, 1000, per_destination=1000))) == sorted(added)
            await after.close()
            shutil.rmtree(left)
    await spool.close()


async def test_those_who_come_together_share_a_sync(tmp_path: Path, disk: Disk) -> None:
    spool = open_spool(tmp_path / "data")
    await add(spool)
    before = disk.syncs
    await asyncio.gather(*[add(spool) for _ in range(100)])
    together = disk.syncs - before
    before = disk.syncs
    for _ in range(100):
        await add(spool)
    assert disk.syncs - before >= 100
    assert together <= 10
    await spool.close()
