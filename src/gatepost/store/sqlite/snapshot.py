"""Databases as they were at one instant, while others write to them: of one file, or of all spools together.

Between spools an instant matters: an entry that leaves one (a list that was expanded, a DSN that was made) has its
successors in another, and no copy may have lost both.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import apsw

from gatepost.spool.port import SpoolError
from gatepost.store.sqlite.connection import SchemaError, connect
from gatepost.store.sqlite.spool_layout import INCOMING, Layout, spools_of

TRIES: Final = 40
ALL_SECONDS: Final = 1.0  # to have all locks: who holds some that long gives way, so that no worker's commit fails
PAUSE_SECONDS: Final = 0.3


def copy_database(source: Path, target: Path) -> None:
    """`target` is a whole database with what `source` holds now. Raises apsw.Error, SchemaError, OSError."""
    reader = connect(source, read_only=True)
    try:
        _copy(reader, target)
    finally:
        reader.close()


class FrozenSpool:
    """One spool as it was. content: a folder of links to the content files that belong to it, by entry."""

    def __init__(self, layout: Layout, reader: apsw.Connection, content: Path) -> None:
        self.layout = layout
        self.content = content
        self._reader = reader

    def copy_database(self, target: Path) -> None:
        """Raises SpoolError."""
        try:
            _copy(self._reader, target)
        except (apsw.Error, OSError) as error:
            raise SpoolError(f"{self.layout.database}: cannot be copied ({error}); see the disks") from error

    def names(self) -> list[str]:
        """The entries whose content is a file of its own."""
        return [str(name) for (name,) in self._reader.execute("SELECT id FROM entry WHERE in_file = 1 ORDER BY id")]


@contextmanager
def frozen_spools(data: Path, staging: Path) -> Iterator[list[FrozenSpool]]:
    """All spools below `data` at one instant; their owners go on meanwhile. Raises SpoolError.

    staging: an empty folder on the same file system, for links: an owner removes what it has delivered.
    """
    with ExitStack() as stack:
        for layout in spools_of(data):
            _link(layout, staging)  # most of it now, so that the instant is short
        frozen = _freeze(data, staging, stack)
        yield frozen


def _freeze(data: Path, staging: Path, stack: ExitStack) -> list[FrozenSpool]:
    for _ in range(TRIES):
        with ExitStack() as locks:
            layouts = _lock_all(data, locks)
            if layouts is None:
                locks.close()
                time.sleep(random.uniform(0.1, 1) * PAUSE_SECONDS)
                continue
            frozen = []
            for layout in layouts:
                # With all locks held nothing changes: not the rows, and no file of a row comes or goes.
                with _told(layout):
                    reader = connect(layout.database, read_only=True)
                    stack.callback(reader.close)
                    reader.execute("BEGIN")
                    reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()
                frozen.append(FrozenSpool(layout, reader, _link(layout, staging)))
            return frozen
    raise SpoolError(f"{data / 'spool'}: the spools are so busy that no moment was found to copy them; try again")


def _lock_all(data: Path, locks: ExitStack) -> list[Layout] | None:
    """Every spool, with its write lock held until `locks` is closed; None where that takes too long."""
    until = time.monotonic() + ALL_SECONDS
    held: dict[str, Layout] = {}
    while fresh := [layout for layout in spools_of(data) if layout.name not in held]:
        for layout in fresh:
            with _told(layout):
                writer = connect(layout.database)
                locks.callback(writer.close)
                writer.set_busy_timeout(max(1, int(1000 * (until - time.monotonic()))))
                try:
                    writer.execute("BEGIN IMMEDIATE")
                except apsw.BusyError:
                    return None
            held[layout.name] = layout
    return list(held.values())


def _link(layout: Layout, staging: Path) -> Path:
    """Links to all content files of the spool that have their place."""
    folder = staging / layout.name
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(layout.content):
            if not name.startswith(INCOMING):
                with contextlib.suppress(FileExistsError, FileNotFoundError):  # linked before; delivered just now
                    os.link(layout.content / name, folder / name)
    return folder


def _copy(reader: apsw.Connection, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    writer = apsw.Connection(str(target))
    try:
        with writer.backup("main", reader, "main") as backup:
            while not backup.done:
                backup.step(1000)
    finally:
        writer.close()


@contextmanager
def _told(layout: Layout) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, SchemaError, OSError) as error:
        raise SpoolError(
            f"{layout.database}: cannot be read ({error}); see the disk, and move the folder {layout.folder} away "
            "if it cannot be repaired"
        ) from error
