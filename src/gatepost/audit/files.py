"""Where the record lies: day folders, a file for each writer, compressed ones, and what was removed.

    audit/2026-11-24/NODE.WORKER.jsonl       being written, or of a day that was not compressed yet
    audit/2026-11-23/NODE.WORKER.jsonl.zst   a day that is over
    audit/writers/WORKER.lock                held by the live writer of that number
    audit/torn/...                           unfinished lines that a crash left, for a person to look at
    audit/removed.jsonl                      a line for each file that `audit.keep` ended: where its chain stood

Not here: what is in a line (`chain`, `event`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final

import msgspec

REMOVED_FILE: Final = "removed.jsonl"
TORN_FOLDER: Final = "torn"
WRITERS_FOLDER: Final = "writers"
PLAIN: Final = ".jsonl"
COMPRESSED: Final = ".jsonl.zst"
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


class RecordFile(msgspec.Struct, frozen=True, order=True):
    """One writer's file of one day."""

    day: str  # "2026-11-24"
    node: str
    worker: int
    path: Path

    @property
    def name(self) -> str:
        """The name it was written under, below the record's folder: it stays when the file is compressed."""
        return file_name(self.day, self.node, self.worker)

    @property
    def is_compressed(self) -> bool:
        return self.path.name.endswith(COMPRESSED)


class Removed(msgspec.Struct, frozen=True):
    """A file that is not kept any longer. previous, chain: what its first line followed and its last line was."""

    file: str
    lines: int
    previous: str
    chain: str
    removed: str


class CannotRead(Exception):
    """A file of the record cannot be read; says which, why and what to do."""


def safe_node(node: str) -> str:
    """`node` as it may stand in a file name."""
    return _UNSAFE.sub("_", node) or "_"


def day_of(unix: float) -> str:
    """The day, UTC, in which `unix` lies: "2026-11-24"."""
    return datetime.fromtimestamp(unix, UTC).date().isoformat()


def file_name(day: str, node: str, worker: int) -> str:
    """A writer's file of a day, relative to the record's folder."""
    return f"{day}/{safe_node(node)}.{worker}{PLAIN}"


def is_day(name: str) -> bool:
    """Whether `name` is that of a day folder."""
    if not _DAY.fullmatch(name):
        return False
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True


def days(folder: Path) -> list[str]:
    """The days that there is a folder for, oldest first; none where the record was not begun. Raises CannotRead."""
    try:
        return sorted(name for name in os.listdir(folder) if is_day(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CannotRead(f"{folder}: {error.strerror}; run the command as the user of the server") from error


def files_of(folder: Path, day: str) -> list[RecordFile]:
    """The files of a day, each once: while one is being compressed, as it was written."""
    found: dict[tuple[str, int], RecordFile] = {}
    try:
        names = sorted(os.listdir(folder / day), reverse=True)  # ".jsonl.zst" before ".jsonl": the latter stays
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CannotRead(f"{folder / day}: {error.strerror}; run the command as the user of the server") from error
    for name in names:
        suffix = next((each for each in (PLAIN, COMPRESSED) if name.endswith(each)), "")
        node, _, worker = name.removesuffix(suffix).rpartition(".")
        if suffix and node and worker.isascii() and worker.isdigit():
            found[node, int(worker)] = RecordFile(day, node, int(worker), folder / day / name)
    return sorted(found.values())


def newest_of(folder: Path, node: str, worker: int, before: str) -> RecordFile | None:
    """The last file of a writer from a day before `before`."""
    node = safe_node(node)
    for day in reversed(days(folder)):
        if day < before:
            for file in files_of(folder, day):
                if (file.node, file.worker) == (node, worker):
                    return file
    return None


@contextmanager
def opened(file: RecordFile) -> Iterator[IO[bytes]]:
    """The octets of a file, decompressed, from its beginning; none if it was removed since it was listed.

    Raises CannotRead, also while it is read.
    """
    try:
        with _open(file.path) as stream:
            yield stream
    except (OSError, EOFError) as error:
        raise CannotRead(f"{file.path}: {error}; see whether the disk is sound, and `audit verify`") from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # its module may be absent, so it cannot be named above
            raise
        raise CannotRead(f"{file.path}: is damaged ({error}); bring it back from a backup") from error


def _open(path: Path) -> IO[bytes]:
    compressed = path if path.name.endswith(COMPRESSED) else path.with_name(path.name + ".zst")
    if path != compressed:
        with suppress(FileNotFoundError):
            return open(path, "rb", buffering=1 << 18)
    try:  # it may have been compressed since it was listed
        stream: IO[bytes] = zstd().open(compressed, "rb")
    except FileNotFoundError:
        return BytesIO()
    return stream


def zstd() -> Any:
    """The zstd module: of the standard library from 3.14 on, else backports.zstd. Raises CannotRead."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise CannotRead("days of the record are compressed with zstd, which this Python lacks; install backports.zstd")


def removed(folder: Path) -> list[Removed]:
    """Every file that is not kept any longer, in the order of removal. A line that does not read is left out: what it
    would have shown is then reported as missing."""
    try:
        lines = (folder / REMOVED_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CannotRead(f"{folder / REMOVED_FILE}: {error.strerror}") from error
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Removed))
        except msgspec.DecodeError:
            continue
    return found


def sync_folder(folder: Path) -> None:
    """New names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
