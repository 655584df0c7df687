"""Opening a SQLite database the way every engine here needs it: WAL, full sync, a schema with a version.

Not here: any table. A connection belongs to one process, is opened after the fork, and is used by one thread.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import apsw

# Below it, two connections that write and checkpoint at once can corrupt a database in WAL mode.
OLDEST_SQLITE: Final = (3, 51, 3)
BUSY_MS: Final = 5000  # how long one waits for another process's write

Migration = str | Callable[[apsw.Connection], None]
"""One step from a schema version to the next: SQL, or a function that runs in the step's transaction."""


class SchemaError(Exception):
    """The database cannot be used by this program; the message names the file and what to do."""


def connect(
    path: Path, *, page_octets: int = 4096, incremental_vacuum: bool = False, read_only: bool = False
) -> apsw.Connection:
    """A connection to the database at `path`, which is made (readable by its owner only) if it is not there.

    page_octets, incremental_vacuum: take effect when the file is made, never later. read_only: nothing is made or
    changed; the file has to be there. Raises SchemaError for a SQLite that is too old, apsw.Error for the rest.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise SchemaError(f"SQLite {apsw.sqlite_lib_version()} can corrupt {path}; install apsw {oldest}.0 or newer")
    if read_only:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_MS)
        return connection
    _make_private(path)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_MS)
    connection.execute(f"PRAGMA page_size = {page_octets}")
    if incremental_vacuum:
        connection.execute("PRAGMA auto_vacuum = incremental")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _make_private(path: Path) -> None:
    """Make the file: SQLite would let everybody read it. Its -wal and -shm take over the rights of the file.

    A file that is there is not even opened: closing it would drop the locks that this process holds on it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _use_wal(connection: apsw.Connection) -> None:
    """Only the first change to WAL needs the file alone, and SQLite's busy timeout does not cover it."""
    until = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def schema_version(connection: apsw.Connection) -> int:
    """The version that the last migration left; 0 for a new file."""
    return int(connection.pragma("user_version"))


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """What is done inside is committed together, or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it without us
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def explained(path: Path, what: str, done: str, as_error: type[Exception]) -> Iterator[None]:
    """Errors of SQLite and of the disk become `as_error`, which says what to do. what: is in the database ("keys").
    done: what was tried ("read")."""
    try:
        yield
    except (SchemaError, apsw.Error, OSError) as error:
        raise as_error(explanation(error, path, what, done)) from error


def explanation(error: Exception, path: Path, what: str, done: str) -> str:
    """What `explained` says of `error`; for whoever reads so often that a context manager is too dear."""
    if isinstance(error, SchemaError):
        return str(error)
    if isinstance(error, apsw.NotADBError):
        return f"{path} is no database of {what}; restore a backup of it"
    return f"{path} cannot be {done}: {error}; see that the disk and its rights are fine"


def migrate(connection: apsw.Connection, migrations: Sequence[Migration], path: Path) -> int:
    """Bring the schema up to `len(migrations)` and return the version that was found.

    migrations: step n leads from version n to n + 1, all in one transaction; another process that does the same
    at the same time does no harm. Raises SchemaError when the file is newer than this program.
    """
    found = schema_version(connection)
    if found < len(migrations):
        with transaction(connection):
            found = schema_version(connection)  # another process may have been faster
            for number in range(found, len(migrations)):
                step = migrations[number]
                if isinstance(step, str):
                    connection.execute(step)
                else:
                    step(connection)
                connection.execute(f"PRAGMA user_version = {number + 1}")
    if found > len(migrations):
        raise SchemaError(
            f"{path} has schema {found}, this Gatepost knows {len(migrations)}: "
            f"a newer one wrote it; install that version, or restore a backup from before"
        )
    return found
