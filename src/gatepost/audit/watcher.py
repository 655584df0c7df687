"""Reading the record as it grows, with its past first: what detectors and couriers of alerts are fed with.

Blocking; its caller is a thread. Not here: when to look again, and what is made of the lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gatepost.audit.criteria import stamp
from gatepost.audit.files import RecordFile, day_of, days, files_of
from gatepost.audit.lines import Line, read_line
from gatepost.audit.scan import lines_with
from gatepost.audit.tail import Watch

MAX_PAST_OCTETS: Final = 4 << 30  # of the past that is read at the start; half a minute
COMPRESSION: Final = 10  # how much larger a compressed day is than its file
AT_ONCE: Final = 2000  # lines of the past that are handed on together


class RecordWatcher:
    """The lines that begin as one of `wanted`, from `seconds` before `now` on, in the order of time as far as one look
    at the files tells it. folder: `data/audit`.

    first: the day, of UTC, where it begins; later than was asked for when the record is too large to be read back.
    """

    def __init__(self, folder: Path, wanted: tuple[bytes, ...], seconds: float, now: float) -> None:
        self._folder = folder
        self._wanted = wanted
        self._from = stamp(now - seconds)
        self.first = _first_day(folder, day_of(now - seconds), day_of(now))
        self._watch = Watch(folder, self._read, _time_of, self.first)

    def past(self) -> Iterator[list[Line]]:
        """What is there already, a piece at a time. Raises CannotRead."""
        for day in days(self._folder):
            if day >= self.first:
                for file in files_of(self._folder, day):
                    if file.is_compressed:
                        yield from self._pieces(file)
        while (lines := self._watch.poll()) or self._watch.is_behind:
            yield lines

    def news(self) -> list[Line]:
        """What was added since. Raises CannotRead."""
        return self._watch.poll()

    def _pieces(self, file: RecordFile) -> Iterator[list[Line]]:
        piece: list[Line] = []
        for octets in lines_with(file, ()):
            line = self._read(octets)
            if line is not None:
                piece.append(line)
            if len(piece) >= AT_ONCE:
                yield piece
                piece = []
        yield piece

    def _read(self, octets: bytes) -> Line | None:
        if not octets.startswith(self._wanted):
            return None
        line = read_line(octets)
        return line if line is not None and line.time >= self._from else None


def _time_of(line: Line) -> str:
    return line.time


def _first_day(folder: Path, wanted: str, today: str) -> str:
    """The day that was wanted, or the first one from which on the record is small enough to be read."""
    first, octets = today, 0
    for day in reversed(days(folder)):
        if day < wanted:
            break
        for file in files_of(folder, day):
            try:
                octets += file.path.stat().st_size * (COMPRESSION if file.is_compressed else 1)
            except FileNotFoundError:
                continue
        if octets > MAX_PAST_OCTETS:
            break
        first = min(first, day)
    return first
