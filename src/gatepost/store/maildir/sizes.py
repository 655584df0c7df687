"""The sizes of messages whose names do not tell them (other programs put them there), measured once and remembered.

A text file `gatepost-sizes` in the maildrop, one line a message: octets with CRLF line ends, a blank, the base name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from gatepost.store.maildir.line_ends import ToWire

FILE: Final = "gatepost-sizes"
_BLOCK_OCTETS: Final = 1 << 18
_STALE_LINES: Final = 1000  # so many lines about messages that are gone are worth writing the file anew


class SizeBook:
    """What was measured. Only the holder of the maildrop's lock may use it."""

    __slots__ = ("_fresh", "_known", "_maildir")

    def __init__(self, maildir: Path) -> None:
        self._maildir = maildir
        self._known: dict[str, int] | None = None  # read when the first name without a size comes along
        self._fresh: dict[str, int] = {}

    def octets(self, base: str, path: Path) -> int:
        """The size on the wire of the message `base`, which lies at `path`. Raises OSError."""
        if self._known is None:
            self._known = _read(self._maildir / FILE)
        octets = self._known.get(base)
        if octets is None:
            octets = self._known[base] = measure(path)
            if "\n" not in base:  # such a name would read as two lines; its message is measured each time
                self._fresh[base] = octets
        return octets

    def save(self, present: set[str]) -> None:
        """Remember what was measured since; `present` are the base names that are still there. Raises OSError."""
        if self._known is None:
            return
        gone = len(self._known.keys() - present)
        if gone > _STALE_LINES:
            kept = {base: octets for base, octets in self._known.items() if base in present}
            fresh = self._maildir / "tmp" / f"{FILE}.{os.getpid()}"
            fresh.write_bytes(_lines(kept))
            fresh.replace(self._maildir / FILE)
        elif self._fresh:
            with (self._maildir / FILE).open("ab") as file:
                file.write(_lines(self._fresh))
        self._fresh = {}


def measure(path: Path) -> int:
    """Octets of the message at `path` with CRLF line ends, as POP3 sends it. Raises OSError."""
    converter = ToWire()
    octets = 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:
        while piece := file.read(_BLOCK_OCTETS):
            octets += len(converter.convert(piece))
    return octets + len(converter.finish())


def _lines(sizes: dict[str, int]) -> bytes:
    return b"".join(b"%d %s\n" % (octets, os.fsencode(base)) for base, octets in sizes.items())


def _read(path: Path) -> dict[str, int]:
    """The known sizes; a line cut by a crash is left out, and its message measured again."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    known = {}
    for line in text.split(b"\n")[:-1]:
        octets, _, base = line.partition(b" ")
        if octets.isdigit() and len(octets) <= 18 and base:
            known[os.fsdecode(base)] = int(octets)
    return known
