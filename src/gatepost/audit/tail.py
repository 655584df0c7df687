"""The end of the record, and what is added to it while somebody watches.

Not here: when to look again; the caller waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Generic, TypeVar

from gatepost.audit.files import CannotRead, RecordFile, days, files_of
from gatepost.audit.scan import decode, last_lines
from gatepost.audit.search import Found, by_time

E = TypeVar("E")
POLL_OCTETS: Final = 8 << 20  # of one file at a time: whoever watches a busy server falls behind, and catches up


def tail(
    folder: Path, follow: bool = False, *, last: int = 10, wait: Callable[[], None] | None = None
) -> Iterator[Found]:
    """The last `last` events, oldest first; with `follow`, then each new one, for ever.

    wait: called whenever nothing is new; needed to follow. Raises CannotRead.
    """
    watch = Watch(folder, decode, by_time)
    yield from watch.last(last)
    while follow:
        events = watch.poll()
        yield from events
        if not events and wait is not None:
            wait()


class Watch(Generic[E]):
    """A place in each writer's file: what stands behind it is new.

    read: the event of a line, None for one that is not wanted. when: its time, as it stands in the record. day: the
    first one that is looked at, whole; "" for all.
    """

    def __init__(
        self, folder: Path, read: Callable[[bytes], E | None], when: Callable[[E], str], day: str = ""
    ) -> None:
        self._folder = folder
        self._read = read
        self._when = when
        self._places: dict[Path, int] = {}
        self._day = day
        self.is_behind = False  # a file had more than is read at once

    def last(self, count: int) -> list[E]:
        """The last `count` events of the days that are not compressed yet, oldest first; the watch begins behind."""
        found: list[E] = []
        self._day = ""
        for day in reversed(days(self._folder)):
            events = [event for file in self._plain(day) for event in self._last_of(file, count)]
            found = [*sorted(events, key=self._when), *found]
            self._day = self._day or day
            if len(found) >= count:
                break
        return found[max(0, len(found) - count) :]

    def poll(self) -> list[E]:
        """What was added since, oldest first; not more than a few MiB of each file at once. Lines that are not wanted
        may leave an answer empty that is not the last: see `is_behind`."""
        found: list[E] = []
        newest = self._day
        self.is_behind = False
        for day in days(self._folder):
            if day >= self._day:
                newest = day
                for file in self._plain(day):
                    found += self._new_of(file)
        if not found and not self.is_behind and newest > self._day:  # nobody writes to the day before any more
            self._day = newest
        return sorted(found, key=self._when)

    def _plain(self, day: str) -> list[RecordFile]:
        return [file for file in files_of(self._folder, day) if not file.is_compressed]

    def _last_of(self, file: RecordFile, count: int) -> list[E]:
        lines, self._places[file.path] = last_lines(file.path, count)
        return [event for line in lines if (event := self._read(line)) is not None]

    def _new_of(self, file: RecordFile) -> list[E]:
        try:
            with open(file.path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                # Shorter than before: a torn line was cut off.
                place = min(self._places.get(file.path, 0), size)
                stream.seek(place)
                octets = stream.read(POLL_OCTETS)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CannotRead(f"{file.path}: {error.strerror}") from error
        whole = octets[: octets.rfind(b"\n") + 1]
        self._places[file.path] = place + len(whole)
        self.is_behind = self.is_behind or len(octets) == POLL_OCTETS
        return [event for line in whole.splitlines() if (event := self._read(line)) is not None]
