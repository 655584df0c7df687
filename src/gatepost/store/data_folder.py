"""The data folder: what lies where below `data`, and the version that says how.

A newer program migrates an older folder, an older program refuses a newer one. Not here: what is in the files, and
how they are saved (`store.backup`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from gatepost.store.disk import sync_folder, write_private

VERSION: Final = 1
VERSION_FILE: Final = "version"
SECRET_FILE: Final = "secret"
SECRET_OCTETS: Final = 32
LOCK_FILE: Final = "lock"
BACKUPS: Final = "backups"  # those that were made before a migration

_BEFORE_VERSION: Final = {LOCK_FILE, SECRET_FILE, f"{SECRET_FILE}.new", f"{VERSION_FILE}.new", "lost+found"}
"""What may be in a folder that is new: made before its version, or by the file system."""

Migration = Callable[[Path], None]
Save = Callable[[Path, Path], object]
"""Makes a backup of the data folder (first) as a new folder (second)."""

MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""From a version to the next one: `MIGRATIONS[1]` makes a folder of version 1 one of version 2. A step that was
interrupted runs again, so it must find its own half-done work no obstacle."""


class DataError(Exception):
    """The data folder cannot be used; the message says why and what to do."""


class DataFolder(msgspec.Struct, frozen=True):
    """The paths below `root`. `prepare` has made them."""

    root: Path

    @property
    def accounts(self) -> Path:
        return self.root / "accounts.db"

    @property
    def keys(self) -> Path:
        return self.root / "keys.db"

    @property
    def spool_check(self) -> Path:
        """Tells whether a key is that of the spools (`store.spool_key`); not there while they have none."""
        return self.root / "spool-check"

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
    def backups(self) -> Path:
        return self.root / BACKUPS

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


class DataLock:
    """The right to serve from a data folder. It ends with the last process that holds the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, root: Path) -> DataLock:
        """The lock of the folder, which is made if it is not there. Raises DataError: another server has it."""
        path = root / LOCK_FILE
        try:
            make_root(root)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace")
                os.close(descriptor)
                raise DataError(
                    f"{root}: a server is running with this data folder (process {holder}); "
                    '"gatepost reload" gives it a new configuration, SIGTERM ends it'
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise DataError(_not_ours(root, error)) from error
        return cls(descriptor)

    def release(self) -> None:
        """Give it back, as far as this process is concerned."""
        os.close(self.descriptor)


def make_root(root: Path) -> None:
    """The folder, made if it is not there. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        root.mkdir(parents=True)
        root.chmod(0o711)  # whatever the umask says: others pass through to the socket for local mail
        sync_folder(root.parent)


def prepare(
    root: Path,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    version: int = VERSION,
    *,
    save: Save | None = None,
    now: datetime | None = None,
) -> DataFolder:
    """The folder, made or migrated. Nothing may be using it. Raises DataError.

    save: makes the backup before a migration; without it an older folder is refused. now: for the backup's name.
    """
    folder = DataFolder(root)
    try:
        make_root(root)
        found = found_version(root)
        if found == 0:
            write_private(root / SECRET_FILE, secrets.token_bytes(SECRET_OCTETS))
            write_private(root / VERSION_FILE, f"{version}\n".encode())
        elif found > version:
            raise DataError(
                f"{root}: version {found} was written by a newer Gatepost; this one reads up to {version}: upgrade it, "
                "or restore the backup that was made before the upgrade"
            )
        elif found < version:
            _migrate(folder, found, version, migrations, save, now or datetime.now(UTC))
        for path, mode in ((folder.run, 0o711), (folder.tls, 0o700), (folder.audit, 0o700), (folder.standing, 0o700)):
            _make(path, mode)
        _make(folder.maildrops, 0o700)
        sync_folder(root)  # or a power cut takes a folder away with all that was synced inside it
    except OSError as error:
        raise DataError(_not_ours(root, error)) from error
    return folder


def _migrate(
    folder: DataFolder, found: int, version: int, migrations: Mapping[int, Migration], save: Save | None, now: datetime
) -> None:
    root = folder.root
    if save is None:
        raise DataError(f"{root}: version {found}, this Gatepost needs {version}; start the server, which migrates it")
    _make(folder.backups, 0o700)
    save(root, folder.backups / f"version-{found}-{now:%Y%m%dT%H%M%SZ}")
    for step in range(found, version):
        migrations[step](root)
        write_private(root / VERSION_FILE, f"{step + 1}\n".encode())


def found_version(root: Path) -> int:
    """The version of the folder, 0 when it is new. Raises DataError for a folder that is something else."""
    path = root / VERSION_FILE
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        if any(path.name not in _BEFORE_VERSION for path in root.iterdir()):
            raise DataError(f"{root}: not empty, and no data folder (it has no file {VERSION_FILE!r})") from None
        return 0
    except UnicodeDecodeError:
        text = ""
    if not text.strip().isdigit():
        raise DataError(f"{path}: {text[:20]!r} is no version; restore it from a backup")
    return int(text)


def _make(path: Path, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(mode)


def _not_ours(root: Path, error: OSError) -> str:
    advice = "the data folder must belong to the user that the server runs as"
    if error.errno == errno.EROFS:
        advice = "check the disk (`dmesg` says why) and mount it for writing"
    return f"{error.filename or root}: {error.strerror}; {advice}"
