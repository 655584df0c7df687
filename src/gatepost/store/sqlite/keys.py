"""Keys in SQLite: `seal.port.KeyStore` and `seal.port.PublishedKeys` in one file, `keys.db`.

It lies in the data folder of a server, and in the folder of keys of a person who has none. Several processes read and
write it. Not here: whether a key may be used (`seal.keys`), and private keys, which are in no database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from gatepost.seal.model import Kind, RecipientKey
from gatepost.seal.port import SOURCES, Absence, KeptKey, KeyStoreError, PublishedKey
from gatepost.store.sqlite.connection import connect, explained, migrate, transaction

FILE_NAME: Final = "keys.db"
ABSENCE_KEPT_SECONDS: Final = 7 * 86400.0
T = TypeVar("T")

MIGRATIONS: Final = (
    """
    CREATE TABLE kept (
        address TEXT NOT NULL,      -- lower case, A-labels
        kind TEXT NOT NULL,         -- openpgp, smime
        fingerprint TEXT NOT NULL,
        source TEXT NOT NULL,       -- seal.port.SOURCES
        rank INTEGER NOT NULL,      -- of the source: 0 is the most trusted one
        state TEXT NOT NULL,        -- seal.port.KeyState
        material BLOB NOT NULL,
        algorithm TEXT NOT NULL,
        user_id TEXT NOT NULL,
        valid_until REAL,           -- times are seconds since 1970
        found_at REAL,
        cached_until REAL,
        first_seen REAL NOT NULL,
        note TEXT NOT NULL,
        PRIMARY KEY (address, kind, fingerprint)
    );
    CREATE TABLE absence (
        address TEXT PRIMARY KEY,
        until REAL NOT NULL,
        reasons BLOB NOT NULL,      -- the value as JSON
        codes BLOB NOT NULL
    );
    CREATE TABLE published (
        address TEXT NOT NULL,
        domain TEXT NOT NULL,
        kind TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        material BLOB NOT NULL,
        wkd_hash TEXT NOT NULL,
        since REAL NOT NULL,
        valid_until REAL,
        PRIMARY KEY (address, kind)
    );
    CREATE INDEX published_in_directory ON published (domain, wkd_hash);
    """,
)

_SELECT_KEPT: Final = (
    "SELECT kind, address, fingerprint, material, valid_until, algorithm, user_id, source, found_at, cached_until,"
    " first_seen, state, note FROM kept "
)
_BY_TRUST: Final = (
    "CASE state WHEN 'used' THEN 0 WHEN 'waiting' THEN 1 WHEN 'unproven' THEN 2 ELSE 3 END, rank, first_seen DESC"
)
_SELECT_PUBLISHED: Final = "SELECT address, kind, fingerprint, material, wkd_hash, since, valid_until FROM published "


class SqliteKeys:
    """Open it after the fork. All its work is done in one thread of its own, so no event loop waits for a disk."""

    def __init__(self, path: Path, *, on_fault: Callable[[str], None] | None = None) -> None:
        """Makes the file where it is not there. Raises KeyStoreError; with `on_fault` that is told instead, and every
        call tries to open it again: mail that needs no key goes on, and a restored file is taken at once."""
        self._path = path
        self._opened: apsw.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        try:
            self._open()
        except KeyStoreError as error:
            if on_fault is None:
                self._thread.shutdown()
                raise
            on_fault(str(error))

    @property
    def _connection(self) -> apsw.Connection:
        return self._opened or self._open()

    def _open(self) -> apsw.Connection:
        with self._explained("opened"):
            connection = connect(self._path)
            try:
                migrate(connection, MIGRATIONS, self._path)
            except BaseException:
                connection.close()
                raise
        self._opened = connection
        return connection

    async def find(self, address: str) -> tuple[KeptKey, ...]:
        query = _SELECT_KEPT + "WHERE address = ? ORDER BY " + _BY_TRUST
        return await self._do("read", lambda: tuple(map(_kept, self._connection.execute(query, (address,)))))

    async def list(self, kind: Kind | None = None) -> tuple[KeptKey, ...]:
        query = _SELECT_KEPT + "WHERE ?1 IS NULL OR kind = ?1 ORDER BY address, " + _BY_TRUST
        return await self._do("read", lambda: tuple(map(_kept, self._connection.execute(query, (kind,)))))

    async def put(self, kept: KeptKey) -> None:
        def write() -> None:
            with self._transaction():
                self._put(kept)
                self._connection.execute("DELETE FROM absence WHERE address = ?", (kept.key.address,))

        await self._do("written", write)

    def _put(self, kept: KeptKey) -> None:
        key = kept.key
        self._connection.execute(
            "INSERT INTO kept (kind, address, fingerprint, material, valid_until, algorithm, user_id, source,"
            " found_at, cached_until, first_seen, state, note, rank) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT (address, kind, fingerprint) DO UPDATE SET material = excluded.material,"
            " valid_until = excluded.valid_until, algorithm = excluded.algorithm, user_id = excluded.user_id,"
            " found_at = excluded.found_at, state = excluded.state, note = excluded.note,"
            # A key that somebody put there has no end, whatever a look-up says of it later.
            " cached_until = iif(excluded.rank > rank AND state <> 'unproven', cached_until, excluded.cached_until),"
            " source = iif(excluded.rank > rank AND state <> 'unproven', source, excluded.source),"
            " rank = iif(state = 'unproven', excluded.rank, min(rank, excluded.rank))",
            (
                key.kind, key.address, key.fingerprint, key.material, _seconds(key.valid_until), key.algorithm,
                key.user_id, key.source, _seconds(key.found_at), _seconds(key.cached_until),
                kept.first_seen.timestamp(), kept.state, kept.note, SOURCES.index(key.source),
            ),
        )  # fmt: skip

    async def put_unproven(self, kept: KeptKey, now: datetime, *, of_address: int, in_all: int) -> bool:
        def write() -> bool:
            key = kept.key
            at = (key.address, key.kind, key.fingerprint)
            with self._transaction():
                row = self._connection.execute(
                    "SELECT state FROM kept WHERE address = ? AND kind = ? AND fingerprint = ?", at
                ).fetchone()
                if row is not None and row[0] != "unproven":
                    return False
                self._put(kept)
                self._forget_unproven(key.address, now, of_address, in_all)
                return True

        return await self._do("written", write)

    def _forget_unproven(self, address: str, now: datetime, of_address: int, in_all: int) -> None:
        delete = "DELETE FROM kept WHERE state = 'unproven' AND "
        newest = "rowid NOT IN (SELECT rowid FROM kept WHERE state = 'unproven'{} ORDER BY found_at DESC LIMIT ?)"
        self._connection.execute(delete + "cached_until <= ?", (now.timestamp(),))
        self._connection.execute(
            delete + "address = ? AND " + newest.format(" AND address = ?"), (address, address, of_address)
        )
        self._connection.execute(delete + newest.format(""), (in_all,))

    async def trust(self, address: str, fingerprint: str, now: datetime) -> KeptKey | None:
        select = _SELECT_KEPT + "WHERE address = ? AND fingerprint = ?"

        def write() -> KeptKey | None:
            with self._transaction():
                row = self._connection.execute(select, (address, fingerprint)).fetchone()
                if row is None:
                    return None
                self._connection.execute(
                    "UPDATE kept SET state = 'replaced', note = ? WHERE address = ? AND kind = ? AND fingerprint <> ?"
                    " AND state <> 'withdrawn'",
                    (f"{fingerprint} was trusted instead on {now:%Y-%m-%d}", address, row[0], fingerprint),
                )
                self._connection.execute(
                    "UPDATE kept SET state = 'used', note = '', source = 'pinned', rank = ?, cached_until = NULL"
                    " WHERE address = ? AND fingerprint = ?",
                    (SOURCES.index("pinned"), address, fingerprint),
                )
                return _kept(self._connection.execute(select, (address, fingerprint)).fetchall()[0])

        return await self._do("written", write)

    async def remove(self, address: str, fingerprint: str = "") -> int:
        def write() -> int:
            with self._transaction():
                self._connection.execute(
                    "DELETE FROM kept WHERE address = ?1 AND (?2 = '' OR fingerprint = ?2)", (address, fingerprint)
                )
                gone = self._connection.changes()
                if not fingerprint:
                    self._connection.execute("DELETE FROM absence WHERE address = ?", (address,))
                return gone

        return await self._do("written", write)

    async def absence(self, address: str, now: datetime) -> Absence | None:
        def read() -> Absence | None:
            row = self._connection.execute(
                "SELECT until, reasons, codes FROM absence WHERE address = ? AND until > ?", (address, now.timestamp())
            ).fetchone()
            if row is None:
                return None
            reasons = msgspec.json.decode(bytes(row[1]), type=tuple[str, ...])
            return Absence(address, _moment(row[0]), reasons, msgspec.json.decode(bytes(row[2]), type=frozenset[str]))

        return await self._do("read", read)

    async def put_absence(self, absence: Absence) -> None:
        def write() -> None:
            with self._transaction():
                # What ended long ago is of no use; the writer's own end stands for the time of day.
                ended = absence.until.timestamp() - ABSENCE_KEPT_SECONDS
                self._connection.execute("DELETE FROM absence WHERE until < ?", (ended,))
                self._connection.execute(
                    "INSERT OR REPLACE INTO absence VALUES (?, ?, ?, ?)",
                    (
                        absence.address,
                        absence.until.timestamp(),
                        msgspec.json.encode(absence.reasons),
                        msgspec.json.encode(absence.codes),
                    ),
                )

        await self._do("written", write)

    # --- our own, for everybody --------------------------------------------------------------------------------------

    async def publish(self, key: PublishedKey) -> None:
        def write() -> None:
            with self._transaction():
                self._connection.execute(
                    "INSERT OR REPLACE INTO published (address, kind, fingerprint, material, wkd_hash, since,"
                    " valid_until, domain) VALUES (?,?,?,?,?,?,?,?)",
                    (
                        key.address, key.kind, key.fingerprint, key.material, key.wkd_hash, key.since.timestamp(),
                        _seconds(key.valid_until), key.address.rpartition("@")[2],
                    ),
                )  # fmt: skip

        await self._do("written", write)

    async def unpublish(self, address: str, kind: Kind | None = None) -> int:
        def write() -> int:
            with self._transaction():
                self._connection.execute(
                    "DELETE FROM published WHERE address = ?1 AND (?2 IS NULL OR kind = ?2)", (address, kind)
                )
                return self._connection.changes()

        return await self._do("written", write)

    async def published(self, domain: str = "") -> tuple[PublishedKey, ...]:
        query = _SELECT_PUBLISHED + "WHERE ?1 = '' OR domain = ?1 ORDER BY domain, address, kind"
        return await self._do("read", lambda: tuple(map(_published, self._connection.execute(query, (domain,)))))

    async def of_address(self, address: str) -> tuple[PublishedKey, ...]:
        query = _SELECT_PUBLISHED + "WHERE address = ? ORDER BY kind"
        return await self._do("read", lambda: tuple(map(_published, self._connection.execute(query, (address,)))))

    async def in_directory(self, domain: str, wkd_hash: str) -> tuple[PublishedKey, ...]:
        query = _SELECT_PUBLISHED + "WHERE domain = ? AND wkd_hash = ? AND kind = 'openpgp'"
        return await self._do(
            "read", lambda: tuple(map(_published, self._connection.execute(query, (domain, wkd_hash))))
        )

    def close(self) -> None:
        """What is under way ends first."""
        self._thread.shutdown()
        if self._opened is not None:
            self._opened.close()

    # --- how ---------------------------------------------------------------------------------------------------------

    async def _do(self, done: str, work: Callable[[], T]) -> T:
        def explained() -> T:
            with self._explained(done):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, explained)

    def _transaction(self) -> AbstractContextManager[None]:
        return transaction(self._connection)

    def _explained(self, done: str) -> AbstractContextManager[None]:
        return explained(self._path, "keys", done, KeyStoreError)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _moment(seconds: Any) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_or_none(seconds: Any) -> datetime | None:
    return None if seconds is None else _moment(seconds)


def _kept(row: tuple[Any, ...]) -> KeptKey:
    kind, address, fingerprint, material, valid, algorithm, user_id, source, found, cached, first, state, note = row
    key = RecipientKey(
        kind=kind, address=address, fingerprint=fingerprint, material=bytes(material),
        valid_until=_moment_or_none(valid), algorithm=algorithm, user_id=user_id, source=source,
        found_at=_moment_or_none(found), cached_until=_moment_or_none(cached),
    )  # fmt: skip
    return KeptKey(key=key, first_seen=_moment(first), state=state, note=note)


def _published(row: tuple[Any, ...]) -> PublishedKey:
    address, kind, fingerprint, material, wkd_hash, since, valid = row
    return PublishedKey(
        address=address, kind=kind, fingerprint=fingerprint, material=bytes(material), wkd_hash=wkd_hash,
        since=_moment(since), valid_until=_moment_or_none(valid),
    )  # fmt: skip
