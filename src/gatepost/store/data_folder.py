"""The data folder: what lies where below `data`, and the version that says how.

A newer program migrates an older folder, an older program refuses a newer one. Not here: what is in the files.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

VERSION: Final = 1
VERSION_FILE: Final = "version"
SECRET_OCTETS: Final = 32

Migration = Callable[[Path], None]
MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""From a version to the next one: `MIGRATIONS[1]` makes a folder of version 1 one of version 2."""


class DataError(Exception):
    """The data folder cannot be used; the message says why and what to do."""


class DataFolder(msgspec.Struct, frozen=True):
    """The paths below `root`. `prepare` has made them."""

    root: Path

    @property
    def accounts(self) -> Path:
        return self.root / "accounts.db"

    @property
    def maildrops(self) -> Path:
        return self.root / "maildrops"

    @property
    def standing(self) -> Path:
        return self.root / "standing"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def run(self) -> Path:
        """Sockets; empty when nothing runs. Others may pass through: the submission socket is for every user."""
        return self.root / "run"

    def secret(self) -> bytes:
        """Random octets that were made with the folder. Raises DataError."""
        path = self.root / "secret"
        try:
            octets = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path}: {error.strerror}; it is made with the data folder and belongs to its backup"
            ) from error
        if len(octets) != SECRET_OCTETS:
            raise DataError(f"{path}: {len(octets)} octets instead of {SECRET_OCTETS}; restore it from a backup")
        return octets


def prepare(root: Path, migrations: Mapping[int, Migration] = MIGRATIONS, version: int = VERSION) -> DataFolder:
    """The folder, made or migrated. Nothing may be using it. Raises DataError."""
    folder = DataFolder(root)
    try:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        found = found_version(root)
        if found == 0:
            _make(folder)
            _write(root / VERSION_FILE, f"{version}\n".encode())
        elif found > version:
            raise DataError(
                f"{root}: version {found} was written by a newer Gatepost; this one reads up to {version}: upgrade it, "
                "or restore the backup that was made before the upgrade"
            )
        for step in range(found, version) if found else ():
            migrations[step](root)
            _write(root / VERSION_FILE, f"{step + 1}\n".encode())
        for path, mode in ((folder.run, 0o711), (folder.tls, 0o700), (folder.audit, 0o700), (folder.standing, 0o700)):
            path.mkdir(mode=mode, exist_ok=True)
        folder.maildrops.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{error.filename or root}: {error.strerror}; the data folder must belong to the user that the server runs as"
        ) from error
    return folder


def found_version(root: Path) -> int:
    """The version of the folder, 0 when it is new. Raises DataError for a folder that is something else."""
    path = root / VERSION_FILE
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        if any(root.iterdir()):
            raise DataError(f"{root}: not empty, and no data folder (it has no file {VERSION_FILE!r})") from None
        return 0
    except UnicodeDecodeError:
        text = ""
    if not text.strip().isdigit():
        raise DataError(f"{path}: {text[:20]!r} is no version; restore it from a backup")
    return int(text)


def _make(folder: DataFolder) -> None:
    _write(folder.root / "secret", secrets.token_bytes(SECRET_OCTETS))


def _write(path: Path, octets: bytes) -> None:
    """The file holds `octets`, whole and on stable storage, or what it held before."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, octets)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
