"""The statements on one spool's database, all inside a transaction that the caller holds.

`SpoolRows` is used by one thread at a time: the writer's, or a command's that has taken the lock. Not here: batches
and futures (`writer`, `spool`), and reading without owning (`spool_reader`).
"""

from __future__ import annotations

import array
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import Any, Final, cast

import apsw
import msgspec

from gatepost.spool.model import SETTLED, Entry, EntryRecipient, Hold, Settlement, State
from gatepost.spool.transitions import Action, Standing, act, reclaim, settle
from gatepost.store.sqlite.spool_schema import (
    ARRIVAL_COLUMNS,
    CODES,
    STATES,
    EntryRow,
    Prepared,
    RecipientRow,
    Undecodable,
    decode_entry,
    decode_recipient,
)
from gatepost.store.sqlite.spool_waiting import Waiting
from gatepost.store.sqlite.writer import Statement, Work

MAX_ARRIVALS: Final = 32  # rows in one statement; SQLite keeps each number of them prepared
_ARRIVAL_ROW: Final = "(" + ",".join("?" * ARRIVAL_COLUMNS) + ")"
ARRIVALS: Final = [
    "INSERT INTO arrival VALUES " + ",".join([_ARRIVAL_ROW] * number)  # noqa: S608
    for number in range(MAX_ARRIVALS + 1)
]
_NO_ENTRY: Final = (None,) * 8  # in front of an entry's second recipient
RECIPIENT_COLUMNS: Final = (
    "number, state, destination, due, attempts, delay_told, wish, reply, remote, head, held_by, hold_reason"
)
_MOVE: Final = (
    "UPDATE recipient SET state = ?, attempts = ?, due = ?, wish = ?, held_by = ?, "
    "hold_reason = CASE WHEN ? = '' THEN '' ELSE hold_reason END"
)

# Entries that no code of ours leaves behind, and what is wrong with them.
CONTRADICTIONS: Final = (
    ("SELECT DISTINCT entry FROM recipient WHERE state NOT BETWEEN 0 AND 5", "a recipient is in no known state"),
    (
        "SELECT DISTINCT entry FROM recipient r WHERE NOT EXISTS (SELECT 1 FROM entry WHERE number = r.entry)",
        "it has recipients and no entry",
    ),
    (
        "SELECT number FROM entry e WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE entry = e.number AND state < 4)",
        "it has no recipient that is not settled",
    ),
)


