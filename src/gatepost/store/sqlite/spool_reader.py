"""`spool.port.SpoolReader`: looks into all spools of a data folder, whoever holds them, and changes nothing.

Each look is one short statement whose rows are fetched whole before anything is made of them: a reader that stays open
would keep the owner's log from starting anew, and let it grow without end. Not here: changes (`spool_change`).
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import apsw
import msgspec

from gatepost.spool.model import Entry, EntryRecipient, State
from gatepost.spool.port import SpoolError
from gatepost.store.sqlite.connection import SchemaError, connect, schema_version
from gatepost.store.sqlite.spool_cipher import HEAD_OCTETS, SpoolCipher, TamperedError, is_encrypted, opened
from gatepost.store.sqlite.spool_layout import Layout, spools_of
from gatepost.store.sqlite.spool_schema import (
    CODES,
    MIGRATIONS,
    STATES,
    Undecodable,
    decode_entry,
    decode_recipient,
)

PAGE_OF_ENTRIES: Final = 500  # fetched by one statement

_PAGE: Final = (
    "SELECT e.number, e.id, e.received_at, e.octets, e.crc, e.in_file, e.head, r.number, r.state, r.destination, "
    "r.due, r.attempts, r.delay_told, r.wish, r.reply, r.remote, r.head, r.held_by, r.hold_reason "
    "FROM (SELECT * FROM entry WHERE number > ? AND {which} ORDER BY number LIMIT ?) e "
    "JOIN recipient r ON r.entry = e.number ORDER BY e.number, r.number"
)
_ALL: Final = _PAGE.format(which="1")
# Few are held or leased at a time, and SQLite keeps a small index of them; for the others most entries match.
_RARE: Final = "number IN (SELECT entry FROM recipient WHERE state = {code})"
_COMMON: Final = "EXISTS (SELECT 1 FROM recipient WHERE recipient.entry = entry.number AND state = {code})"
_WITH: Final = {
    state: _PAGE.format(which=(_RARE if state in {State.HELD, State.LEASED} else _COMMON).format(code=code))
    for state, code in CODES.items()
}
_ONE: Final = _PAGE.format(which="id = ?")


class DamagedEntry(msgspec.Struct, frozen=True):
    """An entry that was set aside. set_aside_at: seconds since 1970."""

    id: str
    reason: str
    set_aside_at: float
    spool: str


class SqliteSpoolReader:
    """A view over data/spool/*/spool.db. Holds nothing open between two calls."""

    def __init__(self, data: Path, keys: tuple[str, ...] = ()) -> None:
        """keys: of an encrypted spool, as the configuration has them; content needs them, nothing else does."""
        self._data = data
        self._cipher = SpoolCipher(*keys) if keys else None

    def list(self, *, states: Collection[str] = (), limit: int = 1000) -> list[Entry]:
        """As the port. Raises SpoolError for an unknown state and for a spool that cannot be read."""
        wanted = tuple(dict.fromkeys(_state(state) for state in states))
        by_spool = [self._entries(layout, wanted, limit) for layout in spools_of(self._data)]
        oldest_first = merge(*by_spool, key=lambda entry: (entry.received_at, entry.id))
        return list(islice(oldest_first, limit))

    def show(self, entry_id: str) -> Entry | None:
        for layout in spools_of(self._data):
            with _opened(layout) as connection:
                rows = connection.execute(_ONE, (-1, entry_id, 1)).fetchall()
            for entry in _entries_of(rows, layout.name):
                return entry
        return None

    def content(self, entry_id: str) -> bytes | None:
        """As the port. Raises SpoolError where the octets are not those that were stored."""
        for layout in spools_of(self._data):
            with _opened(layout) as connection:
                row = connection.execute(
                    "SELECT e.crc, e.in_file, c.prefix, c.octets FROM entry e "
                    "LEFT JOIN content c ON c.number = e.number WHERE e.id = ?",
                    (entry_id,),
                ).fetchone()
            if row is not None:
                crc, in_file, prefix, octets = cast(tuple[int, int, bytes | None, bytes | None], row)
                return _content(layout, entry_id, crc, in_file, prefix, octets, self._cipher)
        return None

    def counts(self) -> dict[str, int]:
        counts = {state.value: 0 for state in State} | {"entries": 0}
        for layout in spools_of(self._data):
            with _opened(layout) as connection:
                rows = connection.execute("SELECT state, count(*) FROM recipient GROUP BY state").fetchall()
                entries = connection.execute("SELECT count(*) FROM entry").fetchone()
            for code, number in cast(list[tuple[int, int]], rows):
                if code in STATES:
                    counts[STATES[code].value] += number
            counts["entries"] += cast(tuple[int], entries)[0]
        return counts

    def locked(self) -> int:
        """How many entries are encrypted with another key than ours."""
        found = 0
        for layout in spools_of(self._data):
            with _opened(layout) as connection:
                rows = connection.execute(
                    "SELECT e.id, substr(c.prefix, 1, ?) FROM entry e JOIN content c ON c.number = e.number",
                    (HEAD_OCTETS,),
                )
                for entry_id, prefix in cast(Iterator[tuple[str, bytes]], rows):
                    if is_encrypted(prefix) and not (self._cipher and self._cipher.opens(entry_id, prefix)):
                        found += 1
        return found

    def damaged(self) -> tuple[DamagedEntry, ...]:
        """Entries that were set aside because they could not be read, oldest first."""
        found: list[DamagedEntry] = []
        for layout in spools_of(self._data):
            with _opened(layout) as connection:
                rows = connection.execute("SELECT id, reason, set_aside_at FROM damaged").fetchall()
            found += [DamagedEntry(*row, layout.name) for row in cast(list[tuple[str, str, float]], rows)]
        return tuple(sorted(found, key=lambda entry: entry.set_aside_at))

    def _entries(self, layout: Layout, states: tuple[State, ...], limit: int) -> Iterator[Entry]:
        """The oldest of one spool; numbers grow in the order in which entries came."""
        if not states:
            return islice(_pages(layout, _ALL, limit), limit)
        by_state = [_pages(layout, _WITH[state], limit) for state in states]
        unique: dict[str, Entry] = {}
        for entry in merge(*by_state, key=lambda entry: (entry.received_at, entry.id)):
            unique[entry.id] = entry
            if len(unique) == limit:
                break
        return iter(unique.values())


def wants_owner(layout: Layout) -> bool:
    """Whether a spool is worth taking over: it has entries, or is of an older version and comes up to date by it (until
    then nothing here reads it). Raises SpoolError."""
    with _opened(layout, oldest=1) as connection:
        if schema_version(connection) < len(MIGRATIONS):
            return True
        return connection.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is not None


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise SpoolError(f"{text!r} is no state of a recipient; there are {', '.join(State)}") from None


def _pages(layout: Layout, statement: str, limit: int) -> Iterator[Entry]:
    last = -1
    left = limit
    while left > 0:
        with _opened(layout) as connection:
            rows = cast(
                list[tuple[Any, ...]], connection.execute(statement, (last, min(left, PAGE_OF_ENTRIES))).fetchall()
            )
        if not rows:
            return
        last = rows[-1][0]
        for entry in _entries_of(rows, layout.name):
            left -= 1
            yield entry


def _entries_of(rows: list[Any], spool: str) -> Iterator[Entry]:
    """Entries of joined rows; one that cannot be read is passed over, its owner will set it aside."""
    at = 0
    while at < len(rows):
        number, entry = rows[at][0], rows[at][1:7]
        recipients: list[EntryRecipient] = []
        try:
            while at < len(rows) and rows[at][0] == number:
                recipient = rows[at][7:]
                at += 1
                recipients.append(decode_recipient(recipient))
            yield decode_entry(entry, tuple(recipients), spool)
        except Undecodable:
            while at < len(rows) and rows[at][0] == number:
                at += 1


def _content(
    layout: Layout,
    entry_id: str,
    crc: int,
    in_file: int,
    prefix: bytes | None,
    octets: bytes | None,
    cipher: SpoolCipher | None,
) -> bytes:
    if in_file:
        try:
            octets = (layout.content / entry_id).read_bytes()
        except OSError as error:
            raise SpoolError(f"{layout.content / entry_id}: {error.strerror}; the content is lost") from error
    if prefix is not None and octets is not None and is_encrypted(prefix):
        try:
            key, clear = opened(cipher, entry_id, prefix)
            return clear + key.open_content(octets)
        except TamperedError as error:
            raise SpoolError(f"entry {entry_id} of spool {layout.name} is damaged: {error}") from error
    if prefix is None or octets is None or zlib.crc32(prefix, zlib.crc32(octets)) != crc:
        raise SpoolError(f"entry {entry_id} of spool {layout.name} is damaged: its octets are not those stored")
    return prefix + octets


@contextmanager
def _opened(layout: Layout, oldest: int = len(MIGRATIONS)) -> Iterator[apsw.Connection]:
    try:
        connection = connect(layout.database, read_only=True)
    except (apsw.Error, SchemaError) as error:
        raise SpoolError(f"{layout.database}: {error}; run this as root or as Gatepost's user") from error
    try:
        version = schema_version(connection)
        if not oldest <= version <= len(MIGRATIONS):
            raise SpoolError(
                f"{layout.database} has schema {version}, this program reads {len(MIGRATIONS)}; "
                "use the commands of the Gatepost that serves, or start this one once"
            )
        yield connection
    except apsw.Error as error:
        raise SpoolError(f"{layout.database}: {error}; look at the disk") from error
    finally:
        connection.close()
