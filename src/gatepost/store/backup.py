"""A consistent copy of the data folder while the server writes to it.

Order is what keeps it from losing mail: the spools first, all at one instant; then the maildrops; then the record. A
message that is delivered meanwhile is in both, and a restored server delivers it twice (RFC 1047 prefers that); in
neither it cannot be. Every message that is in the copy has its events in the copied record. Files that never change
(messages, large content) are linked where source and target share a file system. Not here: putting it back (`restore`).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw
import msgspec

from gatepost import __version__
from gatepost.spool.port import SpoolError
from gatepost.standing.port import StandingError
from gatepost.store.backup_target import CONFIG, DATA, BackupError, Progress, Target
from gatepost.store.data_folder import (
    BACKUPS,
    LOCK_FILE,
    SECRET_FILE,
    VERSION_FILE,
    DataError,
    found_version,
)
from gatepost.store.disk import sync_folder
from gatepost.store.lmdb.copy import copy_facts
from gatepost.store.lmdb.opening import FACTS
from gatepost.store.maildir.usage import FILE as USAGE
from gatepost.store.sqlite.connection import SchemaError
from gatepost.store.sqlite.snapshot import copy_database, frozen_spools

PASSES: Final = 10  # over a folder in which others rename
MESSAGES: Final = ("new", "cur")  # in this order: a message moves from new to cur
_LEFT_OUT: Final = {LOCK_FILE, BACKUPS, "run", "lost+found"}
_OF_DATABASES: Final = (".db-wal", ".db-shm", ".new")


class Report(msgspec.Struct, frozen=True):
    """What was saved. elsewhere: files that the server needs and that are not in it."""

    path: Path
    files: int
    octets: int
    elsewhere: tuple[Path, ...] = ()


def backup(
    data: Path,
    dest: Path,
    config: Path | None = None,
    elsewhere: Sequence[Path] = (),
    progress: Progress = lambda files, octets: None,
) -> Report:
    """A backup of `data` as the new folder `dest`, which is there when it is complete and on stable storage.

    config: the configuration file, saved along. elsewhere: files that are not saved, for the report and the manifest.
    Raises BackupError.
    """
    partial = make_partial(dest)
    try:
        report = write_backup(data, partial, config, elsewhere, progress)
        place(partial, dest)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return msgspec.structs.replace(report, path=dest)


def make_partial(dest: Path) -> Path:
    """An empty folder beside `dest`, to become it. Raises BackupError."""
    if dest.exists():
        raise BackupError(f"{dest} exists already; name a folder that does not, a backup is never written over")
    partial = dest.with_name(f".{dest.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(mode=0o700)
    except OSError as error:
        raise BackupError(f"{partial}: {error.strerror}; see that {dest.parent} is there and may be written") from error
    return partial


def place(partial: Path, dest: Path) -> None:
    """`dest` is there, for good. Raises BackupError."""
    try:
        os.rename(partial, dest)
        sync_folder(dest.parent)
    except OSError as error:
        raise BackupError(f"{dest}: {error.strerror}") from error


def write_backup(
    data: Path,
    folder: Path,
    config: Path | None = None,
    elsewhere: Sequence[Path] = (),
    progress: Progress = lambda files, octets: None,
) -> Report:
    """The same into `folder`, which is empty; it has its manifest at the end, and then only is a backup."""
    try:
        version = found_version(data)
        if not version:
            raise BackupError(f"{data}: there is nothing to save, the server has not been started yet")
        header = {
            "gatepost": __version__,
            "data_version": version,
            "made": datetime.now(UTC).isoformat(),
            "data": str(data),
            "elsewhere": [str(path) for path in elsewhere],
        }
        with closing(Target(folder, progress)) as target:
            target.begin(header)
            _save_all(data, target)
            if config is not None:
                target.copy(config, f"{CONFIG}/{config.name}")
            target.finish()
            return Report(folder, target.files, target.octets, tuple(elsewhere))
    except (DataError, SpoolError, StandingError, SchemaError) as error:
        raise BackupError(str(error)) from error
    except (OSError, apsw.Error) as error:
        where = getattr(error, "filename", None) or data
        raise BackupError(f"{where}: {getattr(error, 'strerror', None) or error}; nothing was saved") from error


def _save_all(data: Path, target: Target) -> None:
    with _staging(data) as staging, frozen_spools(data, staging) as spools:
        for spool in spools:
            below = f"{DATA}/spool/{spool.layout.name}"
            spool.copy_database(target.path(f"{below}/spool.db"))
            target.note(f"{below}/spool.db")
            for name in spool.names():
                _keep_if_there(spool.content / name, f"{below}/content/{name}", target)  # missing: set aside at start
            _copy_tree(spool.layout.damaged, f"{below}/damaged", target)
    _keep_mail(data / "maildrops", f"{DATA}/maildrops", target)
    for database in sorted(data.glob("*.db")):
        copy_database(database, target.path(f"{DATA}/{database.name}"))
        target.note(f"{DATA}/{database.name}")
    facts = f"{DATA}/standing/{FACTS}"
    if copy_facts(data / "standing", target.path(facts)):
        target.note(facts)
    _copy_record(data / "audit", f"{DATA}/audit", target)
    done = {"spool", "maildrops", "standing", "audit", SECRET_FILE, VERSION_FILE, *_LEFT_OUT}
    for path in sorted(data.iterdir()):
        if path.name not in done and not path.name.endswith((".db", *_OF_DATABASES)):
            _copy_tree(path, f"{DATA}/{path.name}", target)
    for name in (SECRET_FILE, VERSION_FILE):
        target.copy(data / name, f"{DATA}/{name}")


@contextmanager
def _staging(data: Path) -> Iterator[Path]:
    """A folder for links, on the file system of the spools; gone afterwards, and if not, at the next backup."""
    above = data / BACKUPS
    above.mkdir(mode=0o700, exist_ok=True)
    for left in above.glob(".staging-*"):
        if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    staging = above / f".staging-{os.getpid()}"
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


# --- folders in which others work ---------------------------------------------------------------------------------


def _keep_mail(folder: Path, name: str, target: Target, above: tuple[str, ...] = ()) -> None:
    """Every folder below, those of messages as such. above: where we are, so that a link cannot lead in a circle."""
    here = os.path.realpath(folder)
    if here in above:
        return
    names = [each for each in _names(folder) if each != USAGE]
    if all(part in names for part in MESSAGES):
        _keep_messages(folder, name, target)
        names = [each for each in names if each not in (*MESSAGES, "tmp")]
    for each in names:
        path = folder / each
        if path.is_dir():
            _keep_mail(path, f"{name}/{each}", target, (*above, here))
        else:
            _copy_if_there(path, f"{name}/{each}", target)


def _keep_messages(folder: Path, name: str, target: Target) -> None:
    """Each message once, under the name it had when it was found.

    Mail programs rename while we look: a message may move under our eyes, and a folder that changes may be listed
    without it. So we look until a pass finds nothing new.
    """
    seen: set[str] = set()
    for part in MESSAGES:
        target.path(f"{name}/{part}/x").parent.mkdir(exist_ok=True)
    for _ in range(PASSES):
        has_changed = False
        for part in MESSAGES:
            for each in _names(folder / part):
                base = each.partition(":")[0]
                if base in seen:
                    continue
                has_changed = True
                if _keep_if_there(folder / part / each, f"{name}/{part}/{each}", target):
                    seen.add(base)
        if not has_changed:
            return


def _copy_record(folder: Path, name: str, target: Target) -> None:
    """Days first, then what says which were removed: a file that goes meanwhile is in one of both."""
    names = _names(folder)
    for each in (*[n for n in names if (folder / n).is_dir()], *[n for n in names if not (folder / n).is_dir()]):
        if each == "writers":
            continue
        path = folder / each
        if not path.is_dir():
            _copy_if_there(path, f"{name}/{each}", target, whole_lines=each.endswith(".jsonl"))
            continue
        seen: set[str] = set()
        for _ in range(PASSES):  # a day that is over is being compressed: the same file has another name then
            fresh = [file for file in _names(path) if file.removesuffix(".zst") not in seen]
            for file in fresh:
                if _copy_if_there(path / file, f"{name}/{each}/{file}", target, whole_lines=file.endswith(".jsonl")):
                    seen.add(file.removesuffix(".zst"))
            if not fresh:
                break


def _copy_tree(path: Path, name: str, target: Target, above: tuple[str, ...] = ()) -> None:
    if path.is_dir():
        here = os.path.realpath(path)
        for each in _names(path) if here not in above else ():
            _copy_tree(path / each, f"{name}/{each}", target, (*above, here))
    elif not name.endswith(_OF_DATABASES):
        _copy_if_there(path, name, target)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _keep_if_there(source: Path, name: str, target: Target) -> bool:
    if source.is_symlink():
        return _copy_if_there(source, name, target)
    try:
        if stat.S_ISREG(source.stat().st_mode):
            target.keep(source, name)
    except FileNotFoundError:
        return False
    return True


def _copy_if_there(source: Path, name: str, target: Target, *, whole_lines: bool = False) -> bool:
    """Regular files only, or what a link leads to: sockets and pipes hold nothing."""
    try:
        if stat.S_ISREG(source.stat().st_mode):
            target.copy(source, name, whole_lines=whole_lines)
    except FileNotFoundError:
        return False
    return True


def named_elsewhere(data: Path, files: Iterable[Path]) -> tuple[Path, ...]:
    """Those of `files` that a backup of `data` does not hold, each once."""
    return tuple(dict.fromkeys(path for path in files if not path.is_relative_to(data)))
