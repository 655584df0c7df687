"""The folders of a maildrop: made when first needed, synced, swept of what crashes left in `tmp`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Final

from gatepost.maildrop.port import MaildropError, MaildropFullError
from gatepost.store.disk import sync_folder

PARTS: Final = ("tmp", "new", "cur")
_LEFT_BEHIND_AFTER: Final = 36 * 3600.0  # seconds; the Maildir convention: nothing is that long on its way


@contextmanager
def told_as_maildrop_error(maildir: Path, doing: str) -> Iterator[None]:
    """What the system refuses becomes MaildropError, or MaildropFullError where it is room, with folder and cause."""
    try:
        yield
    except OSError as error:
        raise maildrop_error(error, maildir, doing) from error


def maildrop_error(error: OSError, maildir: Path, doing: str) -> MaildropError:
    """The same as a value. doing: "delivering to"."""
    if error.errno in (ENOSPC, EDQUOT):
        return MaildropFullError(f"{doing} {maildir}: {error.strerror}; free some disk space")
    return MaildropError(f"{doing} {maildir}: {error}; check the folder, its owner and its disk")


def make(root: Path, maildir: Path) -> None:
    """Have `maildir`, which lies below `root`, with its three folders, durably. Raises OSError."""
    if (maildir / "new").is_dir() and (maildir / "cur").is_dir() and (maildir / "tmp").is_dir():
        return
    for folder in (root, maildir.parent, maildir, *(maildir / part for part in PARTS)):
        try:
            folder.mkdir(mode=0o700, parents=folder is root)
        except FileExistsError:
            continue
        sync_folder(folder.parent)


def sweep(maildir: Path, now: float) -> None:
    """Remove what deliveries that died left in `tmp`. now: seconds since 1970."""
    with contextlib.suppress(OSError), os.scandir(maildir / "tmp") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if now - entry.stat(follow_symlinks=False).st_mtime > _LEFT_BEHIND_AFTER:
                    os.unlink(entry.path)
