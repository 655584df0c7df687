"""Opening a spool whose lock is held, removing what it no longer needs, and what errors below mean to its users.

Shared by the owner (`spool`) and by a command that changes a spool nobody holds (`spool_change`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import apsw

from gatepost.ports.faults import Faults
from gatepost.spool.port import SpoolDamagedError, SpoolError, SpoolFullError
from gatepost.store.disk import sync_folder
from gatepost.store.sqlite.connection import SchemaError, connect, migrate
from gatepost.store.sqlite.spool_layout import Layout
from gatepost.store.sqlite.spool_rows import SpoolRows
from gatepost.store.sqlite.spool_schema import MIGRATIONS, use_spool

PAGE_OCTETS: Final = 8 * 1024  # a message alone touches five pages: 40 KiB to write and sync, half of what 16 would be


def open_rows(layout: Layout, now: Callable[[], float]) -> tuple[apsw.Connection, SpoolRows]:
    """The database of a spool whose lock is held, up to date and recovered. Raises SpoolError."""
    try:
        connection = connect(layout.database, page_octets=PAGE_OCTETS, incremental_vacuum=True)
    except (apsw.Error, SchemaError, OSError) as error:
        raise translated(error, layout) from error
    try:
        migrate(connection, MIGRATIONS, layout.database)
        sync_folder(layout.folder)
        use_spool(connection)
        rows = SpoolRows(connection, layout.name, now)
        connection.execute("BEGIN IMMEDIATE")
        rows.recover()
        for entry_id in rows.ids_in_files():
            if not (layout.content / entry_id).is_file():
                rows.set_aside_by_id(entry_id, "its content file is missing")
        connection.execute("COMMIT")
    except (apsw.Error, SchemaError, OSError) as error:
        connection.close()
        raise translated(error, layout) from error
    rows.committed()
    return connection, rows


def translated(error: Exception, layout: Layout) -> Exception:
    """What an error of SQLite or of the disk means to whoever uses the spool."""
    if isinstance(error, apsw.FullError):
        return SpoolFullError(f"{layout.database}: the disk is full; make room, mail is accepted again by itself")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return SpoolDamagedError(
            f"{layout.database} is damaged ({error}); stop Gatepost, move {layout.folder} away, restore a backup or "
            "copy what `sqlite3 spool.db .recover` finds"
        )
    if isinstance(error, apsw.ConstraintError):
        return SpoolError(f"spool {layout.name} has an entry of that ID already ({error})")
    if isinstance(error, SchemaError):
        return SpoolError(f"spool {layout.name}: {error}")
    if isinstance(error, (apsw.Error, OSError)):
        return SpoolError(f"{layout.database}: {error}; look at the disk, and at who owns the files")
    return error


def remove_useless_files(layout: Layout, rows: SpoolRows) -> None:
    """Content that no row refers to: its message was never answered 250, or has left."""
    needed = rows.ids_in_files()
    damaged = rows.ids_set_aside()
    for path in layout.content.iterdir():
        if path.name in damaged:
            move_aside(layout, path.name)
        elif path.name not in needed:
            path.unlink(missing_ok=True)


def remove_files(layout: Layout, ids: list[str], faults: Faults) -> None:
    """The content files of entries that have left; what stays behind goes at the next start."""
    for entry_id in ids:
        faults("unlink")
        with contextlib.suppress(OSError):
            (layout.content / entry_id).unlink()


def move_aside(layout: Layout, entry_id: str) -> None:
    """The content file of a damaged entry, where there is one, is kept for people to look at."""
    with contextlib.suppress(OSError):
        (layout.content / entry_id).rename(layout.damaged / entry_id)
