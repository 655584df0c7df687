"""One message on its way into a Maildir: written to `tmp`, synced, then visible in `new` under its own name.

Blocking; the store runs it in threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from gatepost.maildrop.port import MaildropFullError
from gatepost.ports.faults import Faults, no_fault
from gatepost.store.maildir.line_ends import ToFile
from gatepost.store.maildir.names import with_sizes


class Delivery:
    """Writes one message: `write`, `finish`, `sync`, `show`, then `discard` in any case.

    name: of its file in `tmp`. shown: in `new`, without the sizes; where a message of that name and size is there
    already, an earlier try to deliver this one got so far, and it is left as it is. room: given the octets wanted, how
    many are free; None for any number. A delivery may be discarded by another thread than the one that writes: that
    waits, since a closed file's number may at once be another file's.
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
        "_shown",
    )

    def __init__(
        self, maildir: str, name: str, shown: str, room: Callable[[int], int] | None, faults: Faults = no_fault
    ) -> None:
        self._lock = threading.Lock()
        self._maildir = maildir
        self._name = f"{maildir}/tmp/{name}"  # noqa: S108  # the Maildir's own
        self._shown = shown
        self._room = room
        self._faults = faults
        self._free = 0
        self._converter = ToFile()
        self._octets = 0
        self._line_ends = 0
        # O_EXCL: a name that exists already would be another message.
        self._file = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)

    @property
    def octets(self) -> int:
        """Of the file so far."""
        return self._octets

    def write(self, piece: bytes) -> None:
        """Append `piece` (CRLF line ends). Raises MaildropFullError, OSError."""
        with self._lock:
            self._append(self._converter.convert(piece))

    def finish(self) -> None:
        """No more `write`. Raises MaildropFullError, OSError."""
        with self._lock:
            if rest := self._converter.finish():
                self._append(rest)

    def sync(self) -> None:
        """What was written is on stable storage. Raises OSError."""
        with self._lock:
            self._faults("maildir.sync")
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def show(self) -> tuple[str, bool]:
        """Make it visible; the name of its file in `new`, and whether it is new there. Durable once that folder is
        synced. Raises OSError."""
        name = with_sizes(self._shown, self._octets, self._octets + self._line_ends)
        final = f"{self._maildir}/new/{name}"
        self._faults("maildir.link")
        try:
            os.link(self._name, final)  # never replaces a message, as rename would
        except FileExistsError:
            return name, False
        except PermissionError:  # a file system without hard links
            os.rename(self._name, final)
        return name, True

    def discard(self) -> None:
        """Nothing stays in `tmp`."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        with contextlib.suppress(OSError):
            os.unlink(self._name)

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
