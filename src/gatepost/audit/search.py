"""Searching the record: every writer's files read as one log, in the order of time.

Plain reading: lines in which the wanted words do not stand are passed over as octets, the rest is decoded and looked
at. Not here: what a search may ask (`criteria`), what belongs to one message (`story`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import date, timedelta
from heapq import merge
from pathlib import Path
from typing import Any, Final

from gatepost.audit.criteria import Criteria, Matcher
from gatepost.audit.files import RecordFile, day_of, days, files_of
from gatepost.audit.scan import decode, lines_with

Found = dict[str, Any]
"""An event as it stands in the record."""
EVERYTHING: Final = Criteria()


def search(folder: Path, criteria: Criteria = EVERYTHING) -> Iterator[Found]:
    """The events that `criteria` mean, oldest first, as they are found. folder: `data/audit`.

    Raises ValueError for criteria that cannot be meant, CannotRead for a file that cannot be read.
    """
    matcher = Matcher(criteria)
    return (event for day in _wanted_days(folder, criteria) for event in _of_day(folder, day, matcher))


def latest(folder: Path, criteria: Criteria, count: int) -> list[Found]:
    """The last `count` events that `criteria` mean, oldest first. Raises as `search` does."""
    matcher = Matcher(criteria)
    found: deque[Found] = deque()
    for day in reversed(_wanted_days(folder, criteria)):
        room = count - len(found)
        if room <= 0:
            break
        found.extendleft(reversed(deque(_of_day(folder, day, matcher), maxlen=room)))
    return list(found)


def by_time(event: Found) -> str:
    """The sort key of an event."""
    return str(event.get("time", ""))


def _wanted_days(folder: Path, criteria: Criteria) -> list[str]:
    first = "" if criteria.since is None else _day_beside(criteria.since, -1)
    last = "9" if criteria.until is None else _day_beside(criteria.until, 1)
    return [day for day in days(folder) if first <= day <= last]


def _day_beside(unix: float, step: int) -> str:
    """A clock that was set back over midnight leaves events in the file of a neighbouring day."""
    return (date.fromisoformat(day_of(unix)) + timedelta(days=step)).isoformat()


def _of_day(folder: Path, day: str, matcher: Matcher) -> Iterator[Found]:
    return merge(*(_of_file(file, matcher) for file in files_of(folder, day)), key=by_time)


def _of_file(file: RecordFile, matcher: Matcher) -> Iterator[Found]:
    for line in lines_with(file, matcher.needles):
        event = decode(line)
        if event is not None and matcher.fits(event):
            yield event
