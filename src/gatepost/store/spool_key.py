"""Whether the keys that are configured open what the spools hold; asked before anybody serves.

A file in the data folder tells, by octets that only the right key opens, which keys messages may wait under. It is in
backups, the keys never are. A key is in it before the first message is written with it, and leaves it only when the
configuration does not name it any more and no message needs it: a crash at any moment leaves it knowing too many.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from gatepost.spool.port import SpoolError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.data_folder import DataError, DataFolder
from gatepost.store.disk import write_private
from gatepost.store.sqlite.spool_cipher import SpoolCipher
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader


class _Known(msgspec.Struct, frozen=True):
    """A key that messages may wait under. since: when it was first configured."""

    since: date
    check: bytes


def check_spool_keys(data: DataFolder, settings: SpoolSettings, today: date) -> bool:
    """Nothing in the spools needs another key than those of `settings`, and the next start will know these; whether
    any message still waits under one of `previous_keys`.

    Raises DataError: there are messages that could not be read.
    """
    path = data.spool_check
    ciphers = [SpoolCipher(key) for key in settings.keys]
    try:
        known = _read(path)
        missing = [each for each in known if not any(cipher.is_of(each.check) for cipher in ciphers)]
        if missing and _waiting(data.root, settings.keys):
            raise DataError(_without(missing, data.root / "spool"))
        kept = [each for each in known if each not in missing]
        kept += [
            _Known(today, cipher.check_value())
            for cipher in ciphers
            if not any(cipher.is_of(each.check) for each in kept)
        ]
        if kept != known:
            _write(path, kept)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; the user that Gatepost runs as must own it") from error
    return bool(settings.previous_keys) and _waiting(data.root, settings.keys[:1] if settings.key else ())


def _without(missing: Sequence[_Known], spool: Path) -> str:
    of = " and ".join(f"the one that is configured since {each.since}" for each in missing)
    return (
        f"messages that wait in {spool} are encrypted with a key that [spool] does not name: {of}. Name it in key, or "
        "in previous_keys beside a new one; it may go when no message waits under it any more"
    )


def _waiting(root: Path, keys: tuple[str, ...]) -> bool:
    """Whether any message is encrypted with another key than these."""
    try:
        return SqliteSpoolReader(root, keys).locked() > 0
    except SpoolError:
        return True  # nobody can tell, so it must not be lost


def _read(path: Path) -> list[_Known]:
    """Raises DataError for a file that somebody damaged: what it knew must not be forgotten."""
    try:
        octets = path.read_bytes()
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
    except FileNotFoundError:
        return []
    if len(octets) == SpoolCipher.CHECK_OCTETS:  # as it was written while there could be one key only
        return [_Known(modified, octets)]
    try:
        lines = [line.split(" ") for line in octets.decode("ascii").splitlines()]
        return [_Known(date.fromisoformat(since), binascii.a2b_base64(check)) for since, check in lines]
    except ValueError as error:
        raise DataError(f"{path} is damaged; restore it from a backup") from error


def _write(path: Path, known: Sequence[_Known]) -> None:
    if not known:
        path.unlink(missing_ok=True)
        return
    lines = (f"{each.since} {binascii.b2a_base64(each.check, newline=False).decode()}\n" for each in known)
    write_private(path, "".join(lines).encode())
