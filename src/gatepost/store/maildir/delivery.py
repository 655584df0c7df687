"""One message on its way into a Maildir: written to `tmp`, synced, then visible in `new` under its own name.

Blocking; the store runs it in threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from gatepost.maildrop.port import MaildropFullError
from gatepost.ports.faults import Faults, no_fault
from gatepost.store.disk import sync_folder
from gatepost.store.maildir import usage
from gatepost.store.maildir.line_ends import ToFile
from gatepost.store.maildir.names import with_sizes


class Delivery:
    """Writes one message. A Delivery that ends in an error leaves nothing behind.

    room: given the octets wanted, how many are free; None for any number. A delivery may be discarded by another
    thread than the one that writes: that waits, since a closed file's number may at once be another file's.
    """

    __slots__ = (
        "_converter",
        "_faults",
        "_file",
        "_free",
        "_line_ends",
        "_lock",
        "_maildir",
        "_name",
        "_octets",
        "_room",
    )

    def __init__(self, maildir: Path, name: str, room: Callable[[int], int] | None, faults: Faults = no_fault) -> None:
        self._lock = threading.Lock()
        self._maildir = maildir
        self._name = name
        self._room = room
        self._faults = faults
        self._free = 0
        self._converter = ToFile()
        self._octets = 0
        self._line_ends = 0
        # O_EXCL: a name that exists already would be another message.
        self._file = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    @property
    def _temporary(self) -> Path:
        return self._maildir / "tmp" / self._name

    def write(self, piece: bytes) -> None:
        """Append `piece` (CRLF line ends). Raises MaildropFullError, OSError."""
        with self._lock:
            self._append(self._converter.convert(piece))

    def commit(self) -> str:
        """Make it visible, durably; the name of its file in `new`. Raises MaildropFullError, OSError."""
        with self._lock:
            self._append(self._converter.finish())
            self._faults("maildir.sync")
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
        name = with_sizes(self._name, self._octets, self._octets + self._line_ends)
        final = self._maildir / "new" / name
        self._faults("maildir.link")
        try:
            os.link(self._temporary, final)  # never replaces a message, as rename would
        except PermissionError:  # a file system without hard links
            self._temporary.rename(final)
        self._faults("maildir.folder")
        sync_folder(final.parent)
        self._faults("maildir.tidy")
        with contextlib.suppress(OSError):  # it is delivered; what follows is tidiness
            self._temporary.unlink(missing_ok=True)
            usage.note(self._maildir, self._octets, 1)
        return name

    def discard(self) -> None:
        """Undo everything."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _append(self, octets: bytes) -> None:
        self._octets += len(octets)
        self._line_ends += octets.count(b"\n")
        if self._room is not None and self._octets > self._free:
            self._free = self._room(self._octets)
            if self._octets > self._free:
                raise MaildropFullError(
                    f"{self._maildir}: the message does not fit into the {max(self._free, 0)} octets that its quota"
                    " leaves; raise the quota or have mail removed"
                )
        self._faults("maildir.write")
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._file, rest) :]
