"""One Maildir, locked for one POP3 session: its list, its messages' octets, their removal.

The lock is an flock on a file of our own in the Maildir: it ends with the process, and it binds POP3 sessions only;
mail programs go on reading and deliveries go on arriving.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Final, Protocol

from gatepost.maildrop.port import MaildropBusyError, MaildropError, Message
from gatepost.store.disk import sync_folder
from gatepost.store.maildir import folders, usage
from gatepost.store.maildir.line_ends import ToWire
from gatepost.store.maildir.names import age_of, base_of, hashed_uid, size_field, uid_of
from gatepost.store.maildir.sizes import SizeBook

LOCK: Final = "gatepost-lock"
_BLOCK_OCTETS: Final = 1 << 17


class Run(Protocol):
    """Runs blocking work in a thread."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Awaitable[Any]: ...


class LockedMaildir:
    """The blocking half. Raises OSError, or MaildropBusyError when another session has the lock."""

    def __init__(self, maildir: Path) -> None:
        self.maildir = maildir
        self._lock = os.open(maildir / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._files, self.messages = _list(maildir)
        except BlockingIOError:
            self.close()
            raise MaildropBusyError(f"{maildir}: another POP3 session has it open") from None
        except BaseException:
            self.close()
            raise

    def open(self, index: int) -> IO[bytes]:
        """The file of message `index`, wherever a mail program has moved it. Raises FileNotFoundError, OSError."""
        try:
            return _open(self.maildir / self._files[index])
        except FileNotFoundError:
            self._find_moved()
            return _open(self.maildir / self._files[index])

    def remove(self, indexes: tuple[int, ...]) -> int:
        """How many of those are gone now, durably; the others could not be removed."""
        freed, count, removed, has_looked = 0, 0, 0, False
        for index in indexes:
            octets = self._unlink(index)
            if octets is None and not has_looked:
                self._find_moved()
                has_looked = True
                octets = self._unlink(index)
            freed += octets or 0
            count += octets is not None
            removed += 1 if octets is not None else self._is_gone(index)
        for folder in ("new", "cur"):
            sync_folder(self.maildir / folder)
        with contextlib.suppress(OSError):  # only a cache
            usage.note(self.maildir, -freed, -count)
        return removed

    def close(self) -> None:
        """Unlock. A second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _unlink(self, index: int) -> int | None:
        """Octets that were freed, None when the file is not there or cannot be removed."""
        path = self.maildir / self._files[index]
        try:
            octets = size_field(path.name, "S")
            if octets is None:
                octets = path.stat(follow_symlinks=False).st_size
            path.unlink()
        except OSError:
            return None
        return octets

    def _is_gone(self, index: int) -> bool:
        return not os.path.lexists(self.maildir / self._files[index])

    def _find_moved(self) -> None:
        """Mail programs move messages from new to cur and rename them there when flags change."""
        there = {base_of(name): f"{folder}/{name}" for folder, name in _names(self.maildir)}
        self._files = [there.get(base_of(file.partition("/")[2]), file) for file in self._files]


class MaildirDrop:
    """Maildrop, the port: the same on the event loop."""

    def __init__(self, locked: LockedMaildir, run: Run) -> None:
        self._locked = locked
        self._run = run

    @property
    def messages(self) -> tuple[Message, ...]:
        return self._locked.messages

    async def read(self, index: int) -> AsyncIterator[bytes]:
        """See the port: pieces of up to 128 KiB and their line ends, so a large message costs no memory."""
        converter = ToWire()
        maildir = self._locked.maildir
        with folders.told_as_maildrop_error(maildir, "reading"):
            try:
                file, piece = await self._run(_open_and_read, self._locked, index)
            except FileNotFoundError as error:
                raise MaildropError(f"{maildir}: message {index + 1} was removed by another program") from error
            with file:
                while piece:
                    yield converter.convert(piece)
                    if len(piece) < _BLOCK_OCTETS:
                        break
                    piece = await self._run(file.read, _BLOCK_OCTETS)
        if rest := converter.finish():
            yield rest

    async def remove(self, indexes: tuple[int, ...]) -> int:
        """See the port."""
        if not indexes:
            return 0
        with folders.told_as_maildrop_error(self._locked.maildir, "removing from"):
            removed: int = await self._run(self._locked.remove, indexes)
        return removed

    def close(self) -> None:
        """See the port."""
        self._locked.close()


def _open_and_read(locked: LockedMaildir, index: int) -> tuple[IO[bytes], bytes]:
    file = locked.open(index)
    try:
        return file, file.read(_BLOCK_OCTETS)
    except BaseException:
        file.close()
        raise


def _open(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _names(maildir: Path) -> list[tuple[str, str]]:
    """Folder and file name of each message; no file is looked into, none is even asked for its size."""
    names = []
    for folder in ("new", "cur"):
        with os.scandir(maildir / folder) as entries:
            names += [
                (folder, entry.name)
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
            ]
    return names


def _list(maildir: Path) -> tuple[list[str], tuple[Message, ...]]:
    """The files below `maildir` and what POP3 says of them, oldest first."""
    sizes = SizeBook(maildir)
    files, messages, uids, bases = [], [], set(), set()
    names = sorted(_names(maildir), key=itemgetter(1))
    names.sort(key=lambda item: age_of(item[1]))  # stable: those of one age stay in the order of their names
    for folder, name in names:
        base = base_of(name)
        if base in bases:
            continue  # one message under two names: a mail program died between link and unlink
        bases.add(base)
        octets = size_field(name, "W")
        if octets is None:
            try:
                octets = sizes.octets(base, maildir / folder / name)
            except FileNotFoundError:
                continue  # removed or moved while we look; it will be seen the next time
        uid = uid_of(base)
        if uid in uids:  # two names that differ in their size fields only: not ours, but neither may vanish
            uid = hashed_uid(base)
        uids.add(uid)
        files.append(f"{folder}/{name}")
        messages.append(Message(uid, octets))
    sizes.save(bases)
    return files, tuple(messages)
