"""A backup while it is written: files with their sums, copied or linked; and read again. Not here: what goes into it.

manifest.jsonl   what it is; then a line for each file; then how many there are
data/...         the files, as they lie in the data folder
config/...       the configuration, to look at or to put in place
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

FORMAT: Final = 1
MANIFEST: Final = "manifest.jsonl"
DATA: Final = "data"
CONFIG: Final = "config"
_PIECE_OCTETS: Final = 1 << 20

Progress = Callable[[int, int], None]
"""Called now and then with the files and octets so far."""


class BackupError(Exception):
    """A backup cannot be made, or not be restored; the message says why and what to do."""


class Kept(msgspec.Struct, frozen=True):
    """One file of a backup. name: below the backup's folder, with "/"."""

    name: str
    octets: int
    sha256: str


class Target:
    """A folder that becomes a backup. Invariant: every file in it is in the manifest, with what it holds."""

    def __init__(self, folder: Path, progress: Progress = lambda files, octets: None) -> None:
        """folder: empty."""
        self._folder = folder
        self._progress = progress
        self._manifest = (folder / MANIFEST).open("w", encoding="ascii")
        self.files = 0
        self.octets = 0

    def begin(self, header: dict[str, Any]) -> None:
        self._line({"format": FORMAT, **header})

    def path(self, name: str) -> Path:
        """Where `name` will lie; its folder is there."""
        path = self._folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def copy(self, source: Path, name: str, *, whole_lines: bool = False) -> None:
        """What `source` holds now. whole_lines: it is being appended to; a last line that is not whole is left out.

        Raises OSError; FileNotFoundError says that it is gone.
        """
        with source.open("rb", buffering=0) as file:
            left = os.fstat(file.fileno()).st_size
            if whole_lines:
                left = _end_of_lines(file.fileno(), left)
            path = self.path(name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                while left and (piece := file.read(min(_PIECE_OCTETS, left))):
                    copy.write(piece)
                    left -= len(piece)
        self.note(name)

    def keep(self, source: Path, name: str) -> None:
        """A file that never changes: linked where that is possible, else copied. Raises OSError as `copy`."""
        path = self.path(name)
        try:
            os.link(source, path, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            self.copy(source, name)
            return
        self.note(name)

    def note(self, name: str) -> None:
        """A file that was put at `path(name)`."""
        octets, digest = _sum(self._folder / name)
        self._line({"name": name, "octets": octets, "sha256": digest})
        self.files += 1
        self.octets += octets
        self._progress(self.files, self.octets)

    def has(self, name: str) -> bool:
        return (self._folder / name).exists()

    def finish(self) -> None:
        """Everything is on stable storage."""
        self._line({"files": self.files})
        self._manifest.close()
        os.sync()  # one call for all: a million files would be as many syncs

    def close(self) -> None:
        """Whether it was finished or not."""
        self._manifest.close()

    def _line(self, value: dict[str, Any]) -> None:
        self._manifest.write(json.dumps(value) + "\n")  # ASCII: names of other programs may be no UTF-8


def read_manifest(source: Path) -> tuple[dict[str, Any], Iterator[Kept]]:
    """What the backup says of itself, and its files. Raises BackupError, also while the files are read."""
    lines = _lines(source)
    header = next(lines, {})
    if header.get("format") != FORMAT:
        raise BackupError(f"{source / MANIFEST}: this is no backup that this Gatepost can read")
    return header, _kept(source, lines)


def _kept(source: Path, lines: Iterator[dict[str, Any]]) -> Iterator[Kept]:
    for files, line in enumerate(lines):
        if "files" in line:
            if line["files"] != files:
                break
            return
        try:
            kept = msgspec.convert(line, Kept)
        except msgspec.ValidationError as error:
            raise BackupError(f"{source / MANIFEST}: a line is damaged ({error}); take another backup") from error
        parts = PurePosixPath(kept.name).parts
        if not parts or parts[0] not in (DATA, CONFIG) or ".." in parts:
            raise BackupError(f"{source / MANIFEST}: {kept.name!r} is no name of a file in a backup")
        yield kept
    raise BackupError(f"{source / MANIFEST}: its end is missing; the backup is not complete, take another one")


def _lines(source: Path) -> Iterator[dict[str, Any]]:
    try:
        with (source / MANIFEST).open(encoding="ascii") as file:
            for line in file:
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise ValueError("a line is no object")
                yield value
    except FileNotFoundError:
        raise BackupError(f"{source}: there is no {MANIFEST}, so this is no backup, or not a complete one") from None
    except OSError as error:
        raise BackupError(f"{source / MANIFEST}: {error.strerror}") from error
    except ValueError as error:
        raise BackupError(f"{source / MANIFEST}: damaged ({error}); take another backup") from error


def copy_checked(source: Path, kept: Kept, target: Path) -> None:
    """`target` holds the file of the backup `source`. Raises BackupError when it is not what was saved."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, octets = hashlib.sha256(), 0
    try:
        with (
            (source / kept.name).open("rb", buffering=0) as file,
            open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy,
        ):
            while piece := file.read(_PIECE_OCTETS):
                digest.update(piece)
                octets += len(piece)
                copy.write(piece)
    except FileNotFoundError:
        raise BackupError(f"{source / kept.name}: missing in the backup; take another one") from None
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror}") from error
    if octets != kept.octets or digest.hexdigest() != kept.sha256:
        raise BackupError(f"{source / kept.name}: not what was saved ({octets} octets); take another backup")


def _sum(path: Path) -> tuple[int, str]:
    digest, octets = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_OCTETS):
            digest.update(piece)
            octets += len(piece)
    return octets, digest.hexdigest()


def _end_of_lines(descriptor: int, octets: int) -> int:
    """Octets up to the end of the last whole line among the first `octets`."""
    while octets:
        begin = max(0, octets - _PIECE_OCTETS)
        found = os.pread(descriptor, octets - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        octets = begin
    return 0
