"""How many octets a maildrop holds, without looking at each message at each delivery.

The file `maildirsize` of Maildir++: a line for the quota, then lines "octets messages" that are summed; deliveries and
removals append. It is a cache: lost or doubted, it is counted again from the names in the folder.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from gatepost.store.maildir.names import size_field

FILE: Final = "maildirsize"
_MAX_OCTETS: Final = 5120  # Maildir++: a longer one is counted anew
_DOUBTED_AFTER: Final = 900.0  # seconds; Maildir++: who is over quota by an older file is counted anew


def used_octets(maildir: Path, quota: int | None, now: float, wanted: int = 1) -> int:
    """Octets of all messages in `maildir`, by the cache where it can be trusted.

    quota: octets, None for unlimited. now: seconds since 1970. wanted: octets that shall fit in: nobody is refused for
    lack of room on the word of an old cache, since mail programs delete messages without telling it. Raises OSError.
    """
    known = _cached(maildir / FILE, quota)
    if known is not None:
        total, lines, written = known
        fits = quota is None or total + wanted <= quota
        if fits or (lines <= 1 and now - written < _DOUBTED_AFTER):
            return total
    return _count(maildir, quota)


def note(maildir: Path, octets: int, messages: int) -> None:
    """Add to the cache if there is one: negative for what was removed. Raises OSError."""
    try:
        file = os.open(maildir / FILE, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return
    try:
        os.write(file, f"{octets} {messages}\n".encode())
    finally:
        os.close(file)


def size_on_disk(entry: os.DirEntry[str]) -> int:
    """Octets of one message's file: from its name, else from the file system; 0 when it is gone."""
    octets = size_field(entry.name, "S")
    if octets is not None:
        return octets
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _cached(path: Path, quota: int | None) -> tuple[int, int, float] | None:
    """Sum, number of lines and time of the last change; None for no cache, or one that cannot be used."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_OCTETS + 1)
            written = os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    head, *lines = text.decode("ascii", "replace").splitlines() or [""]
    if len(text) > _MAX_OCTETS or head != _quota_line(quota):
        return None
    try:
        return sum(int(line.split()[0]) for line in lines if line.strip()), len(lines), written
    except ValueError:
        return None


def _count(maildir: Path, quota: int | None) -> int:
    sizes = []
    for folder in ("new", "cur"):
        with os.scandir(maildir / folder) as entries:
            sizes += [size_on_disk(entry) for entry in entries if not entry.name.startswith(".")]
    fresh = maildir / "tmp" / f"{FILE}.{os.getpid()}.{threading.get_ident()}"
    fresh.write_text(f"{_quota_line(quota)}\n{sum(sizes)} {len(sizes)}\n", "ascii")
    fresh.replace(maildir / FILE)
    return sum(sizes)


def _quota_line(quota: int | None) -> str:
    return f"{quota or 0}S"
