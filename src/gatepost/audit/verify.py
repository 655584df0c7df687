"""Whether the record is what was written: every line against its chain, every file against those before and after.

What a chain shows: a line that was altered, added or taken out, a file that was cut short or taken away before the
last one. What it cannot show: the end of the newest file cut off, and a chain computed anew from some line on by
somebody who could write here all the time since; that takes copies of chain values elsewhere (`audit.anchor`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from gatepost.audit.chain import CHAIN_OCTETS, link, split, start_of
from gatepost.audit.files import CannotRead, RecordFile, days, files_of, opened, removed
from gatepost.audit.scan import decode

MAX_PROBLEMS: Final = 20  # of one file: after that it is enough to know that there are more


class ChainProblem(msgspec.Struct, frozen=True, order=True):
    """file: below the record's folder. line: from 1 on; 0 for the file as a whole."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class Checked(msgspec.Struct, frozen=True):
    """What was found in a file. follows: the name of the file before, None where the first line does not say it.
    previous: the chain value that its first line follows. chain: of its last line."""

    lines: int = 0
    follows: str | None = None
    previous: bytes | None = None
    chain: bytes | None = None
    problems: tuple[ChainProblem, ...] = ()


def verify_chain(folder: Path, day: str) -> list[ChainProblem]:
    """What does not fit in the files of `day` and where they meet their neighbours; empty if all is well.

    folder: `data/audit`. Raises CannotRead for a folder that cannot be read; a file that cannot be is a problem.
    """
    record = _Record(folder)
    found: set[ChainProblem] = set()
    for file in files_of(folder, day):
        checked = check_file(file)
        found.update(checked.problems)
        found.update(record.meeting(file, checked))
        after = record.next_of(file)
        if after is not None:
            found.update(record.meeting(after, first_line_of(after)))
    return sorted(found)


def verify_all(folder: Path) -> Iterator[tuple[str, list[ChainProblem]]]:
    """(day, its problems) for every day that is kept, oldest first. Raises CannotRead."""
    for day in days(folder):
        yield day, verify_chain(folder, day)


def check_file(file: RecordFile) -> Checked:
    """Every line of `file` against the one before."""
    problems: list[ChainProblem] = []
    first = Checked()
    chain: bytes | None = None
    number = 0
    try:
        with opened(file) as stream:
            for number, line in enumerate(stream, 1):
                if number == 1:
                    first = _first_of(file, line)
                    problems += first.problems
                    chain = first.previous
                what, chain = _check_line(line, chain, is_compressed=file.is_compressed)
                if what and len(problems) < MAX_PROBLEMS:
                    problems.append(ChainProblem(file.name, number, what))
    except CannotRead as error:
        problems.append(ChainProblem(file.name, 0, str(error)))
    return Checked(number, first.follows, first.previous, chain, tuple(problems))


def first_line_of(file: RecordFile) -> Checked:
    """What the first line says of the file before; without its problems."""
    try:
        with opened(file) as stream:
            return msgspec.structs.replace(_first_of(file, stream.readline()), problems=())
    except CannotRead:
        return Checked()


def _check_line(line: bytes, chain: bytes | None, *, is_compressed: bool) -> tuple[str, bytes | None]:
    """(what is wrong or "", the chain value that the next line follows)."""
    if not line.endswith(b"\n") and not is_compressed:
        return "", chain  # it is being written, or a crash left it: the next writer of that number sets it aside
    parts = split(line)
    if parts is None:
        return "is no line that a writer wrote", None
    body, stated = parts
    if chain is None or link(chain, body) == stated:
        return "", stated
    # The next lines are measured by what this one states: one change is one problem.
    return "does not follow the line before: one of them was altered, or lines between them were taken out", stated


def _first_of(file: RecordFile, line: bytes) -> Checked:
    details = _table(decode(line), "details")
    follows, previous = details.get("follows"), _digest(details.get("previous"))
    if not isinstance(follows, str) or previous is None:
        what = "the file does not begin with the line that says what it follows: its beginning was taken out"
        return Checked(problems=(ChainProblem(file.name, 1, what),))
    return Checked(1, follows, previous)


class _Record:
    """The files of each writer in the order of days, and those that are kept no longer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[tuple[str, int], list[RecordFile]] = {}
        for day in days(folder):
            for file in files_of(folder, day):
                self._files.setdefault((file.node, file.worker), []).append(file)
        self._removed = {each.file: each for each in removed(folder)}

    def next_of(self, file: RecordFile) -> RecordFile | None:
        return next((each for each in self._files[file.node, file.worker] if each.day > file.day), None)

    def meeting(self, file: RecordFile, first: Checked) -> Iterable[ChainProblem]:
        """What does not fit between `file` and the one before it. first: of `file`."""
        if first.follows is None or first.previous is None:
            return
        own = [each for each in self._files[file.node, file.worker] if each.day < file.day]
        before = own[-1] if own else None
        if before is not None and before.name == first.follows:
            if _last_chain(before) != first.previous:
                what = f"does not end as {file.name} says that it did: lines at its end were altered or taken out"
                yield ChainProblem(before.name, 0, what)
        elif before is not None:
            yield ChainProblem(file.name, 1, f"says that it follows {first.follows or 'nothing'}, not {before.name}")
        elif not first.follows:
            if first.previous != start_of(_node_of(file), file.worker):
                yield ChainProblem(file.name, 1, "does not begin where the chain of this writer begins")
        else:
            yield from self._meeting_removed(file, first.follows, first.previous)

    def _meeting_removed(self, file: RecordFile, follows: str, previous: bytes) -> Iterable[ChainProblem]:
        gone = self._removed.get(follows)
        if gone is None:
            yield ChainProblem(follows, 0, f"is missing: {file.name} follows it, and `audit.keep` did not end it")
        elif gone.chain != previous.hex():
            yield ChainProblem(follows, 0, f"did not end as {file.name} says: removed.jsonl or that file was altered")


def _last_chain(file: RecordFile) -> bytes | None:
    """The chain value that the last whole line states."""
    chain = None
    try:
        with opened(file) as stream:
            for line in stream:
                parts = split(line)
                chain = parts[1] if parts is not None else chain
    except CannotRead:
        return None
    return chain


def _node_of(file: RecordFile) -> str:
    """The node as events name it; its file name may write it otherwise."""
    try:
        with opened(file) as stream:
            return str((decode(stream.readline()) or {}).get("node", ""))
    except CannotRead:
        return ""


def _digest(value: object) -> bytes | None:
    try:
        octets = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return None
    return octets if len(octets) == CHAIN_OCTETS else None


def _table(event: dict[str, Any] | None, name: str) -> dict[str, Any]:
    value = (event or {}).get(name)
    return value if isinstance(value, dict) else {}