class SpoolRows:
    """Entries and recipients of one spool, and what is counted of them."""

    def __init__(self, connection: apsw.Connection, name: str, now: Callable[[], float]) -> None:
        self._connection = connection
        self._name = name
        self._now = now
        self.waiting = Waiting(connection)
        self._octets_noted = 0
        self._entries_noted = 0
        self._next_number = 1
        self._files: list[str] = []  # IDs whose content files the transaction made useless
        self._set_aside: list[tuple[str, str]] = []  # ID and reason
        self.octets = 0  # of all entries, committed
        self.entries = 0
        self._useless_files: list[str] = []
        self._damage: list[tuple[str, str]] = []

    # --- what the writer calls

    def at_once(self, works: Sequence[Work]) -> Statement | None:
        """The statement that adds all that they bring, where they bring nothing else and it is not too much."""
        added = [work.item for work in works if type(work.item) is Prepared]
        if len(added) != len(works) or sum([len(prepared.recipients) for prepared in added]) > MAX_ARRIVALS:
            return None
        statement = _statement(self._arrivals(added))
        self._note(added)
        return statement

    def perform(self, works: Sequence[Work]) -> None:
        added = [work.item for work in works if type(work.item) is Prepared]
        if added:
            self.insert(added)
        for work in works:
            if type(work.item) is not Prepared:
                work.result = work.item()

    def committed(self) -> None:
        self.octets += self._octets_noted
        self.entries += self._entries_noted
        self._useless_files += self._files
        self._damage += self._set_aside
        self._forget()

    def rolled_back(self) -> None:
        self._forget()  # numbers that were given are not given again: a gap does no harm

    def _forget(self) -> None:
        self._octets_noted = self._entries_noted = 0
        self._files, self._set_aside = [], []

    def take_useless_files(self) -> list[str]:
        """IDs of committed removals whose content files may go now; each is told once."""
        taken, self._useless_files = self._useless_files, []
        return taken

    def take_damage(self) -> list[tuple[str, str]]:
        """IDs and reasons of entries that were set aside; each is told once."""
        taken, self._damage = self._damage, []
        return taken

    # --- opening

    def recover(self) -> None:
        """Leases of a former owner end, rows that fit nowhere are set aside, and what is counted in memory is counted.
        Called once, before all else."""
        execute = self._connection.execute
        for query, reason in CONTRADICTIONS:
            for (entry,) in cast(list[tuple[int]], execute(query).fetchall()):
                self.set_aside(entry, reason)
        rows = execute("SELECT entry, number, attempts, due, wish FROM recipient WHERE state = 2").fetchall()
        for entry, number, attempts, due, wish in cast(list[tuple[int, int, int, float, str]], rows):
            standing = Standing(State.LEASED, attempts, due, _wish_of(wish))
            self._move(entry, number, reclaim(standing, self._now()))
        self._remove_settled(dict.fromkeys(row[0] for row in cast(list[tuple[int]], rows)))
        self.waiting.count()
        counted = execute("SELECT count(*), coalesce(sum(octets), 0) FROM entry").fetchone()
        self.entries, self.octets = cast(tuple[int, int], counted)
        self._octets_noted = self._entries_noted = 0  # what recovery removed is not in the count
        last = execute("SELECT coalesce(max(number), 0) FROM entry").fetchone()
        self._next_number = cast(tuple[int], last)[0] + 1

    # --- adding

    def insert(self, added: Sequence[Prepared]) -> None:
        arrivals = self._arrivals(added)
        for at in range(0, len(arrivals), MAX_ARRIVALS):
            self._connection.execute(*_statement(arrivals[at : at + MAX_ARRIVALS]))
        self._note(added)

    def _arrivals(self, added: Sequence[Prepared]) -> list[tuple[Any, ...]]:
        """Rows of `arrival`, with the numbers that `_note` will take."""
        arrivals: list[tuple[Any, ...]] = []
        for number, prepared in enumerate(added, self._next_number):
            first, *others = prepared.recipients
            arrivals.append((number, *prepared.entry, prepared.prefix, prepared.content, *first))
            arrivals += [(number, *_NO_ENTRY, *other) for other in others]
        return arrivals

    def _note(self, added: Sequence[Prepared]) -> None:
        self._next_number += len(added)
        self._entries_noted += len(added)
        self._octets_noted += sum([prepared.octets for prepared in added])

    # --- leasing

    def lease(self, now: float, limit: int, exclude: Collection[str], per_destination: int) -> list[Entry]:
        """As `spool.port.SpoolStore.lease`."""
        leased: list[Entry] = []
        for destination, numbers in self.waiting.pick(now, limit, exclude, per_destination).items():
            leased += self._take(destination, numbers, now)
            self.waiting.refresh(destination)
        leased.sort(key=lambda entry: (entry.recipients[0].due, entry.id))
        return leased

    def _take(self, destination: str, numbers: list[int], now: float) -> list[Entry]:
        """Those entries with their due recipients of `destination`, leased; damaged ones are set aside."""
        if not numbers:
            return []
        chosen = apsw.carray(array.array("q", numbers))
        # The plus signs keep SQLite off the index of due recipients, which may hold a hundred thousand of this one.
        rows = self._connection.execute(
            "SELECT r.entry, e.id, e.received_at, e.octets, e.crc, e.in_file, e.head, r.number, r.state, "
            "r.destination, r.due, r.attempts, r.delay_told, r.wish, r.reply, r.remote, r.head, r.held_by, "
            "r.hold_reason FROM recipient r LEFT JOIN entry e ON e.number = r.entry "
            "WHERE r.entry IN carray(?) AND +r.state < 2 AND +r.destination = ? AND +r.due <= ?",
            (chosen, destination, now),
        ).fetchall()
        found: dict[int, tuple[EntryRow, list[RecipientRow]]] = {}
        for row in cast(list[tuple[Any, ...]], rows):
            found.setdefault(row[0], (cast(EntryRow, row[1:7]), []))[1].append(cast(RecipientRow, row[7:]))
        entries: list[Entry] = []
        for number, (entry, recipients) in found.items():
            try:
                leased = tuple([self._leased(recipient) for recipient in recipients])
                entries.append(decode_entry(entry, leased, self._name))
            except Undecodable as damage:
                self.set_aside(number, str(damage))
        self._connection.execute(
            "UPDATE recipient SET state = 2 WHERE entry IN carray(?) AND +state < 2 AND +destination = ? AND +due <= ?",
            (chosen, destination, now),
        )
        return entries

    def _leased(self, row: RecipientRow) -> EntryRecipient:
        return decode_recipient((row[0], CODES[State.LEASED], *row[2:]))

    # --- ending leases

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """As `spool.port.SpoolStore.settle`. What is not leased here any more (dropped, set aside) is passed over."""
        if not settlements:
            return
        now = self._now()
        by_entry: dict[str, dict[int, Settlement]] = {}
        for settlement in settlements:
            by_entry.setdefault(settlement.entry_id, {})[settlement.number] = settlement
        rows = self._connection.execute(
            "SELECT e.id, e.number, r.number, r.state, r.attempts, r.due, r.wish, r.destination "
            "FROM entry e JOIN recipient r ON r.entry = e.number WHERE e.id IN carray(?)",
            (apsw.carray(tuple(by_entry)),),
        ).fetchall()
        ended: list[tuple[int, int, Standing, Settlement, str]] = []
        unsettled: dict[int, bool] = {}
        for entry_id, entry, number, code, attempts, due, wish, destination in cast(list[tuple[Any, ...]], rows):
            state = STATES[code]
            ending = by_entry[entry_id].get(number)
            if ending is not None and state is State.LEASED:
                standing = settle(Standing(state, attempts, due, _wish_of(wish)), ending, now)
                ended.append((entry, number, standing, ending, destination))
                state = standing.state
            unsettled[entry] = unsettled.get(entry, False) or state not in SETTLED
        self._remove([entry for entry, is_open in unsettled.items() if not is_open])
        for entry, number, standing, ending, destination in ended:
            if unsettled[entry]:
                self._move(entry, number, standing, ending)
                if CODES[standing.state] < CODES[State.LEASED]:
                    self.waiting.note(destination, standing.due)

    def _move(self, entry: int, number: int, standing: Standing, ending: Settlement | None = None) -> None:
        """The recipient stands so now. A reason to hold it stays while somebody does."""
        held_by = str(standing.held_by or "")
        fixed = (CODES[standing.state], standing.attempts, standing.due, standing.wish or "", held_by, held_by)
        if ending is None:
            self._connection.execute(f"{_MOVE} WHERE entry = ? AND number = ?", (*fixed, entry, number))
        else:
            self._connection.execute(
                f"{_MOVE}, reply = ?, remote = ?, delay_told = max(delay_told, ?) WHERE entry = ? AND number = ?",
                (*fixed, ending.reply, ending.remote, int(ending.delay_told), entry, number),
            )

    def _remove_settled(self, entries: Iterable[int]) -> None:
        settled = [
            entry
            for entry in entries
            if self._connection.execute(
                "SELECT 1 FROM recipient WHERE entry = ? AND state < 4 LIMIT 1", (entry,)
            ).fetchone()
            is None
        ]
        self._remove(settled)

    def _remove(self, numbers: Sequence[int]) -> None:
        """Those entries leave the spool; their files go when the transaction is committed."""
        if not numbers:
            return
        execute = self._connection.execute
        chosen = (apsw.carray(array.array("q", numbers)),)
        gone = execute("DELETE FROM entry WHERE number IN carray(?) RETURNING id, octets, in_file", chosen).fetchall()
        execute("DELETE FROM content WHERE number IN carray(?)", chosen)
        execute("DELETE FROM recipient WHERE entry IN carray(?)", chosen)
        for entry_id, octets, in_file in cast(list[tuple[str, int, int]], gone):
            self._octets_noted -= octets
            self._entries_noted -= 1
            if in_file:
                self._files.append(entry_id)

    # --- what people and accidents do

    def change(self, entry_id: str, action: Action, now: float) -> bool:
        """As `spool.port.SpoolStore.change`."""
        execute = self._connection.execute
        found = execute("SELECT number FROM entry WHERE id = ?", (entry_id,)).fetchone()
        if found is None:
            return False
        entry = cast(tuple[int], found)[0]
        rows = execute(
            "SELECT number, state, attempts, due, wish, held_by, destination FROM recipient WHERE entry = ?", (entry,)
        ).fetchall()
        touched = set()
        for number, code, attempts, due, wish, held_by, destination in cast(list[tuple[Any, ...]], rows):
            before = Standing(STATES[code], attempts, due, _wish_of(wish), Hold(held_by) if held_by else None)
            after = act(before, action, now)
            if after != before:
                self._move(entry, number, after)
                touched.add(destination)
        self._remove_settled([entry])
        for destination in touched:
            self.waiting.refresh(destination)
        return True

    def set_aside(self, number: int, reason: str) -> None:
        """Entry `number` is no entry any more: its rows are kept in `damaged`, for people to look at."""
        execute = self._connection.execute
        rows = execute(f"SELECT {RECIPIENT_COLUMNS} FROM recipient WHERE entry = ?", (number,)).fetchall()  # noqa: S608
        execute(
            "INSERT INTO damaged SELECT coalesce(e.id, 'entry ' || ?1), ?2, ?3, e.received_at, e.octets, e.head, ?4, "
            "c.prefix, c.octets FROM (SELECT 1) LEFT JOIN entry e ON e.number = ?1 "
            "LEFT JOIN content c ON c.number = ?1",
            (number, reason, self._now(), msgspec.msgpack.encode(rows)),
        )
        found = execute("SELECT id, octets, in_file FROM entry WHERE number = ?", (number,)).fetchone()
        execute("DELETE FROM entry WHERE number = ?", (number,))
        execute("DELETE FROM content WHERE number = ?", (number,))
        execute("DELETE FROM recipient WHERE entry = ?", (number,))
        entry_id = f"entry {number}"
        if found is not None:
            entry_id, octets, _ = cast(tuple[str, int, int], found)
            self._octets_noted -= octets
            self._entries_noted -= 1
        self._set_aside.append((entry_id, reason))

    def set_aside_by_id(self, entry_id: str, reason: str) -> None:
        """The same for an entry that may have left meanwhile."""
        found = self._connection.execute("SELECT number FROM entry WHERE id = ?", (entry_id,)).fetchone()
        if found is not None:
            self.set_aside(cast(tuple[int], found)[0], reason)

    def ids_in_files(self) -> set[str]:
        """The entries whose content is a file."""
        rows = self._connection.execute("SELECT id FROM entry WHERE in_file = 1").fetchall()
        return {row[0] for row in cast(list[tuple[str]], rows)}

    def ids_set_aside(self) -> set[str]:
        """The entries that are damaged."""
        rows = self._connection.execute("SELECT id FROM damaged").fetchall()
        return {row[0] for row in cast(list[tuple[str]], rows)}


def _statement(arrivals: Sequence[tuple[Any, ...]]) -> Statement:
    return ARRIVALS[len(arrivals)], tuple(chain.from_iterable(arrivals))


def _wish_of(text: str) -> Action | None:
    return cast(Action, text) if text else None
