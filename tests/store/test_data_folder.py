"""The data folder: made once, locked by one server, migrated after a backup, refused when it is newer."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gatepost.store.backup import backup
from gatepost.store.data_folder import VERSION, DataError, DataFolder, DataLock, found_version, prepare

NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_has_a_version_and_a_secret_that_stay(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder = prepare(tmp_path / "deep" / "data")
    finally:
        os.umask(before)
    assert found_version(folder.root) == VERSION
    secret = folder.secret()
    assert len(secret) == 32
    assert mode(folder.root / "secret") == 0o600
    assert prepare(folder.root).secret() == secret
    assert prepare(tmp_path / "other").secret() != secret
    assert (mode(folder.root), mode(folder.run)) == (0o711, 0o711), "every user may reach the socket for local mail"
    assert {mode(path) for path in (folder.tls, folder.audit, folder.standing, folder.maildrops)} == {0o700}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match="not empty, and no data folder"):
        prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("text", ["", "one", "1.5", "-1", "é"])
def test_a_damaged_version_is_not_guessed(tmp_path: Path, text: str) -> None:
    prepare(tmp_path)
    (tmp_path / "version").write_text(text)
    with pytest.raises(DataError, match="is no version; restore it from a backup"):
        prepare(tmp_path)


def test_a_start_that_was_interrupted_before_the_version_stood_can_be_repeated(tmp_path: Path) -> None:
    DataLock.take(tmp_path).release()
    (tmp_path / "secret").write_bytes(b"x" * 32)
    assert prepare(tmp_path).secret() != b"x" * 32


def test_a_folder_of_a_newer_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "version").write_text(f"{VERSION + 1}\n")
    with pytest.raises(DataError, match=f"version {VERSION + 1} was written by a newer Gatepost"):
        prepare(tmp_path)
    assert found_version(tmp_path) == VERSION + 1


def add_mark(root: Path) -> None:
    (root / "mark").write_text((root / "mark").read_text() + "+" if (root / "mark").exists() else "+")


def test_an_older_folder_is_saved_and_then_taken_step_by_step_to_this_version(tmp_path: Path) -> None:
    """From the first version on: what the first release wrote must come through every migration."""
    prepare(tmp_path, version=1)
    (tmp_path / "version").write_text("1\n")
    folder = prepare(tmp_path, {1: add_mark, 2: add_mark}, 3, save=backup, now=NOW)
    assert found_version(tmp_path) == 3
    assert (tmp_path / "mark").read_text() == "++"
    saved = folder.backups / "version-1-20261124T100000Z"
    assert (saved / "data" / "version").read_text() == "1\n"
    assert (saved / "data" / "secret").read_bytes() == folder.secret()
    assert not (saved / "data" / "mark").exists()
    assert json.loads((saved / "manifest.jsonl").read_text().splitlines()[0])["data_version"] == 1


def test_every_migration_from_the_first_version_on_is_there(tmp_path: Path) -> None:
    prepare(tmp_path, version=1)
    assert found_version(prepare(tmp_path, save=backup).root) == VERSION


def test_nothing_is_migrated_without_a_backup(tmp_path: Path) -> None:
    prepare(tmp_path, version=1)
    with pytest.raises(DataError, match="version 1, this Gatepost needs 2; start the server"):
        prepare(tmp_path, {1: add_mark}, 2)

    def no_room(data: Path, dest: Path) -> None:
        raise DataError("no room")

    with pytest.raises(DataError, match="no room"):
        prepare(tmp_path, {1: add_mark}, 2, save=no_room)
    assert not (tmp_path / "mark").exists()
    assert found_version(tmp_path) == 1


def test_a_migration_that_fails_leaves_the_version_of_the_last_one_that_did_not(tmp_path: Path) -> None:
    prepare(tmp_path, version=1)

    def fails(root: Path) -> None:
        raise OSError(28, "No space left on device", str(root / "accounts.db"))

    with pytest.raises(DataError, match=r"accounts\.db: No space left on device"):
        prepare(tmp_path, {1: add_mark, 2: fails}, 3, save=backup, now=NOW)
    assert found_version(tmp_path) == 2


HOLD = """
import sys
from pathlib import Path
from gatepost.store.data_folder import DataLock
lock = DataLock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_only_one_server_has_a_data_folder_and_the_other_learns_who(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataError, match=rf"a server is running with this data folder \(process {holder.pid}\)"):
            DataLock.take(tmp_path)
        holder.kill()
    DataLock.take(tmp_path).release()  # it ends with its holder, however that ends


def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("important")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(DataError):
        DataLock.take(tmp_path / "data")
    assert (tmp_path / "victim").read_text() == "important"


def test_a_lost_secret_is_missed(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(DataError, match="5 octets instead of 32"):
        DataFolder(tmp_path).secret()
    (tmp_path / "secret").unlink()
    with pytest.raises(DataError, match="secret: No such file"):
        folder.secret()
