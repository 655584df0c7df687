"""Which destinations have recipients that wait, since when, and whose turn it is: what makes a lease cheap and fair.

The table `waiting` (in memory, made at opening) has each destination that has waiting recipients, with the first time
that one is due. It may be too early, never too late: a lease that finds nothing corrects it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, cast

import apsw

MAX_CONSIDERED: Final = 1000  # destinations that one lease weighs against each other
MAX_TURNS: Final = 10_000
LATEST_PART: Final = 4  # one of so many that a destination gets is one that came last
_OLDEST: Final = "SELECT entry FROM recipient WHERE state < 2 AND destination = ? AND due <= ? ORDER BY due, entry"
_LATEST: Final = (
    "SELECT entry FROM recipient WHERE state < 2 AND destination = ? AND due <= ? ORDER BY due DESC, entry DESC"
)
NOTE: Final = (
    "INSERT INTO waiting VALUES (?, ?) ON CONFLICT (destination) DO UPDATE SET due = excluded.due "
    "WHERE excluded.due < due"
)


class Waiting:
    """Inside the caller's transaction, like all statements on a spool."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._turns: dict[str, int] = {}  # destination: number of the lease that served it last
        self._turn = 0

    def count(self) -> None:
        """Make the table from the recipients."""
        self._connection.execute("DELETE FROM waiting")
        self._connection.execute(
            "INSERT INTO waiting SELECT destination, min(due) FROM recipient WHERE state < 2 GROUP BY destination"
        )

    def note(self, destination: str, due: float) -> None:
        """A recipient of `destination` waits until `due`."""
        self._connection.execute(NOTE, (destination, due))

    def pick(self, now: float, limit: int, exclude: Collection[str], per_destination: int) -> dict[str, list[int]]:
        """Numbers of entries to lease, by destination, `limit` in all.

        Destinations take turns: first each gets its share of the limit, those that waited longest for a turn before
        the others; what is left goes to those that have more.
        """
        destinations = self._due_destinations(now, exclude)
        if not destinations or limit < 1:
            return {}
        share = min(max(1, limit // len(destinations)), per_destination)
        picked: dict[str, list[int]] = {}
        room = limit
        for destination in destinations:
            if not room:
                break
            picked[destination] = self._due_entries(destination, now, min(share, room))
            room -= len(picked[destination])
        for destination, numbers in picked.items():
            if room and len(numbers) == share < per_destination:
                more = self._due_entries(destination, now, min(share + room, per_destination))
                room -= len(more) - len(numbers)
                picked[destination] = more
        self._served(picked)
        return picked

    def _served(self, destinations: Iterable[str]) -> None:
        self._turn += 1
        for destination in destinations:
            self._turns.pop(destination, None)
            self._turns[destination] = self._turn
        while len(self._turns) > MAX_TURNS:
            del self._turns[next(iter(self._turns))]

    def _due_destinations(self, now: float, exclude: Collection[str]) -> list[str]:
        excluded = exclude if isinstance(exclude, (set, frozenset, dict)) else frozenset(exclude)
        found: list[str] = []
        cursor = self._connection.execute("SELECT destination FROM waiting WHERE due <= ? ORDER BY due", (now,))
        for (destination,) in cast(Iterator[tuple[str]], cursor):
            if destination not in excluded:
                found.append(destination)
                if len(found) == MAX_CONSIDERED:
                    break
        cursor.close()
        turns = self._turns
        found.sort(key=lambda destination: turns.get(destination, 0))
        return found

    def _due_entries(self, destination: str, now: float, limit: int) -> list[int]:
        """Those that have waited longest, and where more are due than that, some of those that came last: behind a
        mailing of a hundred thousand, whoever else writes there would wait for all of it."""
        oldest = self._due(destination, now, limit, _OLDEST)
        latest = limit // LATEST_PART if limit >= 2 * LATEST_PART else self._turn % LATEST_PART == LATEST_PART - 1
        if len(oldest) < limit or not latest:
            return oldest
        newest = self._due(destination, now, latest, _LATEST)
        return list(dict.fromkeys([*oldest[:-latest], *newest, *oldest]))[:limit]

    def _due(self, destination: str, now: float, limit: int, query: str) -> list[int]:
        cursor = self._connection.execute(query, (destination, now))
        found: dict[int, None] = {}
        for (number,) in cast(Iterator[tuple[int]], cursor):
            found[number] = None
            if len(found) == limit:
                break
        cursor.close()
        return list(found)

    def refresh(self, destination: str) -> None:
        """`waiting` says for `destination` what is true now."""
        row = self._connection.execute(
            "SELECT due FROM recipient WHERE state < 2 AND destination = ? ORDER BY due LIMIT 1", (destination,)
        ).fetchone()
        if row is None:
            self._connection.execute("DELETE FROM waiting WHERE destination = ?", (destination,))
        else:
            self._connection.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?)", (destination, row[0]))

    def next_due(self, exclude: Collection[str] = ()) -> float | None:
        """The earliest time that `waiting` knows, of destinations that are not excluded."""
        cursor = self._connection.execute("SELECT destination, due FROM waiting ORDER BY due")
        found = None
        for destination, due in cast(Iterator[tuple[str, float]], cursor):
            if destination not in exclude:
                found = due
                break
        cursor.close()
        return found
