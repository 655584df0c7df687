"""What becomes of days that are over: compressed, and removed when `audit.keep` is; the chain stays provable.

Where a removed file's chain began and ended stays in `removed.jsonl`, and in an event of the record. Blocks on the disk
for seconds: it is called in a thread, hourly, by one process. Not here: the clock that calls it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from gatepost.audit.criteria import stamp
from gatepost.audit.event import Event, Recorder
from gatepost.audit.files import (
    REMOVED_FILE,
    TORN_FOLDER,
    WRITERS_FOLDER,
    CannotRead,
    RecordFile,
    Removed,
    day_of,
    days,
    files_of,
    is_day,
    removed,
    sync_folder,
    zstd,
)
from gatepost.audit.verify import check_file

GRACE_SECONDS: Final = 3600.0  # after midnight: a writer's last lines of the day, and clocks that differ
BLOCK_OCTETS: Final = 1 << 20
LEVEL: Final = 3  # higher ones gain nothing: what is left are hashes and IDs
DAY_SECONDS: Final = 86_400.0


class Tidied(msgspec.Struct, frozen=True):
    """What was done. problems: what could not be, in words for the operator; the next call tries again."""

    compressed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def tidy(folder: Path, keep: float, now: float, recorder: Recorder) -> Tidied:
    """Compresses the days that are over and removes those that ended more than `keep` seconds before `now`.

    folder: `data/audit`. now: unix time. One call at a time does it: another one meanwhile returns at once. Raises
    RecordError if a removal cannot be recorded; that day stays then.
    """
    with _alone(folder) as is_alone:
        if not is_alone:
            return Tidied()
        today = day_of(now)
        problems: list[str] = []
        gone = _remove(folder, min(day_of(now - keep), today), now, recorder, problems)
        compressed = _compress(folder, min(day_of(now - GRACE_SECONDS), today), problems)
        return Tidied(compressed, gone, tuple(problems))


def compress(file: RecordFile) -> None:
    """The file becomes a compressed one; at no moment is it absent. Raises CannotRead, OSError."""
    module = zstd()
    target = file.path.with_name(file.path.name + ".zst")
    new = target.with_name(target.name + ".new")
    options = {module.CompressionParameter.compression_level: LEVEL, module.CompressionParameter.checksum_flag: 1}
    with open(file.path, "rb") as source, open(new, "wb", opener=_private) as out:
        with module.open(out, "wb", options=options) as stream:
            digest, octets = _copy(source, stream)
        out.flush()
        os.fsync(out.fileno())
    with module.open(new, "rb") as again:
        if _copy(again, None) != (digest, octets) or file.path.stat().st_size != octets:
            new.unlink()
            raise CannotRead(f"{file.path}: changed while it was compressed, or did not read back the same")
    new.replace(target)
    sync_folder(target.parent)
    file.path.unlink()


def _compress(folder: Path, before: str, problems: list[str]) -> tuple[str, ...]:
    done: list[str] = []
    for day in days(folder):
        if day >= before:
            break
        for file in files_of(folder, day):
            if file.is_compressed or _is_empty(file):  # nothing becomes no zstd frame
                continue
            try:
                compress(file)
            except (OSError, CannotRead) as error:
                problems.append(f"{file.name} cannot be compressed: {error}")
            else:
                done.append(file.name)
    return tuple(done)


def _remove(folder: Path, before: str, now: float, recorder: Recorder, problems: list[str]) -> tuple[str, ...]:
    """Days before `before` go, oldest first. Where their chains stood is kept, and told, before they do."""
    known = {each.file for each in removed(folder)}
    gone: list[str] = []
    for day in days(folder):
        if day >= before:
            break
        files = files_of(folder, day)
        notes = [_note_of(file, now) for file in files if file.name not in known]  # known: it could not be removed then
        try:
            if notes:
                _append(folder / REMOVED_FILE, notes)
                details = {"what": "a day of the record is kept no longer", "day": day, "files": notes}
                recorder.record(Event("server", details=details))
            for path in sorted((folder / day).iterdir()):
                path.unlink()
            (folder / day).rmdir()
        except OSError as error:
            problems.append(f"{folder / day} cannot be removed: {error.strerror or error}")
            break
        gone += [file.name for file in files]
    _remove_torn(folder, before, problems)
    return tuple(gone)


def _note_of(file: RecordFile, now: float) -> Removed:
    checked = check_file(file)
    previous, chain = ((each or b"").hex() for each in (checked.previous, checked.chain))
    return Removed(file.name, checked.lines, previous, chain, stamp(now))


def _append(path: Path, notes: list[Removed]) -> None:
    with open(path, "ab", opener=_private) as stream:
        stream.writelines(msgspec.json.encode(note) + b"\n" for note in notes)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(path.parent)


def _remove_torn(folder: Path, before: str, problems: list[str]) -> None:
    """Unfinished lines that were set aside, by the day in their names."""
    try:
        for path in (folder / TORN_FOLDER).iterdir():
            day = path.name[:10]
            if is_day(day) and day < before:
                path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{folder / TORN_FOLDER} cannot be tidied: {error.strerror or error}")


def _is_empty(file: RecordFile) -> bool:
    try:
        return file.path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _copy(source: IO[bytes], target: IO[bytes] | None) -> tuple[bytes, int]:
    """(SHA-256, octets) of what was copied."""
    digest, octets = hashlib.sha256(), 0
    while block := source.read(BLOCK_OCTETS):
        digest.update(block)
        octets += len(block)
        if target is not None:
            target.write(block)
    return digest.digest(), octets


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    writers = folder / WRITERS_FOLDER
    writers.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(writers / "retention", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
