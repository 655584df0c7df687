"""Where a spool lies on the disk, and the lock that says who owns it.

    data/spool/NAME/spool.db        the database (with its -wal and -shm)
    data/spool/NAME/lock            held (flock) by the process that writes; names the holder
    data/spool/NAME/content/ID      content too large for the database; .incoming-* while it arrives
    data/spool/NAME/damaged/ID      content of entries that were set aside

Not here: what is in the database (`spool_schema`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from gatepost.spool.port import SpoolError
from gatepost.store.disk import sync_folder

FOLDER: Final = "spool"
INCOMING: Final = ".incoming-"
MAX_NAME: Final = 64


class Layout(msgspec.Struct, frozen=True):
    """The paths of one spool. folder: data/spool/NAME."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def database(self) -> Path:
        return self.folder / "spool.db"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def content(self) -> Path:
        return self.folder / "content"

    @property
    def damaged(self) -> Path:
        return self.folder / "damaged"

    def make(self) -> None:
        """The folders, for their owner only, and on the disk for good. Raises SpoolError."""
        try:
            for folder in (self.folder.parent, self.folder, self.content, self.damaged):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
                sync_folder(folder)
        except OSError as error:
            raise SpoolError(
                f"spool {self.folder}: {error.strerror}; the user that Gatepost runs as must own it"
            ) from error


def layout_of(data: Path, name: str) -> Layout:
    """The layout of spool `name` under the data folder. Raises SpoolError for what is no plain name."""
    if not name or len(name) > MAX_NAME or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        raise SpoolError(f"{name!r} is no name of a spool: letters, digits, - and _ are")
    return Layout(data / FOLDER / name)


def spools_of(data: Path) -> list[Layout]:
    """The spools under the data folder that have a database, by name."""
    return sorted((Layout(path.parent) for path in (data / FOLDER).glob("*/spool.db")), key=lambda layout: layout.name)


class Holder(msgspec.Struct, frozen=True):
    """Who holds a spool. socket: the file name of its control socket in data/run, "" for none."""

    pid: int
    socket: str = ""


class SpoolLock:
    """The right to write to one spool; it ends with `release` or with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, layout: Layout, socket: str = "") -> SpoolLock | None:
        """The lock, or None while another process has it. The folder must be there. Raises SpoolError."""
        try:
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, msgspec.json.encode(Holder(os.getpid(), socket)), 0)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise SpoolError(f"{layout.lock}: {error.strerror}; the lock of a spool must be writable") from error
        return cls(descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(layout: Layout) -> bool:
    """Whether a process holds the spool's lock right now."""
    try:
        descriptor = os.open(layout.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_of(layout: Layout) -> Holder | None:
    """Who last took the lock, as it wrote itself; None where that cannot be read."""
    try:
        return msgspec.json.decode(layout.lock.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None
