"""Messages that go into Maildirs together: each file is synced, each folder only once for all that came into it.

Blocking; the store runs it in threads.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from gatepost.maildrop.port import MaildropError
from gatepost.ports.faults import Faults
from gatepost.store.disk import sync_folder
from gatepost.store.maildir import usage
from gatepost.store.maildir.delivery import Delivery
from gatepost.store.maildir.folders import maildrop_error


class Coming:
    """One message of a batch. begin: gives its delivery, which may have been begun before. octets: what is still to be
    written. name: of its file in `new`, once it is there. is_new: no earlier try had put it there. error: why it is
    not there. ahead: octets of its batch by each Maildir that stands, which no cache of the usage knows yet."""

    __slots__ = ("ahead", "begin", "delivery", "error", "is_new", "maildir", "name", "octets")

    def __init__(self, maildir: Path, begin: Callable[[], Delivery], octets: bytes, ahead: Counter[Path]) -> None:
        self.ahead = ahead
        self.maildir = maildir
        self.begin = begin
        self.octets = octets
        self.delivery: Delivery | None = None
        self.name = ""
        self.is_new = False
        self.error: MaildropError | None = None

    def write(self) -> None:
        """All octets are in the file. Raises MaildropFullError, OSError."""
        delivery = self.delivery = self.begin()
        delivery.write(self.octets)
        delivery.finish()
        self.ahead[self.maildir] += delivery.octets

    def sync(self) -> None:
        """They are on stable storage. Raises OSError."""
        assert self.delivery is not None
        self.delivery.sync()

    def show(self) -> None:
        """It has its name. Raises OSError."""
        assert self.delivery is not None
        self.name, self.is_new = self.delivery.show()


def deliver(batch: Sequence[Coming], faults: Faults) -> None:
    """Each is in its Maildir, durably, or has its error; one that fails does no harm to another."""
    for step in (Coming.write, Coming.sync, Coming.show):
        for coming in batch:
            if coming.error is None:
                coming.error = _tried(coming.maildir, step, coming)
    by_folder: dict[Path, list[Coming]] = {}
    for coming in batch:
        if coming.error is None:
            by_folder.setdefault(coming.maildir, []).append(coming)
    for maildir, arrived in by_folder.items():
        error = _tried(maildir, _synced_folder(faults), maildir / "new")
        for coming in arrived:
            coming.error = error
    faults("maildir.tidy")
    for coming in batch:
        if coming.delivery is not None:
            coming.delivery.discard()
    for maildir, arrived in by_folder.items():
        fresh = [coming.delivery.octets for coming in arrived if coming.is_new and coming.delivery is not None]
        if fresh:
            with contextlib.suppress(OSError):  # they are delivered, and this is only a cache
                usage.note(maildir, sum(fresh), len(fresh))


def _synced_folder(faults: Faults) -> Callable[[Path], None]:
    def sync(folder: Path) -> None:
        faults("maildir.folder")
        sync_folder(folder)

    return sync


def _tried(maildir: Path, step: Callable[..., None], of: object) -> MaildropError | None:
    try:
        step(of)
    except MaildropError as error:
        return error
    except OSError as error:
        told = maildrop_error(error, maildir, "delivering to")
        told.__cause__ = error
        return told
    return None
