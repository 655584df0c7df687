from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.conformance.spool import BODY, NOW, PREFIX, add, end, ids, whole
from tests.support.clock import HandClock

from gatepost.spool.model import State
from gatepost.spool.port import SpoolError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite import spool_backup
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_backup import backup_spools

LARGE = b"0123456789abcdef" * 20_000


def open_spool(data: Path, name: str = "0") -> SqliteSpool:
    return SqliteSpool.open(data, name, SpoolSettings(), HandClock(NOW))


async def test_a_copy_made_while_the_owner_lives_has_every_entry_whole(tmp_path: Path) -> None:
    spool, other = open_spool(tmp_path / "data"), open_spool(tmp_path / "data", "1")
    small, large = await add(spool), await add(spool, body=LARGE)
    elsewhere = await add(other)
    await spool.lease(NOW, 1)
    assert backup_spools(tmp_path / "data", tmp_path / "copy") == ["0", "1"]
    await add(spool)  # the owner goes on
    restored, restored_other = open_spool(tmp_path / "copy"), open_spool(tmp_path / "copy", "1")
    assert sorted(ids(await restored.lease(NOW, 10))) == sorted([small, large])  # leases died with their owner
    assert await whole(restored, small) == PREFIX + BODY
    assert await whole(restored, large) == PREFIX + LARGE
    assert ids(await restored_other.lease(NOW, 10)) == [elsewhere]
    for opened in (spool, other, restored, restored_other):
        await opened.close()
    assert [path for path in (tmp_path / "copy").rglob("*") if path.stat().st_mode & 0o077] == []


async def test_copies_under_load_are_consistent(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "data")
    kept = [await add(spool, "kept@example.com", body=LARGE) for _ in range(3)]
    is_over = False

    async def work() -> None:
        while not is_over:
            await add(spool, body=LARGE)
            await spool.settle(end(await spool.lease(NOW, 1, exclude={"example.com"}), State.DONE))

    worker = asyncio.create_task(work())
    for number in range(5):
        copy = tmp_path / f"copy{number}"
        await asyncio.to_thread(backup_spools, tmp_path / "data", copy)
        restored = open_spool(copy)
        found = ids(await restored.lease(NOW, 100))
        assert set(kept) <= set(found)
        for entry_id in found:
            assert await whole(restored, entry_id) == PREFIX + LARGE
        await restored.close()
    is_over = True
    await worker
    await spool.close()


async def test_an_entry_that_left_between_database_and_files_is_not_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path / "data")
    gone, kept = await add(spool, body=LARGE), await add(spool, body=LARGE)
    await spool.close()
    copy_content = spool_backup._copy_content

    def after_a_delivery(source: object, target: object) -> None:
        (tmp_path / "data" / "spool" / "0" / "content" / gone).unlink()
        copy_content(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(spool_backup, "_copy_content", after_a_delivery)
    backup_spools(tmp_path / "data", tmp_path / "copy")
    restored = open_spool(tmp_path / "copy")
    assert ids(await restored.lease(NOW, 10)) == [kept]
    await restored.close()


async def test_a_copy_never_overwrites_a_spool(tmp_path: Path) -> None:
    await open_spool(tmp_path / "data").close()
    backup_spools(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(SpoolError, match="is there already"):
        backup_spools(tmp_path / "data", tmp_path / "copy")
