"""The LMDB engine: the suite of the port, and what only files and processes can show."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
from tests.conformance.standing import NOW, StandingSuite
from tests.support.memory_standing import MemoryStanding

from gatepost.standing.port import Charge, Enter, Leave, Level, Note, Noted, Peek, Rate, StandingError, StandingStore
from gatepost.store.lmdb import opening
from gatepost.store.lmdb.opening import COUNTERS, FACTS
from gatepost.store.lmdb.room import overwrites_in_place
from gatepost.store.lmdb.standing import LmdbStanding

HOUR = NOW + 3600
SMALL_MAP = 4 * 1024 * 1024


class TestLmdb(StandingSuite):
    @pytest.fixture
    def standing(self, tmp_path: Path) -> Iterator[StandingStore]:
        store = LmdbStanding(tmp_path / "standing")
        yield store
        store.close()


class TestMemory(StandingSuite):
    @pytest.fixture
    def standing(self) -> StandingStore:
        return MemoryStanding()


@contextmanager
def opened(folder: Path, boot: str = "boot-1", map_octets: int = 1 << 26) -> Iterator[tuple[LmdbStanding, list[str]]]:
    reports: list[str] = []
    store = LmdbStanding(folder, reports.append, boot=boot, map_octets=map_octets)
    try:
        yield store, reports
    finally:
        store.close()


WORKER = """
import sys
from pathlib import Path
from gatepost.standing.port import *
from gatepost.store.lmdb.standing import LmdbStanding
store = LmdbStanding(Path(sys.argv[1]), boot="boot-1", map_octets=1 << 26)
"""


@contextmanager
def worker(folder: Path, script: str, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process on the same folder; it has said "ready" when the block begins. before: it opens it."""
    command = [sys.executable, "-c", before + WORKER + script, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


READY = "print('ready', flush=True); sys.stdin.readline()\n"


def test_counters_and_facts_survive_a_restart_within_one_boot(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        store.tally([Charge("k", Rate(10, 3600), 7), Note("n", b"v", HOUR)], NOW)
    with opened(tmp_path) as (store, reports):
        assert store.tally([Peek("k", Rate(10, 3600)), Noted("n")], NOW) == [Level(True, 7, 0), b"v"]
        assert reports == []


async def test_after_a_reboot_counters_are_thrown_away_unread_and_facts_stay(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        store.tally([Note("n", b"v", HOUR)], NOW)
        await store.remember("ban", "192.0.2.1", b"why", HOUR)
    (tmp_path / COUNTERS).write_bytes(os.urandom(8192) * 4)  # reading this could end the process
    with opened(tmp_path, boot="boot-2") as (store, reports):
        assert store.tally([Noted("n")], NOW) == [None]
        assert store.recall("ban", "192.0.2.1", NOW) == b"why"
        assert reports == []


def test_without_a_boot_id_counters_never_outlive_the_processes(tmp_path: Path) -> None:
    with opened(tmp_path, boot="") as (store, _):
        store.tally([Note("n", b"v", HOUR)], NOW)
    with opened(tmp_path, boot="") as (store, _):
        assert store.tally([Noted("n")], NOW) == [None]


def noise(path: Path) -> None:
    path.write_bytes(os.urandom(65536))


def torn_pages(path: Path) -> None:
    """Every page but the two that describe the file is zeroed, as after a disk that forgot."""
    octets = bytearray(path.read_bytes())
    octets[2 * 4096 :] = bytes(len(octets) - 2 * 4096)
    path.write_bytes(octets)


def wild_pointers(path: Path) -> None:
    """Pages lead far behind the end of the file: reading them is SIGBUS or SIGSEGV."""
    octets = bytearray(path.read_bytes())
    for page in range(2, len(octets) // 4096):
        octets[page * 4096 + 16 : page * 4096 + 400] = b"\xff\x7f" * 192
    path.write_bytes(octets)


def foreign(path: Path) -> None:
    """A sound LMDB file, but not ours."""
    path.unlink()
    with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as txn:
        txn.put(b"b", b"x")


@pytest.mark.parametrize("damage", [noise, torn_pages, wild_pointers, foreign])
async def test_a_damaged_file_is_set_aside_reported_and_replaced(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    with opened(tmp_path) as (store, _):
        store.tally([Note(str(n), b"v" * 50, HOUR) for n in range(500)], NOW)
        for n in range(300):
            await store.remember("ban", str(n), b"v" * 100, HOUR)
    damage(tmp_path / FACTS)
    damaged = (tmp_path / FACTS).read_bytes()
    with opened(tmp_path) as (store, reports):
        assert store.recall_all("ban", NOW) == []
        await store.remember("ban", "192.0.2.1", b"why", HOUR)
        assert store.tally([Noted("7")], NOW) == [b"v" * 50]  # the other file is none the worse
    (report,) = reports
    assert f"{FACTS} is damaged" in report
    assert "ban add" in report
    assert (tmp_path / f"{FACTS}.damaged-1").read_bytes() == damaged
    damage(tmp_path / COUNTERS)
    with opened(tmp_path) as (store, reports):
        assert store.tally([Noted("7")], NOW) == [None]
        assert store.recall("ban", "192.0.2.1", NOW) == b"why"
    assert len(reports) == 1


def test_connections_of_a_killed_process_are_not_counted_by_the_next(tmp_path: Path) -> None:
    script = "store.tally([Enter('192.0.2.1')] * 3 + [Enter('192.0.2.2')], 0)\n" + READY
    with opened(tmp_path) as (store, _), worker(tmp_path, script) as process:
        assert store.tally([Enter("192.0.2.1")], NOW) == [4]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.tally([Leave("192.0.2.1")], NOW) == [3]  # nobody has noticed yet
        with worker(tmp_path, READY):  # its successor
            assert store.tally([Enter("192.0.2.1"), Enter("192.0.2.2")], NOW) == [1, 1]


async def test_connections_of_a_killed_process_without_successor_are_swept(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        with worker(tmp_path, "store.tally([Enter('k')] * 3, 0)\n" + READY):
            await store.sweep(NOW)
            assert store.tally([Enter("k")], NOW) == [4]
        await store.sweep(NOW)
        assert store.tally([Enter("k")], NOW) == [2]


def test_a_process_that_closes_takes_its_connections_along_and_no_others(tmp_path: Path) -> None:
    script = READY + "store.tally([Enter('k')] * 3, 0); store.close(); print('closed', flush=True)\n"
    with opened(tmp_path) as (store, _), worker(tmp_path, script) as process:
        store.tally([Enter("k")], NOW)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "closed\n"
        assert store.tally([Enter("k")], NOW) == [2]


def test_two_processes_count_exactly(tmp_path: Path) -> None:
    script = (
        READY
        + "allowed = sum(store.tally([Charge('k', Rate(3000, 1e9))], 5.0)[0].allowed for _ in range(2000))\n"
        + "print(allowed, flush=True)\n"
    )
    with worker(tmp_path, script) as one, worker(tmp_path, script) as other:
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        counts = [int(process.stdout.readline()) for process in (one, other) if process.stdout is not None]
    assert sum(counts) == 3000


def test_a_process_killed_in_the_middle_of_a_write_stops_nobody(tmp_path: Path) -> None:
    script = "txn = store._counters.begin(write=True); txn.put(b'nhalf', bytes(20))\n" + READY
    with opened(tmp_path) as (store, _):
        with worker(tmp_path, script):
            pass
        assert store.tally([Note("n", b"v", HOUR), Noted("half"), Noted("n")], NOW) == [None, None, b"v"]


def test_the_files_are_opened_with_a_running_process_without_looking_for_damage(tmp_path: Path) -> None:
    """A command must not throw away what a live worker counts, not even with another boot ID."""
    with opened(tmp_path) as (store, _):
        store.tally([Note("n", b"v", HOUR)], NOW)
        command = [sys.executable, "-c", WORKER.replace("boot-1", "boot-2") + "print(store.tally([Noted('n')], 0))"]
        said = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True).stdout
        assert said == "[b'v']\n"


async def test_what_was_remembered_is_there_after_a_kill(tmp_path: Path) -> None:
    script = "import asyncio; asyncio.run(store.remember('grant', 'k', b'v', 2e9))\n" + READY
    with worker(tmp_path, script):
        pass
    with opened(tmp_path) as (store, _):
        assert store.recall("grant", "k", NOW) == b"v"


async def test_facts_are_synced_and_counters_are_not(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        assert store._facts._environment.flags()["sync"] is True
        assert store._facts._environment.flags()["metasync"] is True
        counters = store._counters.flags()
        assert (counters["sync"], counters["writemap"]) == (False, overwrites_in_place(tmp_path))


def test_who_leaves_and_who_arrives_at_the_same_keys_write_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _), worker(tmp_path, "store.tally([Enter('k')], 1e9)\n" + READY):
        assert store.tally([Enter("k"), Enter("j")], NOW) == [2, 1]
        before = store._counters.info()["last_txnid"]
        assert store.tally([Leave("k"), Leave("j"), Enter("k"), Enter("j")], NOW) == [1, 0, 2, 1]
        assert store._counters.info()["last_txnid"] == before
        assert store.tally([Enter("k"), Leave("j")], NOW) == [3, 0]
        assert store.tally([Enter("k"), Enter("j")], NOW) == [4, 1]


def test_the_counters_are_never_mapped_beyond_what_is_reserved_while_processes_make_room_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page without a block would be SIGBUS on a full disk, and a file cut off by one process SIGBUS in the other."""
    monkeypatch.setattr(opening, "RESERVED_OCTETS", 1 << 20)
    little = "from gatepost.store.lmdb import opening; opening.RESERVED_OCTETS = 1 << 20\n"
    flood = "for n in range(20_000): store.tally([Note(f'theirs {n}', b'v' * 100, 2e9)], 1e9)\n"
    again = "print('ready', flush=True); sys.stdin.readline()\n"

    def reserved(store: LmdbStanding) -> int:
        status, mapped = (tmp_path / COUNTERS).stat(), store._counters.info()["map_size"]
        assert status.st_size >= mapped
        assert status.st_blocks * 512 >= mapped
        return mapped

    with opened(tmp_path) as (store, reports):
        assert reserved(store) == 1 << 20
        with worker(tmp_path, READY + flood + again, little) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go on\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            assert store.tally([Noted("theirs 0"), Noted("theirs 19999")], NOW) == [b"v" * 100] * 2
            grown = reserved(store)
            assert grown >= 4 << 20
            for n in range(20_000):
                store.tally([Note(f"ours {n}", b"v" * 100, HOUR)], NOW)
            with worker(tmp_path, READY + "print(store.tally([Noted('ours 19999')], 1e9)); " + again) as third:
                assert reserved(store) > grown  # opening cuts nothing off
                told, _ = third.communicate("go on\n\n")
                assert told.startswith(str([b"v" * 100]))
        assert store.tally([Noted("theirs 19999"), Noted("ours 0")], NOW) == [b"v" * 100] * 2
        assert reports == []


@pytest.mark.parametrize(
    ("kinds", "answer"),
    [(["ext4"], True), (["xfs", "xfs"], True), (["btrfs"], False), (["ext4", "overlay"], False), ([], False)],
)
def test_which_file_systems_write_to_what_is_reserved(tmp_path: Path, kinds: list[str], answer: bool) -> None:
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    lines = [f"24 1 {os.major(device)}:{os.minor(device)} / /data rw - {kind} /dev/vda rw\n" for kind in kinds]
    table.write_text("23 1 0:4095 / /proc rw shared:1 - proc proc rw\n" + "".join(lines))
    assert overwrites_in_place(tmp_path, table) is answer
    assert not overwrites_in_place(tmp_path, tmp_path / "no table")


def test_a_full_counter_file_makes_room_and_counts_on(tmp_path: Path) -> None:
    with opened(tmp_path, map_octets=SMALL_MAP) as (store, reports):
        store.tally([Enter("k")] * 3, NOW)
        for n in range(50_000):
            store.tally([Note(f"flood {n}", b"v" * 100, HOUR + n)], NOW)
        assert store.tally([Noted("flood 49999")], NOW) == [b"v" * 100]
        assert store.tally([Enter("k")], NOW) == [4]
        (report,) = reports  # one a minute
        assert "is full" in report
        assert store.tally([Noted("flood 0"), Noted("flood 49900")], NOW) == [None, b"v" * 100]


def test_a_full_disk_stops_no_counting_and_kills_nobody(tmp_path: Path) -> None:
    """A file mapped beyond its reserve would end the process with SIGBUS here; one without could not even delete."""
    script = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (store._counters.info()["map_size"],) * 2)  # as if the disk had no more
for n in range(60_000):
    store.tally([Note(f"flood {n}", b"v" * 100, 2e9)], 1e9)
store.tally([Enter("k")], 1e9)
print("ready", flush=True)
print(store.tally([Noted("flood 59999"), Enter("k")], 1e9), flush=True)
sys.stdin.readline()
"""
    with worker(tmp_path, script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{[b'v' * 100, 2]}\n"


async def test_full_facts_give_up_the_greylist_but_no_ban_and_no_grant(tmp_path: Path) -> None:
    with opened(tmp_path, map_octets=SMALL_MAP) as (store, reports):
        await store.remember("ban", "192.0.2.1", b"why", HOUR)
        await store.remember("grant", "192.0.2.1", b"ada", HOUR)
        flood = (store.remember("greylist", f"flood {n}", b"v" * 100, HOUR + n) for n in range(50_000))
        await asyncio.gather(*flood)
        assert store.recall("ban", "192.0.2.1", NOW) == b"why"
        assert store.recall("grant", "192.0.2.1", NOW) == b"ada"
        assert store.recall("greylist", "flood 49999", NOW)
        assert "of greylist were given up" in reports[0]


async def test_facts_full_of_bans_are_an_error_that_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, map_octets=SMALL_MAP) as (store, _):
        flood = [store.remember("ban", f"flood {n}", b"v" * 100, HOUR) for n in range(50_000)]
        with pytest.raises(StandingError, match=r"facts.mdb cannot be written .*see that the disk has room"):
            await asyncio.gather(*flood)
        assert store.recall("ban", "flood 0", NOW)


async def test_the_sweep_removes_what_has_ended_and_nothing_else(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        store.tally([Note(f"{n}", b"v", NOW + n) for n in range(1200)], NOW)
        store.tally([Charge(f"{n}", Rate(10, 600), 1 + n % 10) for n in range(100)], NOW)
        store.tally([Enter("k")], NOW)
        for n in range(20):
            await store.remember("greylist", f"{n}", b"v", NOW + n)
        assert await store.sweep(NOW + 599) == 600 + 90 + 20
        assert store.tally([Noted("599"), Noted("600"), Enter("k")], 0) == [None, b"v", 2]
        assert await store.sweep(NOW + 599) == 0


async def test_a_sweep_ends_before_it_has_seen_all_and_the_next_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, _):
        store.tally([Note(f"{n}", b"v", NOW) for n in range(25_000)], NOW)
        assert [await store.sweep(NOW + 1) for _ in range(3)] == [10_000, 10_000, 5_000]


def test_a_folder_that_cannot_be_used_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StandingError, match="cannot open what is remembered there"):
        LmdbStanding(tmp_path / "file")
