"""Whether the key that is configured is the one that the spools were written with; asked before anybody serves.

A file in the data folder tells, by octets that only the right key opens. It is in backups, the key never is.
"""

from __future__ import annotations

from pathlib import Path

from gatepost.spool.port import SpoolError
from gatepost.store.data_folder import DataError, DataFolder
from gatepost.store.disk import write_private
from gatepost.store.sqlite.spool_cipher import SpoolCipher
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader


def check_spool_key(data: DataFolder, key: str) -> None:
    """Nothing in the spools needs another key than `key` ("" for none), and the next start will know this one.

    Raises DataError: there are messages that could not be read.
    """
    path = data.spool_check
    try:
        kept = path.read_bytes() if path.exists() else b""
        if not kept and not key:
            return
        cipher = SpoolCipher(key) if key else None
        if kept and cipher is not None and cipher.is_of(kept):
            return
        if kept and _has_entries(data.root):
            said = "there is none" if cipher is None else "it is another one"
            raise DataError(
                f"the messages that wait in {data.root / 'spool'} are encrypted, and [spool] key is not their key: "
                f"{said}. Name the key that they were written with; a key may change, or go, when the queue is empty"
            )
        if cipher is None:
            path.unlink(missing_ok=True)
        else:
            write_private(path, cipher.check_value())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; the user that Gatepost runs as must own it") from error


def _has_entries(root: Path) -> bool:
    try:
        return SqliteSpoolReader(root).counts()["entries"] > 0
    except SpoolError:
        return True  # nobody can tell, so it must not be lost
