"""The Maildir engine: the port's suite, and what other programs, crashes and odd names do to a folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from errno import EIO, ENOSPC
from pathlib import Path

import pytest
from tests.conformance.maildrop import ADA, LARGE, PREFIX, SMALL, MaildropSuite, content_of, pieces
from tests.support.memory_maildrops import MemoryMaildrops
from tests.support.system_clock import SystemClock

from gatepost.mail.ids import make_id
from gatepost.maildrop.port import Arrival, MaildropBusyError, MaildropError, MaildropFullError, MaildropStore
from gatepost.store.maildir import folders
from gatepost.store.maildir.names import (
    MAX_UID_CHARACTERS,
    account_folder,
    age_of,
    base_of,
    delivery_name,
    size_field,
    uid_of,
    unique_name,
)
from gatepost.store.maildir.store import MaildirStore


def make_store(folder: Path, quota: int | None = None) -> MaildirStore:
    return MaildirStore(folder, host="mx.example.org", clock=SystemClock(), quota=lambda account: quota)


class TestMaildir(MaildropSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> Iterator[None]:
        self.folder = tmp_path / "maildrops"
        self.stores: list[MaildirStore] = []
        yield
        for store in self.stores:
            store.close()

    def make(self, quota: int | None) -> MaildropStore:
        self.stores.append(make_store(self.folder, quota))
        return self.stores[-1]


class TestMemory(MaildropSuite):
    """The engine that other tests use keeps the same promises."""

    def make(self, quota: int | None) -> MaildropStore:
        return MemoryMaildrops(quota)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MaildirStore]:
    store = make_store(tmp_path / "maildrops")
    yield store
    store.close()


async def deliver(store: MaildirStore, content: bytes = SMALL, account: str = ADA) -> Path:
    return store.maildir("a@b").parents[1] / await store.deliver(account, "id.0", PREFIX, pieces(content))


def names(maildir: Path) -> list[str]:
    return sorted(f"{part}/{name}" for part in ("tmp", "new", "cur") for name in os.listdir(maildir / part))


# Names


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ("ada@example.org", ("example.org", "ada")),
        ("Ada@Example.ORG", ("example.org", "ada")),
        ("a.b+c_d-e=f@example.org", ("example.org", "a.b+c_d-e=f")),
        ("../../etc@example.org", ("example.org", "%2e.%2f..%2fetc")),
        ("..@example.org", ("example.org", "%2e.")),
        (".@..", ("%2e.", "%2e")),
        ("a/b@example.org", ("example.org", "a%2fb")),
        ("a\x00b\n@example.org", ("example.org", "a%00b%0a")),
        ('a@b"@example.org', ("example.org", "a%40b%22")),
        ("a%2fb@example.org", ("example.org", "a%252fb")),
        ("grün@example.org", ("example.org", "gr%c3%bcn")),
        ("a@[192.0.2.1]", ("%5b192.0.2.1%5d", "a")),
    ],
)
def test_an_account_has_one_folder_that_cannot_leave_the_store(account: str, expected: tuple[str, str]) -> None:
    assert account_folder(account) == expected


@pytest.mark.parametrize("account", ["", "ada", "@example.org", "ada@", "a" * 300 + "@example.org"])
def test_what_is_no_address_has_no_folder(account: str) -> None:
    with pytest.raises(MaildropError, match="has no maildrop"):
        account_folder(account)


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("1700000000.M1P2Q3.mx,S=10,W=12:2,S", "1700000000.M1P2Q3.mx"),
        ("1700000000.M1P2Q3.mx:2,", "1700000000.M1P2Q3.mx"),
        ("1700000000.M1P2Q3.mx,S=10", "1700000000.M1P2Q3.mx"),
        ("name,X=1,S=1", "name,X=1"),
    ],
)
def test_flags_and_sizes_are_no_part_of_a_uid(name: str, uid: str) -> None:
    assert uid_of(base_of(name)) == uid


@pytest.mark.parametrize("base", ["with blank", "x" * 71, "grün", "\udcff", "tab\t"])
def test_a_name_that_is_no_uid_gives_its_hash(base: str) -> None:
    assert len(uid_of(base)) == 64
    assert uid_of(base) != uid_of(base + "x")


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("a,S=1,W=12", 12),
        ("a,W=12:2,S", 12),
        ("a,W=", None),
        ("a,W=x", None),
        ("a,W=1x", None),
        ("a,W=-1", None),
        ("a,W=" + "9" * 100, None),
        ("a:2,W=5", 5),
        ("a", None),
    ],
)
def test_the_size_in_a_name_is_read_or_there_is_none(name: str, octets: int | None) -> None:
    assert size_field(name, "W") == octets


def test_names_sort_by_the_time_they_tell() -> None:
    made = [unique_name(unix, 7, number, "mx") for number, unix in enumerate([9.0, 10.0, 10.000001, 10.000001], 1)]
    made += [unique_name(10.000001, 7, number, "mx") for number in (9, 10)]
    assert sorted(sorted(made), key=age_of) == made
    assert age_of("no time") == age_of("9" * 300 + ".x") == 0


def test_the_name_of_a_delivery_is_the_same_at_each_try_and_sorts_with_others() -> None:
    entry = make_id(10_001, 5)
    name = delivery_name(f"{entry}-12", "mx.example.org")
    assert name == delivery_name(f"{entry}-12", "mx.example.org") != delivery_name(f"{entry}-1", "mx.example.org")
    assert name is not None
    made = [unique_name(10.0005, 7, 1, "mx"), name, unique_name(10.0015, 7, 1, "mx")]
    assert sorted(sorted(made), key=age_of) == made
    assert len(name) <= MAX_UID_CHARACTERS
    assert [delivery_name(odd, "mx") for odd in (entry, f"{entry}-", f"{entry}-x", "../x-1", "")] == [None] * 5


def test_a_host_name_cannot_spoil_a_file_name() -> None:
    assert "/" not in unique_name(1.0, 1, 1, "a/b:c,d")
    assert ":" not in unique_name(1.0, 1, 1, "a/b:c,d")


# Delivery


async def test_a_message_lies_in_new_with_lf_and_tells_both_sizes(store: MaildirStore) -> None:
    path = await deliver(store)
    octets = path.read_bytes()
    assert octets == (PREFIX + SMALL).replace(b"\r\n", b"\n")
    assert path.parent.name == "new"
    assert path.name.endswith(f",S={len(octets)},W={len(PREFIX + SMALL)}")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_nlink == 1
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700
    assert names(path.parent.parent) == [f"new/{path.name}"]


async def test_file_and_folders_are_synced_before_delivery_returns(
    store: MaildirStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    path = await deliver(store)
    maildir = path.parent.parent
    assert [Path(name).parent.name for name in synced[-2:]] == ["tmp", maildir.name]  # the file, then new itself
    assert {str(maildir), str(maildir.parent), str(maildir.parent.parent)} <= set(synced)
    assert synced[-1] == str(path.parent)


def arrivals(count: int, account: str = ADA) -> list[Arrival]:
    return [Arrival(account, f"{make_id(1000, number)}-0", PREFIX, b"%d\r\n" % number) for number in range(count)]


async def test_of_many_at_once_each_file_is_synced_before_it_is_seen_and_each_folder_once(
    store: MaildirStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for account in (ADA, "bob@example.org"):
        (await store.open(account)).close()
    synced, real = [], os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        if synced[-1].name != "new":
            assert names(synced[-1].parents[1])[0].startswith("tmp/")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    places = await store.deliver_all(arrivals(20) + arrivals(3, "bob@example.org"))
    assert [path.parent.name for path in synced[:23]] == ["tmp"] * 23
    assert synced[23:] == [store.maildir(account) / "new" for account in (ADA, "bob@example.org")]
    assert [store.maildir(ADA).parents[1] / str(place) for place in places[:20]] == sorted(
        (store.maildir(ADA) / "new").iterdir()
    )
    assert not list((store.maildir(ADA) / "tmp").iterdir())


async def test_what_was_delivered_before_a_crash_is_not_delivered_again(tmp_path: Path) -> None:
    """The server died between the Maildir and the spool, and each of its users got the last messages twice."""
    first, second = make_store(tmp_path), make_store(tmp_path)
    before = await first.deliver_all(arrivals(3))
    again = await second.deliver_all(arrivals(4))
    assert again[:3] == before
    assert len(names(first.maildir(ADA))) == 4
    large = f"{make_id(1000, 77)}-1"
    place = await first.deliver(ADA, large, PREFIX, pieces(LARGE))
    assert await second.deliver(ADA, large, PREFIX, pieces(LARGE)) == place
    assert await first.used(ADA) == sum(path.stat().st_size for path in (first.maildir(ADA) / "new").iterdir())
    for store in (first, second):
        store.close()


async def test_a_folder_that_cannot_be_synced_fails_those_that_came_into_it_and_no_others(
    store: MaildirStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for account in (ADA, "bob@example.org"):
        (await store.open(account)).close()
    real = os.fsync

    def fsync(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}") == str(store.maildir(ADA) / "new"):
            raise OSError(EIO, "Input/output error")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        ended = await store.deliver_all(arrivals(2) + arrivals(1, "bob@example.org"))
    assert [type(one) for one in ended] == [MaildropError, MaildropError, str]
    assert [type(one) for one in await store.deliver_all(arrivals(2))] == [str, str]
    assert len(names(store.maildir(ADA))) == 2


async def test_a_delivery_whose_content_breaks_off_leaves_nothing(store: MaildirStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield LARGE
        raise OSError("the spool is gone")

    with pytest.raises(MaildropError, match="the spool is gone"):
        await store.deliver(ADA, "id.0", PREFIX, broken())
    assert names(store.maildir(ADA)) == []


async def test_a_cancelled_delivery_leaves_nothing(store: MaildirStore) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield LARGE
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(store.deliver(ADA, "id.0", PREFIX, endless()))
    await started.wait()
    assert len(names(store.maildir(ADA))) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(store.maildir(ADA)) == []


async def test_a_full_disk_is_told_as_full_and_leaves_nothing(
    store: MaildirStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, octets: object) -> int:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(MaildropFullError, match="No space left"):
            await deliver(store)
    assert names(store.maildir(ADA)) == []
    await deliver(store)


async def test_a_folder_that_cannot_be_made_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "maildrops").write_text("not a folder")
    store = make_store(tmp_path / "maildrops")
    with pytest.raises(MaildropError, match=r"maildrops.*check the folder"):
        await deliver(store)
    with pytest.raises(MaildropError, match=r"maildrops.*check the folder"):
        await store.open(ADA)
    store.close()


async def test_what_dead_deliveries_left_is_swept_after_36_hours(store: MaildirStore) -> None:
    (await store.open(ADA)).close()
    old, young = (store.maildir(ADA) / "tmp" / name for name in ("old", "young"))
    for file in (old, young):
        file.touch()
    os.utime(old, (1.0, time.time() - 37 * 3600))
    (await store.open(ADA)).close()
    assert names(store.maildir(ADA)) == ["tmp/young"]


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.close()
    with pytest.raises(MaildropError, match="stopping"):
        await deliver(store)


async def test_many_deliveries_at_once_all_arrive(store: MaildirStore) -> None:
    await asyncio.gather(*(deliver(store, b"%d\r\n" % number) for number in range(60)))
    maildrop = await store.open(ADA)
    found = {await content_of(maildrop, index) for index in range(60)}
    assert found == {PREFIX + b"%d\r\n" % number for number in range(60)}


# Beside other programs


def put(maildir: Path, name: str, octets: bytes, part: str = "cur") -> Path:
    folders.make(maildir.parents[1], maildir)
    path = maildir / part / name
    path.write_bytes(octets)
    return path


@pytest.mark.parametrize("octets", [b"Subject: a\n\nb\n", b"Subject: a\r\n\r\nb\r\n", b"Subject: a\n\nb"])
async def test_a_foreign_message_is_read_with_crlf_whatever_it_has(store: MaildirStore, octets: bytes) -> None:
    put(store.maildir(ADA), "foreign", octets)
    maildrop = await store.open(ADA)
    assert await content_of(maildrop, 0) == b"Subject: a\r\n\r\nb\r\n"
    assert maildrop.messages[0].octets == len(b"Subject: a\r\n\r\nb\r\n")


async def test_a_crlf_that_two_reads_divide_stays_one(store: MaildirStore) -> None:
    octets = b"x" * ((1 << 17) - 1) + b"\r\n" + b"y\r\n"
    put(store.maildir(ADA), "foreign", octets)
    maildrop = await store.open(ADA)
    assert await content_of(maildrop, 0) == octets
    assert maildrop.messages[0].octets == len(octets)


async def test_a_foreign_message_is_measured_once(store: MaildirStore) -> None:
    path = put(store.maildir(ADA), "foreign", b"a\n")
    (await store.open(ADA)).close()
    path.write_bytes(b"changed behind our back\n")
    maildrop = await store.open(ADA)
    assert maildrop.messages[0].octets == 3  # remembered: nothing was read again


async def test_the_memory_of_sizes_survives_damage(store: MaildirStore) -> None:
    maildir = store.maildir(ADA)
    put(maildir, "foreign", b"a\n")
    (maildir / "gatepost-sizes").write_bytes(b"\xff\xfe junk\n99999999999999999999999999 x\n\n3")
    maildrop = await store.open(ADA)
    assert [message.octets for message in maildrop.messages] == [3]


async def test_sizes_of_messages_that_are_gone_are_forgotten(store: MaildirStore) -> None:
    maildir = store.maildir(ADA)
    put(maildir, "foreign", b"a\n")
    (maildir / "gatepost-sizes").write_bytes(b"".join(b"1 gone%d\n" % number for number in range(2000)))
    (await store.open(ADA)).close()
    assert (maildir / "gatepost-sizes").read_bytes() == b"3 foreign\n"


async def test_what_is_no_message_is_left_alone(store: MaildirStore) -> None:
    maildir = store.maildir(ADA)
    put(maildir, ".hidden", b"a\n")
    (maildir / "cur" / "link").symlink_to("/etc/passwd")
    (maildir / "cur" / "folder").mkdir()
    os.mkfifo(maildir / "new" / "pipe")
    maildrop = await store.open(ADA)
    assert maildrop.messages == ()


async def test_one_message_under_two_names_is_one(store: MaildirStore) -> None:
    put(store.maildir(ADA), "1.x", b"a\n", "new")
    put(store.maildir(ADA), "1.x:2,S", b"a\n", "cur")
    assert len((await store.open(ADA)).messages) == 1


async def test_two_names_that_differ_in_sizes_only_have_two_uids(store: MaildirStore) -> None:
    put(store.maildir(ADA), "1.x,S=2,W=3", b"a\n")
    put(store.maildir(ADA), "1.x,S=3,W=4", b"aa\n")
    uids = {message.uid for message in (await store.open(ADA)).messages}
    assert len(uids) == 2


async def test_a_message_that_a_mail_program_moves_is_read_and_removed_there(store: MaildirStore) -> None:
    path = await deliver(store)
    maildrop = await store.open(ADA)
    moved = path.rename(path.parent.parent / "cur" / f"{path.name}:2,S")
    assert await content_of(maildrop, 0) == PREFIX + SMALL
    moved = moved.rename(f"{moved}T")
    assert await maildrop.remove((0,)) == 1
    assert not moved.exists()


async def test_flags_change_no_uid(store: MaildirStore) -> None:
    path = await deliver(store)
    first = await store.open(ADA)
    first.close()
    path.rename(path.parent.parent / "cur" / f"{path.name}:2,FRS")
    assert (await store.open(ADA)).messages == first.messages


async def test_a_removal_is_synced(store: MaildirStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await deliver(store)
    maildrop = await store.open(ADA)
    synced: list[str] = []
    monkeypatch.setattr("gatepost.store.maildir.maildrop.sync_folder", lambda folder: synced.append(str(folder)))
    await maildrop.remove((0,))
    assert str(path.parent) in synced


async def test_a_message_that_cannot_be_removed_is_counted_out(
    store: MaildirStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await deliver(store, b"kept\r\n")
    await deliver(store)
    maildrop = await store.open(ADA)
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == kept.name:
            raise PermissionError("immutable")
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert await maildrop.remove((0, 1)) == 1
    assert kept.exists()


async def test_the_lock_binds_other_processes_and_ends_with_theirs(store: MaildirStore) -> None:
    (await store.open(ADA)).close()
    holder = subprocess.Popen(  # noqa: ASYNC220 - a process that does nothing but hold the lock
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom gatepost.store.maildir.maildrop import LockedMaildir\n"
            "locked = LockedMaildir(Path(sys.argv[1]))\nprint('locked', flush=True)\nsys.stdin.read()",
            str(store.maildir(ADA)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(MaildropBusyError):
            await store.open(ADA)
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    (await store.open(ADA)).close()


async def test_a_cancelled_open_holds_no_lock(store: MaildirStore, monkeypatch: pytest.MonkeyPatch) -> None:
    (await store.open(ADA)).close()
    in_thread, may_go_on = threading.Event(), threading.Event()

    def sweep(maildir: Path, now: float) -> None:
        in_thread.set()
        may_go_on.wait(10)

    with monkeypatch.context() as patch:
        patch.setattr(folders, "sweep", sweep)
        task = asyncio.ensure_future(store.open(ADA))
        await asyncio.to_thread(in_thread.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_go_on.set()
    store.close()  # returns when the thread is done; what it opened is given back on the loop
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    other = make_store(store.maildir("a@b").parents[1])
    (await other.open(ADA)).close()
    other.close()


# Usage


async def test_usage_is_counted_anew_when_mail_programs_have_deleted(tmp_path: Path) -> None:
    store = make_store(tmp_path, quota=2000)
    first = await deliver(store, b"x" * 900 + b"\r\n")
    second = await deliver(store, b"x" * 900 + b"\r\n")
    first.unlink()
    second.unlink()
    await deliver(store, b"x" * 1500 + b"\r\n")
    store.close()


async def test_a_damaged_usage_file_is_counted_anew(store: MaildirStore) -> None:
    await deliver(store)
    right = await store.used(ADA)
    cache = store.maildir(ADA) / "maildirsize"
    for damage in (b"", b"0S\nx 1\n", b"\xff" * 100, b"0S\n" + b"1 1\n" * 5000, b"999S\n5 5\n"):
        cache.write_bytes(damage)
        assert await store.used(ADA) == right


async def test_opening_a_large_maildrop_looks_into_no_message(
    store: MaildirStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir = store.maildir(ADA)
    for number in range(2000):
        put(maildir, f"170000{number:04d}.M1P1Q{number}.mx,S=2,W=3", b"a\n")
    opened = []
    real = os.open

    def counting(path: object, *rest: int, **more: int) -> int:
        opened.append(str(path))
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", counting)
    assert len((await store.open(ADA)).messages) == 2000
    assert not [path for path in opened if "/cur/" in path]
