"""A copy of all spools of a data folder while their owners write.

Each spool is copied as it is at one moment. What is delivered later than that moment is in the copy and will be
delivered again by whoever restores it: no message is lost, as everywhere here. Not here: the other parts of `data`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import cast

import apsw

from gatepost.spool.port import SpoolError
from gatepost.store.disk import sync_folder
from gatepost.store.sqlite.connection import SchemaError, connect
from gatepost.store.sqlite.spool_layout import Layout, layout_of, spools_of


def backup_spools(data: Path, copy: Path) -> list[str]:
    """The names of the spools that are now in `copy`, a data folder that has none of these yet.

    The copy is on stable storage and opens like any spool. Raises SpoolError.
    """
    names = []
    for source in spools_of(data):
        target = layout_of(copy, source.name)
        if target.database.exists():
            raise SpoolError(f"{target.database} is there already; give an empty folder to copy to")
        target.make()
        try:
            _copy_database(source, target)
            _copy_content(source, target)
        except (apsw.Error, SchemaError, OSError) as error:
            raise SpoolError(f"spool {source.folder} could not be copied to {target.folder}: {error}") from error
        names.append(source.name)
    return names


def _copy_database(source: Layout, target: Layout) -> None:
    original = connect(source.database, read_only=True)
    os.close(os.open(target.database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    copied = apsw.Connection(str(target.database), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        with copied.backup("main", original, "main") as backup:
            while not backup.done:
                backup.step(-1)  # at one go: each commit of the owner would make it begin anew
    finally:
        copied.close()
        original.close()


def _copy_content(source: Layout, target: Layout) -> None:
    """The content files of the entries that were copied. An entry without one has left since: it goes here too."""
    copied = connect(target.database)
    try:
        rows = copied.execute("SELECT number, id FROM entry WHERE in_file = 1").fetchall()
        for number, entry_id in cast(list[tuple[int, str]], rows):
            try:
                _copy_file(source.content / entry_id, target.content / entry_id)
            except FileNotFoundError:
                for table, key in (("entry", "number"), ("content", "number"), ("recipient", "entry")):
                    copied.execute(f"DELETE FROM {table} WHERE {key} = ?", (number,))  # noqa: S608 - names of ours
    finally:
        copied.close()
    sync_folder(target.content)
    sync_folder(target.folder)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("xb") as copied:
        os.fchmod(copied.fileno(), 0o600)
        shutil.copyfileobj(original, copied, 1024 * 1024)
        copied.flush()
        os.fsync(copied.fileno())
