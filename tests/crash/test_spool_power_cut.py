"""A power cut: only what was synced is left. SQLite's files go through a VFS that keeps, for each, what its last sync
saw; `os.fsync` keeps the same of content files and folders. The worst case of a cut is made from these."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from tests.conformance.spool import BODY, NOW, PREFIX, add, end, ids, whole
from tests.support.clock import HandClock

from gatepost.spool.model import State
from gatepost.spool.settings import SpoolSettings
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
    yield disk
    vfs.unregister()


def open_spool(data: Path) -> SqliteSpool:
    return SqliteSpool.open(data, "0", SpoolSettings(), HandClock(NOW))


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


async def test_a_settled_entry_does_not_come_back_after_a_power_cut(tmp_path: Path, disk: Disk) -> None:
    spool = open_spool(tmp_path / "data")
    done, deferred = await add(spool, "a@example.org", body=LARGE), await add(spool, "b@example.com")
    first, second = await spool.lease(NOW, 2)
    assert first.id == done
    await spool.settle([*end([first], State.DONE), *end([second], State.DEFERRED, NOW + 60)])
    after = open_spool(disk.after_the_cut(tmp_path / "data", tmp_path / "cut"))
    assert ids(await after.lease(NOW + 60, 10)) == [deferred]
    await after.close()
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
