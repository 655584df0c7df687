"""Backup and restore: nothing that was answered 250 is in neither place, and nothing damaged is put back."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.spool import NOW, add, end, new_entry, whole, written
from tests.support.clock import HandClock

from gatepost.accounts.model import Account
from gatepost.spool.model import State
from gatepost.spool.settings import SpoolSettings
from gatepost.store.backup import backup, named_elsewhere
from gatepost.store.backup_target import MANIFEST, BackupError, Target
from gatepost.store.data_folder import DataFolder, DataLock, prepare
from gatepost.store.lmdb.standing import LmdbStanding
from gatepost.store.maildir.store import MaildirStore
from gatepost.store.restore import restore, saved_configuration
from gatepost.store.sqlite.accounts import SqliteAccounts
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader
from gatepost.store.sqlite.spool_set import SpoolSet

CLOCK = HandClock(NOW)
BIG = b"x" * 70 + b"\r\n"
TOKEN = re.compile(rb"Token: (\d+)\r?\n")
LEFT_BEHIND = 400


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return prepare(tmp_path / "data")


def body(token: int) -> bytes:
    """A message that names its token; every fifth is too large for the database."""
    return b"Token: %d\r\n\r\n" % token + BIG * (5000 if token % 5 == 0 else 3)


async def pieces(*octets: bytes) -> AsyncIterator[bytes]:
    for piece in octets:
        yield piece


def tokens_in(data: Path) -> set[int]:
    """Every message that is in a spool or a maildrop of this folder, whole."""
    found = []
    reader = SqliteSpoolReader(data)
    for entry in reader.list(limit=100_000):
        content = reader.content(entry.id)
        assert content is not None
        assert len(content) == entry.octets
        found.append(content)
    found += [path.read_bytes() for path in (data / "maildrops").rglob("*") if path.is_file()]
    return {int(match[1]) for content in found if (match := TOKEN.search(content))}


class Flow:
    """Mail comes in, moves from spool to spool and into maildrops, without a pause until `stop`."""

    def __init__(self, data: DataFolder) -> None:
        self.kept: set[int] = set()
        self.moved = 0  # from one spool to another
        self.is_stopping = False
        self._spools = SpoolSet.open(data.root, SpoolSettings(), CLOCK)
        self._maildrops = MaildirStore(data.maildrops, host="mx.example.org", clock=CLOCK)

    async def run(self, first: int) -> None:
        await self._spools.adopt()
        await asyncio.gather(self._take_in(first), self._deliver())
        await self._spools.close()
        self._maildrops.close()

    async def _take_in(self, first: int) -> None:
        token = first
        while not self.is_stopping:
            await add(self._spools, body=body(token))
            self.kept.add(token)
            token += 1

    async def _deliver(self) -> None:
        while not self.is_stopping:
            leased = await self._spools.lease(NOW, 20)
            successors = []
            for entry in leased:
                content = await whole(self._spools, entry.id)
                if entry.spool == self._spools.own.name:
                    await self._maildrops.deliver("ada@example.org", entry.id, b"", pieces(content))
                else:  # as a list: the entry of one spool ends, and another one, in the own spool, goes on with it
                    self.moved += 1
                    successors.append((new_entry(octets=len(content)), written(self._spools, content)))
            if leased:
                await self._spools.settle(end(leased, State.DONE), successors)
            await asyncio.sleep(0)


async def test_what_was_kept_before_a_backup_is_in_it_while_mail_flows(data: DataFolder, tmp_path: Path) -> None:
    left = SqliteSpool.open(data.root, "7", SpoolSettings(), CLOCK)
    for token in range(LEFT_BEHIND):
        await add(left, "list@example.com", body=body(token))
    await left.close()
    flow = Flow(data)
    flow.kept |= set(range(LEFT_BEHIND))
    running = asyncio.create_task(flow.run(first=1000))
    kept = []
    try:
        for number in range(4):
            await asyncio.sleep(0.05)
            kept.append(set(flow.kept))
            await asyncio.to_thread(backup, data.root, tmp_path / f"backup-{number}")
    finally:
        flow.is_stopping = True
        await running
    assert kept[0] < kept[-1], "mail did flow"
    assert flow.moved
    for number, before in enumerate(kept):
        again = tmp_path / f"restored-{number}"
        restore(tmp_path / f"backup-{number}", again)
        assert before <= tokens_in(again)
        spools = SpoolSet.open(again, SpoolSettings(), CLOCK, on_damage=lambda *damage: pytest.fail(str(damage)))
        await spools.adopt()
        await spools.close()


async def test_a_restored_folder_has_all_that_the_server_had(data: DataFolder, tmp_path: Path) -> None:
    accounts = SqliteAccounts(data.accounts)
    accounts.put(Account("ada@example.org", quota=7))
    standing = LmdbStanding(data.standing)
    await standing.remember("ban", "192.0.2.7", b"why", NOW + 1e9)
    (data.tls / "self-signed.pem").write_text("certificate")
    (data.root / "dkim").mkdir()
    (data.root / "dkim" / "key.pem").write_text("of a later version")
    day = data.audit / "2026-11-24"
    day.mkdir()
    (day / "mx.0.jsonl").write_bytes(b'{"id":1}\n{"id":2}\n{"id":')
    (data.audit / "writers").mkdir()
    (data.audit / "writers" / "0.lock").touch()
    (data.run / "something").touch()
    config = tmp_path / "gatepost.toml"
    config.write_text("hostname = ...")
    report = backup(data.root, tmp_path / "saved", config, [Path("/etc/ssl/key.pem")])
    accounts.close()
    standing.close()
    assert report.elsewhere == (Path("/etc/ssl/key.pem"),)
    again = tmp_path / "elsewhere" / "data"
    assert restore(tmp_path / "saved", again).elsewhere == report.elsewhere
    folder = prepare(again)
    assert folder.secret() == data.secret()
    restored = SqliteAccounts(folder.accounts)
    assert restored.find("ada@example.org") == Account("ada@example.org", quota=7)
    restored.close()
    remembered = LmdbStanding(folder.standing)
    assert remembered.recall("ban", "192.0.2.7", NOW) == b"why"
    remembered.close()
    assert (folder.tls / "self-signed.pem").read_text() == "certificate"
    assert (again / "dkim" / "key.pem").read_text() == "of a later version"
    assert (again / "audit" / "2026-11-24" / "mx.0.jsonl").read_bytes() == b'{"id":1}\n{"id":2}\n'
    assert not (again / "audit" / "writers").exists()
    assert not (again / "run" / "something").exists()
    saved = saved_configuration(tmp_path / "saved")
    assert saved is not None
    assert saved.read_text() == "hostname = ..."
    folders = [path for path in again.rglob("*") if path.is_dir() and path != folder.run]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


async def test_no_message_is_missed_while_a_mail_program_moves_and_flags_them(data: DataFolder, tmp_path: Path) -> None:
    maildir = data.maildrops / "example.org" / "ada"
    for part in ("tmp", "new", "cur", ".Sent/cur", ".Sent/new"):
        (maildir / part).mkdir(parents=True)
    for number in range(400):
        (maildir / "new" / f"{number}.host").write_text(str(number))
    (maildir / ".Sent" / "cur" / "1.sent:2,S").write_text("sent")
    (maildir / "tmp" / "half").write_text("on its way, so it is in the spool still")
    (maildir / "maildirsize").write_text("a cache of what is no longer true then")
    done = threading.Event()

    def move() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            for part in ("new", "cur"):
                for name in os.listdir(maildir / part):
                    flags = "S" * (turn % 3) + "T" * (turn % 2)
                    os.rename(maildir / part / name, maildir / "cur" / f"{name.partition(':')[0]}:2,{flags}")

    mover = threading.Thread(target=move)
    mover.start()
    try:
        backup(data.root, tmp_path / "saved")
    finally:
        done.set()
        mover.join()
    saved = tmp_path / "saved" / "data" / "maildrops" / "example.org" / "ada"
    messages = [path.read_text() for part in ("new", "cur") for path in (saved / part).iterdir()]
    assert sorted(messages, key=int) == [str(number) for number in range(400)]
    assert (saved / ".Sent" / "cur" / "1.sent:2,S").read_text() == "sent"
    assert not (saved / "tmp").exists()
    assert not (saved / "maildirsize").exists()


def test_mail_behind_a_link_is_saved_and_a_link_in_a_circle_ends(data: DataFolder, tmp_path: Path) -> None:
    other_disk = tmp_path / "disk" / "ada"
    (other_disk / "new").mkdir(parents=True)
    (other_disk / "cur").mkdir()
    (other_disk / "new" / "1.host").write_text("mail")
    (data.maildrops / "example.org").mkdir()
    (data.maildrops / "example.org" / "ada").symlink_to(other_disk)
    (data.maildrops / "example.org" / "circle").symlink_to(data.maildrops)
    backup(data.root, tmp_path / "saved")
    assert (tmp_path / "saved/data/maildrops/example.org/ada/new/1.host").read_text() == "mail"


# --- making one


def test_a_backup_is_never_written_over(data: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(BackupError, match="exists already"):
        backup(data.root, tmp_path / "saved")
    with pytest.raises(BackupError, match=r"see that .* is there and may be written"):
        backup(data.root, tmp_path / "no" / "such" / "folder")


def test_a_backup_that_fails_leaves_nothing(data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Target) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "secret")

    monkeypatch.setattr(Target, "finish", full)
    with pytest.raises(BackupError, match="secret: No space left on device"):
        backup(data.root, tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert not list((data.root / "backups").iterdir())


def test_a_folder_that_is_no_data_folder_is_not_saved(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(BackupError, match="there is nothing to save"):
        backup(tmp_path / "new", tmp_path / "saved")


async def test_a_file_system_without_links_gets_copies(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SqliteSpool.open(data.root, "0", SpoolSettings(), CLOCK)
    entry_id = await add(spool, body=body(5))
    await spool.close()
    link = os.link

    def only_beside(source: Path, target: Path, **more: bool) -> None:
        if "saved" in str(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target, **more)

    monkeypatch.setattr(os, "link", only_beside)
    backup(data.root, tmp_path / "saved")
    saved = tmp_path / "saved" / "data" / "spool" / "0" / "content" / entry_id
    assert saved.stat().st_nlink == 1
    assert saved.read_bytes() == body(5)


def test_files_that_are_not_in_it_are_named(data: DataFolder) -> None:
    files = [data.tls / "key.pem", Path("/etc/ssl/key.pem"), Path("/etc/ssl/key.pem")]
    assert named_elsewhere(data.root, files) == (Path("/etc/ssl/key.pem"),)


# --- putting it back


@pytest.fixture
def saved(data: DataFolder, tmp_path: Path) -> Path:
    backup(data.root, tmp_path / "saved")
    return tmp_path / "saved"


def test_nothing_is_put_into_a_folder_that_is_not_empty(data: DataFolder, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="not empty"):
        restore(saved, data.root)
    other = tmp_path / "other"
    other.mkdir()
    (other / "holiday.jpg").touch()
    with pytest.raises(BackupError, match=r"not empty \(holiday.jpg\)"):
        restore(saved, other)
    assert not (other / "version").exists()


def test_nothing_is_put_back_under_a_running_server(saved: Path, tmp_path: Path) -> None:
    lock = DataLock.take(tmp_path / "other")
    with pytest.raises(BackupError, match="a server is running"):
        restore(saved, tmp_path / "other")
    lock.release()
    restore(saved, tmp_path / "other")


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        pytest.param(lambda s: (s / "data/secret").write_bytes(b"y" * 32), "secret: not what was saved", id="altered"),
        pytest.param(lambda s: (s / "data/secret").unlink(), "secret: missing in the backup", id="missing"),
        pytest.param(lambda s: (s / MANIFEST).unlink(), "this is no backup", id="no manifest"),
        pytest.param(lambda s: (s / MANIFEST).write_text("{}"), "no backup that this Gatepost can read", id="foreign"),
        pytest.param(lambda s: (s / MANIFEST).write_text("\x7fELF"), "damaged", id="no JSON"),
        pytest.param(lambda s: shorten(s / MANIFEST), "its end is missing", id="cut off"),
        pytest.param(lambda s: rename_in(s / MANIFEST, "data/secret", "data/../../x"), "no name of a file", id="out"),
        pytest.param(lambda s: rename_in(s / MANIFEST, "data/secret", "/etc/passwd"), "no name of a file", id="root"),
        pytest.param(
            lambda s: rename_in(s / MANIFEST, '"data_version": 1', '"data_version": 99'), "has version 99", id="newer"
        ),
    ],
)  # fmt: skip
def test_a_damaged_backup_is_refused_and_nothing_of_it_is_in_place(
    saved: Path, tmp_path: Path, harm: object, told: str
) -> None:
    assert callable(harm)
    harm(saved)
    with pytest.raises(BackupError, match=re.escape(told)):
        restore(saved, tmp_path / "other")
    left = tmp_path / "other"
    assert not left.exists() or {path.name for path in left.iterdir()} <= {"lock"}
    shutil.rmtree(left, ignore_errors=True)


def shorten(manifest: Path) -> None:
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))


def rename_in(manifest: Path, old: str, new: str) -> None:
    manifest.write_text(changed(manifest.read_text(), old, new))


def test_a_restore_that_was_interrupted_is_no_data_folder_and_can_be_repeated(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "restoring" / "data").mkdir(parents=True)
    (other / "restoring" / "data" / "secret").touch()
    restore(saved, other)
    assert prepare(other).secret() == (saved / "data" / "secret").read_bytes()


def test_a_name_that_is_no_text_survives(data: DataFolder, tmp_path: Path) -> None:
    maildir = data.maildrops / "example.org" / "ada"
    (maildir / "new").mkdir(parents=True)
    (maildir / "cur").mkdir()
    name = b"1.\xff\xfe.host"
    Path(os.fsdecode(os.fsencode(maildir / "new") + b"/" + name)).write_text("mail")
    backup(data.root, tmp_path / "saved")
    restore(tmp_path / "saved", tmp_path / "other")
    assert os.listdir(os.fsencode(tmp_path / "other/maildrops/example.org/ada/new")) == [name]


def test_the_manifest_says_what_it_is_and_counts(saved: Path) -> None:
    first, *files, last = [json.loads(line) for line in (saved / MANIFEST).read_text().splitlines()]
    assert (first["format"], first["data_version"]) == (1, 1)
    assert {file["name"] for file in files} == {"data/secret", "data/version"}
    assert last == {"files": 2}
