"""A data folder from a backup: checked file by file, complete or not there. Not here: making one (`backup`)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from gatepost.store.backup import Report
from gatepost.store.backup_target import CONFIG, DATA, BackupError, Progress, copy_checked, read_manifest
from gatepost.store.data_folder import LOCK_FILE, VERSION, VERSION_FILE, DataError, DataLock, make_root
from gatepost.store.disk import sync_folder

PARTIAL: Final = "restoring"  # in the data folder, which may be a file system of its own
_MAY_BE_THERE: Final = {LOCK_FILE, PARTIAL, "lost+found"}


def restore(
    source: Path,
    data: Path,
    owner: tuple[int, int] | None = None,
    progress: Progress = lambda files, octets: None,
) -> Report:
    """`data` is as it was when the backup `source` was made; the backup stays as it is.

    data: missing or empty. owner: the user and group that it shall belong to, for root. Nothing is in place before all
    of it was checked. Raises BackupError.
    """
    header, files = read_manifest(source)
    if int(header.get("data_version", 0)) > VERSION:
        raise BackupError(
            f"{source}: its data has version {header['data_version']}, this Gatepost reads up to {VERSION}: upgrade it"
        )
    try:
        make_root(data)
        lock = DataLock.take(data)
    except OSError as error:
        raise BackupError(f"{data}: {error.strerror}; run this as root, or as the user that serves") from error
    except DataError as error:
        raise BackupError(str(error)) from error
    try:
        _check_empty(data)
        if owner is not None:
            os.chown(data, 0, 0)  # whoever will own it has no hand in it before it is complete
        partial = data / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        count, octets = 0, 0
        for kept in files:
            copy_checked(source, kept, partial / kept.name)
            count, octets = count + 1, octets + kept.octets
            progress(count, octets)
        os.sync()
        _put_in_place(partial, data, owner)
    except OSError as error:
        raise BackupError(
            f"{error.filename or data}: {error.strerror}; the data folder is not complete, empty it before another try"
        ) from error
    finally:
        shutil.rmtree(data / PARTIAL, ignore_errors=True)
        lock.release()
    return Report(data, count, octets, tuple(Path(path) for path in header.get("elsewhere", ())))


def saved_configuration(source: Path) -> Path | None:
    """The configuration file that was saved along."""
    return next(iter(sorted((source / CONFIG).glob("*.toml"))), None)


def _check_empty(data: Path) -> None:
    there = sorted(path.name for path in data.iterdir() if path.name not in _MAY_BE_THERE)
    if there:
        raise BackupError(
            f"{data}: not empty ({', '.join(there[:3])}{', ...' if len(there) > 3 else ''}); a backup is only restored "
            "into an empty folder: move away what is there"
        )


def _put_in_place(partial: Path, data: Path, owner: tuple[int, int] | None) -> None:
    """The version comes last: without it the folder is refused by everybody."""
    saved = partial / DATA
    for path in (saved, *saved.rglob("*"), data / LOCK_FILE):
        if path.is_dir():
            path.chmod(0o700)
        if owner is not None:
            os.chown(path, *owner)
    for path in sorted(saved.iterdir(), key=lambda path: path.name == VERSION_FILE):
        os.rename(path, data / path.name)
    sync_folder(data)
    if owner is not None:
        os.chown(data, *owner)
