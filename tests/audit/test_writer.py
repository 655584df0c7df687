"""The writer: whole lines, a chain that goes on over days and crashes, and no event lost without a word."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.audit.parts import DAY, NOON, chain_by_hand, lines_of, writer
from tests.support.clock import HandClock

from gatepost.audit.event import Event, EventClient, RecordError
from gatepost.audit.writer import MAX_LINE_OCTETS, AuditWriter
from gatepost.policy.verdict import Evaluated

START = hashlib.sha256(b"gatepost audit mx.example.org 0").digest()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr("gatepost.audit.writer.os.write", disk.write)
    monkeypatch.setattr("gatepost.audit.writer.os.fdatasync", disk.fdatasync)
    yield disk
    disk.room = None
    disk.sync_error = None


class Disk:
    """A disk that can be full, and whose syncs can fail; tells when one was done."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.sync_error: int | None = None
        self.synced: dict[int, int] = {}  # inode: octets
        self.turn = threading.Condition()
        self._write, self._sync = os.write, os.fdatasync

    def write(self, descriptor: int, octets: Any) -> int:
        if self.room is None:
            return self._write(descriptor, octets)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._write(descriptor, octets[: self.room])
        self.room -= taken
        return taken

    def fdatasync(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        with self.turn:
            error = self.sync_error
            if error is None:
                self.synced[found.st_ino] = found.st_size
            self.turn.notify_all()
        if error is not None:
            raise OSError(error, os.strerror(error))
        self._sync(descriptor)

    def wait_until_synced(self, path: Path) -> None:
        wanted = path.stat()
        with self.turn:
            assert self.turn.wait_for(lambda: self.synced.get(wanted.st_ino, 0) >= wanted.st_size, 10)


def test_an_event_is_one_line_with_all_that_the_writer_knows(tmp_path: Path) -> None:
    record = writer(tmp_path)
    event = Event(
        "smtp.message",
        session="01SESSION",
        client=EventClient("192.0.2.7", 4711),
        verdicts=[Evaluated("relay", "enforce", "reject", "not ours", {"forward_path": "x@example.net"})],
        reply="550 5.7.1 Relaying denied",
    )
    record.record(event)
    # In the operating system at once: another process reads it while nothing was synced or closed.
    line = lines_of(tmp_path / "2025-11-24" / "mx.example.org.0.jsonl")[-1]
    record.close()
    assert line["id"] == event.id != ""
    assert line["time"] == "2025-11-24T12:00:00.000000Z"
    assert line["node"] == "mx.example.org"
    assert line["client"] == {"ip": "192.0.2.7", "port": 4711}
    assert line["verdicts"][0]["facts"] == {"forward_path": "x@example.net"}
    assert line["chain"] == event.chain


@pytest.mark.parametrize("number", [0, 3])
def test_every_line_names_its_worker(tmp_path: Path, number: int) -> None:
    """Worker 0 was left out, as what is a field's default."""
    record = writer(tmp_path, worker=number)
    record.record(Event("server"))
    record.close()
    assert {line["worker"] for line in lines_of(record.path)} == {number}


def test_an_id_that_a_reply_already_quotes_is_kept(tmp_path: Path) -> None:
    record = writer(tmp_path)
    event = Event("smtp.message", id="01QUOTED")
    record.record(event)
    record.close()
    assert lines_of(record.path)[-1]["id"] == "01QUOTED"


def test_an_event_that_is_recorded_again_is_a_line_of_its_own(tmp_path: Path) -> None:
    record = writer(tmp_path)
    event = Event("server")
    record.record(event)
    record.record(event)
    record.close()
    assert [line["id"] for line in lines_of(record.path)[1:]] == [event.id] * 2
    assert record.path.read_bytes().count(b'"chain":') == 3
    chain_by_hand(record.path, START)


def test_lines_are_chained_from_a_start_of_the_writers_own(tmp_path: Path) -> None:
    record = writer(tmp_path)
    for _ in range(5):
        record.record(Event("server"))
    record.close()
    first = lines_of(record.path)[0]
    assert first["details"] == {"what": "record opened", "follows": "", "previous": START.hex()}
    chain_by_hand(record.path, START)


def test_the_next_day_has_a_file_that_says_what_it_follows(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    record = writer(tmp_path, clock)
    record.record(Event("server", details={"what": "before"}))
    first = record.path
    clock.at += DAY
    record.record(Event("server", details={"what": "after"}))
    record.close()
    assert record.path == tmp_path / "2025-11-25" / "mx.example.org.0.jsonl"
    opened, after = lines_of(record.path)
    end = chain_by_hand(first, START)
    assert opened["details"]["follows"] == "2025-11-24/mx.example.org.0.jsonl"
    assert opened["details"]["previous"] == end.hex()
    assert after["details"] == {"what": "after"}
    chain_by_hand(record.path, end)


def test_a_clock_that_is_set_back_over_midnight_does_not_reopen_yesterday(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    record = writer(tmp_path, clock)
    clock.at -= DAY
    record.record(Event("server"))
    record.close()
    assert [path.name for path in tmp_path.glob("20*")] == ["2025-11-24"]


@pytest.mark.parametrize("days_later", [0, 1, 3])
def test_after_a_restart_the_chain_goes_on(tmp_path: Path, days_later: int) -> None:
    clock = HandClock(NOON)
    before = writer(tmp_path, clock)
    before.record(Event("server"))
    before.close()
    clock.at += days_later * DAY
    after = writer(tmp_path, clock)
    after.record(Event("server"))
    after.close()
    end = chain_by_hand(before.path, START)
    if days_later:
        chain_by_hand(after.path, end)
    else:
        assert after.path == before.path


def test_two_live_writers_never_share_a_number(tmp_path: Path) -> None:
    old = writer(tmp_path, worker=0)
    new = writer(tmp_path, worker=0)  # after a reload, while the old worker finishes its sessions
    assert (old.worker, new.worker) == (0, 1)
    assert old.path != new.path
    old.close()
    again = writer(tmp_path, worker=0)
    assert again.worker == 0
    new.close()
    again.close()


@pytest.mark.parametrize(
    "torn", [b'{"kind":"server","id":"01', b"\0" * 5000, b"\n", b'{"kind":"server"}\n', b"x" * 70_000 + b"\n"]
)
@pytest.mark.parametrize("days_later", [0, 2])
def test_what_a_crash_left_unfinished_is_set_aside_and_told(tmp_path: Path, torn: bytes, days_later: int) -> None:
    clock = HandClock(NOON)
    before = writer(tmp_path, clock)
    before.record(Event("server"))
    before.close()
    whole = before.path.read_bytes()
    before.path.write_bytes(whole + torn)
    clock.at += days_later * DAY
    after = writer(tmp_path, clock)
    after.record(Event("server"))
    after.close()
    end = chain_by_hand(before.path, START)
    if days_later:
        assert before.path.read_bytes() == whole
        chain_by_hand(after.path, end)
    (alert,) = [line for line in lines_of(after.path) if line["kind"] == "alert"]
    assert alert["details"]["octets"] == len(torn)
    assert alert["details"]["at"] == len(whole)
    assert (tmp_path / alert["details"]["aside"]).read_bytes() == torn


def test_a_file_of_which_nothing_is_whole_is_begun_again(tmp_path: Path) -> None:
    before = writer(tmp_path)
    before.close()
    before.path.write_bytes(b"\0\0\0")
    after = writer(tmp_path)
    after.close()
    chain_by_hand(after.path, START)


def test_a_full_disk_is_an_error_that_names_file_and_cause_and_leaves_no_half_line(tmp_path: Path, disk: Disk) -> None:
    record = writer(tmp_path)
    record.record(Event("server", details={"what": "before"}))
    disk.room = 40
    for _ in range(3):
        with pytest.raises(RecordError, match=r"mx.example.org.0.jsonl: No space left on device"):
            record.record(Event("smtp.message"))
        disk.room = 10
    assert lines_of(record.path)[-1]["details"] == {"what": "before"}
    disk.room = None
    record.record(Event("server", details={"what": "after"}))
    record.close()
    after, alert = lines_of(record.path)[-2:]
    assert after["details"] == {"what": "after"}
    assert alert["kind"] == "alert"
    assert alert["details"]["events_lost"] == 3
    chain_by_hand(record.path, START)


def test_many_events_are_one_write_and_a_line_each(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    record = writer(tmp_path)
    writes: list[int] = []

    def write(descriptor: int, octets: Any) -> int:
        writes.append(len(octets))
        return disk.write(descriptor, octets)

    monkeypatch.setattr("gatepost.audit.writer.os.write", write)
    events = [Event("delivery.attempt", message=f"m{number}") for number in range(50)]
    record.record_all(events)
    record.record(Event("server"))
    record.record_all([])
    assert len(writes) == 2
    lines = lines_of(record.path)
    record.close()
    assert [line["message"] for line in lines[1:-1]] == [f"m{number}" for number in range(50)]
    assert [line["chain"] for line in lines[1:-1]] == [event.chain for event in events]
    chain_by_hand(record.path, START)


def test_many_events_that_do_not_fit_are_all_refused_and_counted(tmp_path: Path, disk: Disk) -> None:
    record = writer(tmp_path)
    before = record.path.read_bytes()
    disk.room = 1000
    with pytest.raises(RecordError):
        record.record_all([Event("delivery.attempt", message=f"m{number}") for number in range(50)])
    assert record.path.read_bytes() == before
    disk.room = None
    record.record(Event("server"))
    told = lines_of(record.path)[-1]
    record.close()
    assert (told["kind"], told["details"]["events_lost"]) == ("alert", 50)


def test_a_disk_that_is_full_at_midnight_gets_its_new_file_later(tmp_path: Path, disk: Disk) -> None:
    clock = HandClock(NOON)
    record = writer(tmp_path, clock)
    before = record.path
    disk.room = 0
    clock.at += DAY
    for _ in range(2):
        with pytest.raises(RecordError):
            record.record(Event("server"))
    disk.room = None
    record.record(Event("server", details={"what": "after"}))
    record.close()
    end = chain_by_hand(before, START)
    chain_by_hand(record.path, end)
    assert [line["details"].get("what") for line in lines_of(record.path)] == [
        "record opened",
        "after",
        "the record could not be written",
    ]


def test_a_folder_that_cannot_be_made_is_a_record_error(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("not a folder")
    with pytest.raises(RecordError, match="audit"):
        writer(tmp_path / "audit")


def test_what_was_written_is_synced_soon_without_being_asked(tmp_path: Path, disk: Disk) -> None:
    record = writer(tmp_path)
    for _ in range(2):  # again after a rest
        record.record(Event("server"))
        disk.wait_until_synced(record.path)
    record.close()


def test_closing_syncs_the_last_line_and_yesterdays_file(tmp_path: Path, disk: Disk) -> None:
    clock = HandClock(NOON)
    record = AuditWriter(tmp_path, "mx.example.org", 0, clock, _Ids(), sync_seconds=3600.0)
    record.record(Event("server"))
    yesterday = record.path
    clock.at += DAY
    record.record(Event("server"))
    assert not disk.synced
    record.close()
    for path in (yesterday, record.path):
        assert disk.synced[path.stat().st_ino] == path.stat().st_size


def test_nothing_is_accepted_while_the_disk_does_not_take_what_was_written(tmp_path: Path, disk: Disk) -> None:
    record = writer(tmp_path)
    disk.wait_until_synced(record.path)
    disk.sync_error = errno.EIO
    with pytest.raises(RecordError, match="Input/output error"):
        _until_refused(record)
    disk.sync_error = None
    _until_accepted(record)
    record.close()
    gaps = [line["details"]["what"] for line in lines_of(record.path) if line["kind"] == "alert"]
    assert gaps == ["the record could not be written"]
    chain_by_hand(record.path, START)


def test_a_file_that_somebody_removed_is_made_anew_instead_of_writing_into_nothing(tmp_path: Path, disk: Disk) -> None:
    record = writer(tmp_path)
    disk.wait_until_synced(record.path)
    record.path.unlink()
    for _ in range(1000):
        record.record(Event("server"))
        if record.path.exists():
            break
        with disk.turn:
            disk.turn.wait(0.05)
    record.close()
    assert lines_of(record.path)


@pytest.mark.parametrize(
    "text", ["a\r\nb", '"}\n', "\x1b[2J", "\x00", "\udcff\udc80", "\ud800", "ünïcödé", "\u2028", "\\u0000"]
)
def test_no_text_of_a_peer_breaks_a_line_or_is_refused(tmp_path: Path, text: str) -> None:
    record = writer(tmp_path)
    verdicts = [Evaluated("helo.name", "enforce", "reject", text, {"helo": text})]
    record.record(Event("smtp.session", helo=text, verdicts=verdicts, dialogue=[text], details={"k": [text]}))
    record.close()
    line = lines_of(record.path)[-1]
    shown = text.encode("utf-8", "backslashreplace").decode()
    assert line["helo"] == line["dialogue"][0] == line["verdicts"][0]["reason"] == line["details"]["k"][0] == shown
    assert len(lines_of(record.path)) == 2
    chain_by_hand(record.path, START)


def test_a_value_that_json_has_no_word_for_is_recorded_as_text(tmp_path: Path) -> None:
    record = writer(tmp_path)
    circle: dict[str, Any] = {"path": Path("/x"), "n": float("inf"), "z": 1j}
    circle["self"] = circle
    record.record(Event("server", details=circle))
    record.close()
    assert lines_of(record.path)[-1]["details"]["path"] == "/x"


def test_an_event_that_is_too_long_is_cut_and_says_so(tmp_path: Path) -> None:
    record = writer(tmp_path)
    long = "x" * 1000
    record.record(Event("delivery.attempt", message="01M", dialogue=[long] * 2000, details={"results": [long]}))
    record.close()
    last = record.path.read_bytes().splitlines()[-1]
    assert len(last) < MAX_LINE_OCTETS / 10
    line = json.loads(last)
    assert line["message"] == "01M"
    assert line["details"]["octets"] > 2_000_000


def test_a_recorder_that_is_closed_refuses(tmp_path: Path) -> None:
    record = writer(tmp_path)
    record.close()
    record.close()
    with pytest.raises(RecordError):
        record.record(Event("server"))


def test_threads_do_not_break_the_chain(tmp_path: Path) -> None:
    record = writer(tmp_path)

    def many() -> None:
        for _ in range(200):
            record.record(Event("server"))

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record.close()
    assert len(lines_of(record.path)) == 801
    chain_by_hand(record.path, START)


VICTIM = """
import sys
from pathlib import Path
from gatepost.audit.event import Event
from gatepost.audit.writer import AuditWriter
from gatepost.net.clock import SystemClock, SystemIds
record = AuditWriter(Path(sys.argv[1]), "mx.example.org", 0, SystemClock(), SystemIds())
number = 0
while True:
    number += 1
    record.record(Event("smtp.message", details={"number": number, "filler": "x" * (number % 7000)}))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_a_killed_process_has_recorded_whatever_record_returned_for(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", VICTIM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        said = 0
        while said < 500:
            said = int(victim.stdout.readline())
        victim.send_signal(signal.SIGKILL)
        rest = victim.stdout.read().splitlines()
    said = max([said, *(int(line) for line in rest if line)])
    after = writer(tmp_path)
    after.close()
    numbers = [
        line["details"]["number"]
        for path in sorted(tmp_path.glob("*/*.jsonl"))
        for line in lines_of(path)
        if line["kind"] == "smtp.message"
    ]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= said


class _Ids:
    def new(self) -> str:
        return "01"


def _until_refused(record: AuditWriter) -> None:
    pause = threading.Event()
    for _ in range(1000):
        record.record(Event("server"))
        pause.wait(0.005)


def _until_accepted(record: AuditWriter) -> None:
    pause = threading.Event()
    for _ in range(1000):
        try:
            record.record(Event("server"))
        except RecordError:
            pause.wait(0.005)
        else:
            return
    pytest.fail("the disk was mended, but events are still refused")
