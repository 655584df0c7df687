"""Facts of content that cost one cheap pass: bare CR, bare LF, NUL, 8-bit octets, over-long lines.

Only whole-piece operations of bytes and jumps are used: a loop or a regular expression over a body costs ten times
as much. Not here: header fields and MIME structure.
"""

from __future__ import annotations

from typing import Final

from gatepost.protocol.smtp.commands import Defect
from gatepost.protocol.smtp.limits import MAX_TEXT_LINE_OCTETS

_DELETED: Final = bytes(octet for octet in range(256) if octet not in b"\r\n\0")


class ContentScan:
    """The facts of the octets given to `add` so far, in any cut."""

    __slots__ = ("_cr", "_crlf", "_ends_in_cr", "_lf", "_line", "_longest", "_nul", "has_8bit", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self.has_8bit = False
        self._cr = self._lf = self._crlf = self._nul = 0
        self._ends_in_cr = False
        self._line = 0  # octets since the last LF
        self._longest = MAX_TEXT_LINE_OCTETS + 1  # the CR is counted here

    def add(self, piece: bytes) -> None:
        """Take `piece` (not empty) into account."""
        self.octets += len(piece)
        if not self.has_8bit and not piece.isascii():
            self.has_8bit = True
        breaks = piece.translate(None, _DELETED)
        lf = breaks.count(b"\n")
        nul = breaks.count(b"\0")
        cr = len(breaks) - lf - nul
        if cr or lf:
            # splitlines() breaks at CR, at LF and once at CRLF: what is missing from the sum are the pairs. It takes
            # two thirds of the time of count(b"\r\n").
            self._crlf += cr + lf - len(piece.splitlines()) + (piece[-1] not in b"\r\n")
            self._cr += cr
            self._lf += lf
        self._nul += nul
        if self._ends_in_cr and piece[0] == 10:
            self._crlf += 1
        self._ends_in_cr = piece[-1] == 13
        self._measure(piece)

    @property
    def longest_line(self) -> int:
        """Octets of the longest line, without its CRLF, if that is over 998; otherwise 0."""
        longest = max(self._longest - 1, self._line - self._ends_in_cr)
        return longest if longest > MAX_TEXT_LINE_OCTETS else 0

    def defects(self, *, is_whole: bool) -> tuple[Defect, ...]:
        """What the content must not hold. is_whole: no LF can follow that would pair with a CR at the end."""
        if self._cr == self._lf == self._crlf and not self._nul:
            return ()
        pending = self._ends_in_cr and not is_whole
        found: list[Defect] = []
        if self._cr - pending > self._crlf:
            found.append("bare-cr")
        if self._lf > self._crlf:
            found.append("bare-lf")
        if self._nul:
            found.append("nul")
        return tuple(found)

    def _measure(self, piece: bytes) -> None:
        first = piece.find(b"\n")
        if first < 0:
            self._line += len(piece)
            return
        last = piece.rfind(b"\n")
        longest = max(self._longest, self._line + first)
        self._line = len(piece) - last - 1
        at = first + 1
        # Each jump goes to the last LF that a line no longer than the longest one can have; lines in between are
        # shorter, and need not be looked at.
        while last - at > longest:
            end = piece.rfind(b"\n", at, at + longest + 1)
            if end < 0:
                end = piece.find(b"\n", at)
                longest = end - at
            at = end + 1
        self._longest = longest
