from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from tests.conformance.keys import BOB, NOW, KeyStoreConformance, PublishedKeysConformance, kept, shown
from tests.support.memory_keys import MemoryKeys

from gatepost.seal.port import Absence, KeyStoreError
from gatepost.store.backup import backup
from gatepost.store.data_folder import prepare
from gatepost.store.restore import restore
from gatepost.store.sqlite.keys import MIGRATIONS, SqliteKeys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


class TestSqlite(KeyStoreConformance, PublishedKeysConformance):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[SqliteKeys]:
        store = SqliteKeys(path)
        yield store
        store.close()


class TestMemory(KeyStoreConformance):
    @pytest.fixture
    def store(self) -> MemoryKeys:
        return MemoryKeys()


def test_keys_outlive_the_process_and_two_use_them_at_once(path: Path) -> None:
    first, second = SqliteKeys(path), SqliteKeys(path)
    asyncio.run(first.put(kept()))
    assert asyncio.run(second.find(BOB)) == (kept(),)
    first.close()
    second.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = SqliteKeys(path)
    assert asyncio.run(again.find(BOB)) == (kept(),)
    again.close()


def test_a_file_that_is_no_database_or_of_a_newer_program_is_refused_with_its_name(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(KeyStoreError, match=r"keys\.db is no database of keys"):
        SqliteKeys(path)
    path.unlink()
    SqliteKeys(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(KeyStoreError, match="a newer one wrote it"):
        SqliteKeys(path)


def test_a_store_that_cannot_answer_says_so_instead_of_no_key(path: Path) -> None:
    """A required key that is said not to exist would be a bounce; one that cannot be looked up is tried again."""
    store = SqliteKeys(path)
    other = apsw.Connection(str(path))
    other.execute("DROP TABLE kept")
    other.close()
    with pytest.raises(KeyStoreError, match="cannot be read"):
        asyncio.run(store.find(BOB))
    store.close()


def test_look_ups_in_vain_that_ended_long_ago_are_not_kept_for_ever(path: Path) -> None:
    store = SqliteKeys(path)
    for number in range(50):
        absence = Absence(f"nobody{number}@example.net", NOW + timedelta(days=number))
        asyncio.run(store.put_absence(absence))
    store.close()
    connection = apsw.Connection(str(path))
    (found,) = connection.execute("SELECT count(*) FROM absence").fetchone() or (0,)
    connection.close()
    assert found == 8


def test_keys_are_in_the_backup_and_come_back(tmp_path: Path) -> None:
    data = prepare(tmp_path / "data")
    store = SqliteKeys(data.keys)
    asyncio.run(store.put(kept()))
    asyncio.run(store.publish(shown()))
    backup(data.root, tmp_path / "saved")
    store.close()
    restore(tmp_path / "saved", tmp_path / "other")
    again = SqliteKeys(tmp_path / "other" / data.keys.name)
    assert asyncio.run(again.find(BOB)) == (kept(),)
    assert asyncio.run(again.published()) == (shown(),)
    again.close()


def test_a_file_that_cannot_be_read_is_told_and_a_restored_one_is_taken_at_once(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    told: list[str] = []
    store = SqliteKeys(path, on_fault=told.append)
    assert "keys.db is no database of keys; restore a backup of it" in told[0]
    with pytest.raises(KeyStoreError, match=r"keys\.db is no database of keys"):
        asyncio.run(store.find(BOB))
    path.unlink()
    asyncio.run(store.put(kept()))
    assert asyncio.run(store.find(BOB)) == (kept(),)
    store.close()


def test_one_that_was_never_opened_is_closed_like_any_other(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    SqliteKeys(path, on_fault=lambda problem: None).close()
