"""A command's change of one entry: by its holder where one lives, directly where nobody holds the spool.

The holder knows what is leased, so nobody else writes to its database. How a holder is asked is passed in (in
production `net.control.ask`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import apsw

from gatepost.ports.faults import no_fault
from gatepost.spool.control import change_request, was_changed
from gatepost.spool.port import SpoolError
from gatepost.spool.transitions import Action, parse_action
from gatepost.store.sqlite.spool_layout import Layout, SpoolLock, holder_of, layout_of
from gatepost.store.sqlite.spool_opening import open_rows, remove_files, translated
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

RUN_FOLDER: Final = "run"
TRIES: Final = 5  # the holder may end, or another may begin, between two looks

Ask = Callable[[Path, Mapping[str, Any]], Mapping[str, Any]]
"""Sends a request to a control socket and returns the answer. Raises OSError where nobody listens."""


def change_entry(
    data: Path, entry_id: str, action: str, now: float, ask: Ask, pause: Callable[[float], None] = time.sleep
) -> bool:
    """Whether there was such an entry; it is changed, as `spool.port.SpoolStore.change` says.

    Raises SpoolError: an unknown action, a spool that cannot be written, or a holder that does not answer.
    """
    known = parse_action(action)
    reader = SqliteSpoolReader(data)
    trouble = ""
    for attempt in range(TRIES):
        entry = reader.show(entry_id)
        if entry is None:
            return False
        layout = layout_of(data, entry.spool)
        lock = SpoolLock.take(layout)
        if lock is not None:
            try:
                return _change_unheld(layout, entry_id, known, now)
            finally:
                lock.release()
        holder = holder_of(layout)
        if holder is not None and holder.socket:
            try:
                return was_changed(ask(data / RUN_FOLDER / holder.socket, change_request(entry_id, known)))
            except OSError as error:
                trouble = f"process {holder.pid} holds it and does not answer on {holder.socket}: {error}"
        else:
            trouble = f"another process holds it and takes no orders{f' (pid {holder.pid})' if holder else ''}"
        pause(0.05 * 2**attempt)
    raise SpoolError(f"spool {data / 'spool'}: entry {entry_id} is as it was, for {trouble}; try again in a moment")


def _change_unheld(layout: Layout, entry_id: str, action: Action, now: float) -> bool:
    connection, rows = open_rows(layout, lambda: now)
    try:
        connection.execute("BEGIN IMMEDIATE")
        found = rows.change(entry_id, action, now)
        connection.execute("COMMIT")
        rows.committed()
    except apsw.Error as error:
        raise translated(error, layout) from error
    finally:
        connection.close()
    remove_files(layout, rows.take_useless_files(), no_fault)
    return found
