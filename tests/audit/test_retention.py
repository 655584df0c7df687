"""Days that are over: compressed without a gap, removed in time, and provable still."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from backports import zstd
from tests.audit.parts import DAY, NOON, chain_by_hand, lines_of, writer
from tests.support.clock import HandClock

from gatepost.audit import retention
from gatepost.audit.event import Event, RecordError
from gatepost.audit.files import CannotRead, RecordFile, files_of, removed
from gatepost.audit.retention import compress, tidy
from gatepost.audit.search import search
from gatepost.audit.verify import verify_all
from gatepost.audit.writer import AuditWriter

DAYS = 5
KEEP = 3 * DAY
NAME = "mx.example.org.0.jsonl"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOON)


@pytest.fixture
def record(tmp_path: Path, clock: HandClock) -> AuditWriter:
    """Has written an event on each of five days, 24 to 28 November; it is noon of the last one."""
    record = writer(tmp_path, clock)
    for day in range(DAYS):
        clock.at = NOON + day * DAY
        record.record(Event("server", id=f"01DAY{day}"))
    return record


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("20*/*"))


def told(folder: Path) -> list[str]:
    return [event["id"] for event in search(folder) if event["id"].startswith("01DAY")]


def all_problems(folder: Path) -> list[str]:
    return [str(problem) for _, each in verify_all(folder) for problem in each]


def test_days_that_are_over_are_compressed_and_are_found_as_before(
    tmp_path: Path, record: AuditWriter, clock: HandClock
) -> None:
    before = [event["chain"] for event in search(tmp_path)]
    done = tidy(tmp_path, 90 * DAY, clock.at, record)
    assert done.compressed == tuple(f"2025-11-2{day}/{NAME}" for day in (4, 5, 6, 7))
    assert done.removed == done.problems == ()
    assert names(tmp_path) == [*(f"2025-11-2{day}/{NAME}.zst" for day in (4, 5, 6, 7)), f"2025-11-28/{NAME}"]
    assert [event["chain"] for event in search(tmp_path)] == before
    assert all_problems(tmp_path) == []
    assert tidy(tmp_path, 90 * DAY, clock.at, record).compressed == ()
    record.close()


def test_a_day_that_ended_a_moment_ago_is_left_alone(tmp_path: Path, record: AuditWriter, clock: HandClock) -> None:
    clock.at = NOON + DAYS * DAY - DAY / 2 + 60.0
    assert f"2025-11-28/{NAME}" not in tidy(tmp_path, 90 * DAY, clock.at, record).compressed
    clock.at += 3600.0
    assert f"2025-11-28/{NAME}" in tidy(tmp_path, 90 * DAY, clock.at, record).compressed
    record.close()


def test_what_is_compressed_cannot_be_read_by_others(tmp_path: Path, record: AuditWriter, clock: HandClock) -> None:
    tidy(tmp_path, KEEP, clock.at, record)
    record.close()
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert paths
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)


def test_days_end_when_keep_is_over_and_the_rest_is_provable_still(
    tmp_path: Path, record: AuditWriter, clock: HandClock
) -> None:
    last = chain_by_hand(tmp_path / "2025-11-24" / NAME, bytes.fromhex(_previous(tmp_path / "2025-11-24" / NAME)))
    assert tidy(tmp_path, KEEP, clock.at, record).removed == (f"2025-11-24/{NAME}",)
    assert not (tmp_path / "2025-11-24").exists()
    assert told(tmp_path) == ["01DAY1", "01DAY2", "01DAY3", "01DAY4"]
    assert all_problems(tmp_path) == []
    (note,) = removed(tmp_path)
    assert (note.file, note.lines, note.chain) == (f"2025-11-24/{NAME}", 2, last.hex())
    (event,) = [event for event in lines_of(record.path) if event.get("details", {}).get("day")]
    assert event["details"]["files"][0]["chain"] == last.hex()
    record.close()


def test_without_the_note_a_removed_day_is_a_missing_one(tmp_path: Path, record: AuditWriter, clock: HandClock) -> None:
    tidy(tmp_path, KEEP, clock.at, record)
    (tmp_path / "removed.jsonl").unlink()
    assert any("is missing" in problem for problem in all_problems(tmp_path))
    record.close()


def test_today_stays_however_short_keep_is(tmp_path: Path, record: AuditWriter, clock: HandClock) -> None:
    tidy(tmp_path, 0.0, clock.at, record)
    assert told(tmp_path) == ["01DAY4"]
    record.close()


@pytest.mark.parametrize("days_later", [1, 20])
def test_a_writer_that_comes_back_after_all_its_files_are_gone_goes_on_where_it_was(
    tmp_path: Path, record: AuditWriter, clock: HandClock, days_later: int
) -> None:
    record.close()
    clock.at += days_later * DAY
    other = writer(tmp_path, clock, worker=5)
    tidy(tmp_path, 0.0 if days_later == 20 else 90 * DAY, clock.at, other)  # gone, or compressed only
    again = writer(tmp_path, clock)
    again.record(Event("server"))
    assert lines_of(again.path)[0]["details"]["follows"] == f"2025-11-28/{NAME}"
    assert all_problems(tmp_path) == []
    again.close()
    other.close()


def test_unfinished_lines_that_were_set_aside_end_with_their_day(
    tmp_path: Path, record: AuditWriter, clock: HandClock
) -> None:
    (tmp_path / "torn").mkdir()
    for name in (f"2025-11-24.{NAME}.17", f"2025-11-27.{NAME}.17", "notes-of-a-person"):
        (tmp_path / "torn" / name).write_bytes(b"{")
    tidy(tmp_path, KEEP, clock.at, record)
    record.close()
    assert sorted(os.listdir(tmp_path / "torn")) == [f"2025-11-27.{NAME}.17", "notes-of-a-person"]


def test_a_removal_that_cannot_be_recorded_is_none(tmp_path: Path, record: AuditWriter, clock: HandClock) -> None:
    record.close()  # so it refuses
    with pytest.raises(RecordError):
        tidy(tmp_path, KEEP, clock.at, record)
    assert (tmp_path / "2025-11-24").exists()


def test_a_file_that_changes_while_it_is_compressed_stays(
    tmp_path: Path, record: AuditWriter, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "2025-11-24" / NAME
    copy = retention._copy

    def copy_and_append(source: object, target: object) -> tuple[bytes, int]:
        found = copy(source, target)  # type: ignore[arg-type]
        if target is not None:
            with path.open("ab") as stream:
                stream.write(b"late")
        return found

    monkeypatch.setattr(retention, "_copy", copy_and_append)
    done = tidy(tmp_path, 90 * DAY, clock.at, record)
    record.close()
    assert "changed while it was compressed" in done.problems[0]
    assert path.read_bytes().endswith(b"late")
    assert not list(path.parent.glob("*.zst*"))


def test_a_compression_that_a_crash_cut_short_is_done_again(
    tmp_path: Path, record: AuditWriter, clock: HandClock
) -> None:
    record.close()
    path = tmp_path / "2025-11-24" / NAME
    whole = path.read_bytes()
    path.with_name(NAME + ".zst.new").write_bytes(b"half")
    path.with_name(NAME + ".zst").write_bytes(zstd.compress(whole))  # renamed, but the plain file still there
    assert told(tmp_path).count("01DAY0") == 1
    compress(RecordFile("2025-11-24", "mx.example.org", 0, path))
    assert names(tmp_path)[:1] == [f"2025-11-24/{NAME}.zst"]
    assert zstd.decompress(path.with_name(NAME + ".zst").read_bytes()) == whole


def test_two_do_not_tidy_at_once(tmp_path: Path, record: AuditWriter, clock: HandClock) -> None:
    with (tmp_path / "writers" / "retention").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert tidy(tmp_path, KEEP, clock.at, record) == retention.Tidied()
    assert tidy(tmp_path, KEEP, clock.at, record).removed
    record.close()


def test_without_zstd_days_stay_as_they_are_and_the_operator_is_told_what_to_install(
    tmp_path: Path, record: AuditWriter, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_zstd() -> None:
        raise CannotRead("install backports.zstd")

    monkeypatch.setattr(retention, "zstd", no_zstd)
    done = tidy(tmp_path, KEEP, clock.at, record)
    record.close()
    assert "install backports.zstd" in done.problems[0]
    assert done.removed
    assert not any(file.is_compressed for file in files_of(tmp_path, "2025-11-25"))


def _previous(path: Path) -> str:
    previous: str = lines_of(path)[0]["details"]["previous"]
    return previous
