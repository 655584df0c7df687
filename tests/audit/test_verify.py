"""What a chain shows: any change of what was written, but the end of the newest file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.audit.parts import DAY, NOON, Ids, writer
from tests.support.clock import HandClock

from gatepost.audit.event import Event
from gatepost.audit.files import files_of
from gatepost.audit.retention import compress, tidy
from gatepost.audit.verify import verify_all, verify_chain
from gatepost.audit.writer import AuditWriter

FIRST, MIDDLE, LAST = "2025-11-24", "2025-11-25", "2025-11-26"
NAME = "mx.example.org.0.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two writers, three days, a restart on the second; ten events a day and writer."""
    clock = HandClock(NOON)
    for _ in range(3):
        for worker in range(2):
            for _ in range(2):
                record = writer(tmp_path, clock, worker)
                for number in range(5):
                    record.record(Event("smtp.message", sender="bob@example.net", octets=number))
                record.close()
        clock.at += DAY
    return tmp_path


class Nobody:
    def record(self, event: Event) -> None:
        pytest.fail("nothing is removed here")


def problems(folder: Path) -> list[str]:
    found = {problem for _, each in verify_all(folder) for problem in each}
    return [str(problem) for problem in sorted(found)]


def test_what_was_written_is_whole(folder: Path) -> None:
    assert [day for day, _ in verify_all(folder)] == [FIRST, MIDDLE, LAST]
    assert problems(folder) == []


def test_no_record_is_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path / "audit") == []
    assert verify_chain(tmp_path, FIRST) == []


def edit(lines: list[bytes], at: int, old: bytes, new: bytes) -> list[bytes]:
    assert old in lines[at]
    return [*lines[:at], lines[at].replace(old, new), *lines[at + 1 :]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: edit(lines, 4, b"bob@", b"eve@"), "25/NAME, line 5: does not follow"),
        (lambda lines: edit(lines, 4, b'"octets":', b'"0ctets":'), "25/NAME, line 5: does not follow"),
        (lambda lines: lines[:4] + lines[5:], "25/NAME, line 5: does not follow"),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], "25/NAME, line 5: does not follow"),
        (lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "25/NAME, line 5: does not follow"),
        (lambda lines: [*lines[:4], b"{}\n", *lines[4:]], "25/NAME, line 5: is no line"),
        (lambda lines: edit(lines, 4, b'"}\n', b'" }\n'), "25/NAME, line 5: is no line"),
        (lambda lines: lines[:-1], "25/NAME: does not end as 2025-11-26/NAME says"),
        (lambda lines: lines[1:], "25/NAME, line 1: the file does not begin"),
        (lambda lines: [], "25/NAME: does not end as 2025-11-26/NAME says"),
        (lambda lines: edit(lines, 0, b'"follows":"2025-11-24', b'"follows":"2025-11-23'), "25/NAME, line 1: "),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_change_in_a_middle_file_is_noticed_where_it_is(
    folder: Path, change: Callable[[list[bytes]], list[bytes]], expected: str, is_compressed: bool
) -> None:
    path = folder / MIDDLE / NAME
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    if is_compressed:
        tidy(folder, 90 * DAY, NOON + 2 * DAY, Nobody())
    found = problems(folder)
    assert any(problem.startswith("2025-11-" + expected.replace("NAME", NAME)) for problem in found), found
    assert all(NAME in problem for problem in found)  # the other writer's files are whole
    assert [str(each) for each in verify_chain(folder, MIDDLE)] == found


def test_one_altered_line_is_one_problem(folder: Path) -> None:
    path = folder / MIDDLE / NAME
    path.write_bytes(path.read_bytes().replace(b'"octets":3', b'"octets":9', 1))
    assert len(problems(folder)) == 1


def test_a_file_that_is_missing_in_the_middle_is_named(folder: Path) -> None:
    (folder / MIDDLE / NAME).unlink()
    (found,) = problems(folder)
    assert found.startswith(f"2025-11-26/{NAME}, line 1: says that it follows 2025-11-25/{NAME}, not 2025-11-24/{NAME}")


def test_a_first_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / FIRST / NAME).unlink()
    (found,) = problems(folder)
    assert found.startswith(f"2025-11-24/{NAME}: is missing: 2025-11-25/{NAME} follows it")


def test_a_whole_writer_that_begins_anew_is_noticed(folder: Path, tmp_path: Path) -> None:
    """Somebody writes a day again, with a chain that is whole in itself."""
    (folder / MIDDLE / NAME).unlink()
    other = tmp_path / "elsewhere"
    forged = AuditWriter(other, "mx.example.org", 0, HandClock(NOON + DAY), Ids())
    forged.record(Event("smtp.message"))
    forged.close()
    (folder / MIDDLE / NAME).write_bytes(forged.path.read_bytes())
    found = problems(folder)
    assert any("says that it follows nothing, not 2025-11-24" in problem for problem in found)
    assert any(problem.startswith(f"2025-11-25/{NAME}: does not end as 2025-11-26") for problem in found)


def test_a_line_that_is_just_being_written_is_no_problem(folder: Path) -> None:
    with (folder / LAST / NAME).open("ab") as stream:
        stream.write(b'{"kind":"smtp')
    assert problems(folder) == []


def test_a_damaged_compressed_file_is_a_problem_of_that_file(folder: Path) -> None:
    for file in files_of(folder, MIDDLE):
        compress(file)
    path = folder / MIDDLE / (NAME + ".zst")
    path.write_bytes(path.read_bytes()[:-30])
    found = problems(folder)
    assert any(NAME in problem and "audit verify" in problem for problem in found)
    assert all(NAME in problem for problem in found)


def test_a_file_of_hostile_rubbish_is_reported_in_few_words(folder: Path) -> None:
    (folder / MIDDLE / NAME).write_bytes(b"\xff\x00{}\n" * 10_000)
    found = problems(folder)
    assert 2 <= len(found) < 30
    assert all(re.fullmatch(r"[ -~]+", problem) for problem in found)


def test_a_node_with_odd_characters_has_a_chain_of_its_own(tmp_path: Path) -> None:
    record = writer(tmp_path, node="[IPv6:2001:db8::1]/..")
    record.record(Event("server"))
    record.close()
    assert record.path.parent == tmp_path / FIRST
    assert json.loads(record.path.read_bytes().splitlines()[-1])["node"] == "[IPv6:2001:db8::1]/.."
    assert problems(tmp_path) == []
