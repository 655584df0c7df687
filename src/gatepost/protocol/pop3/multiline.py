"""The lines of RETR and TOP on their way out, in pieces: dot-stuffing, and where TOP stops.

What comes in has CRLF line ends; it may hold a CR alone, since other programs write into maildrops too.
"""

from __future__ import annotations

from typing import Final

_LF: Final = 0x0A


class Stuffer:
    """Doubles the dot that starts a line (RFC 1939 §3), however the message was cut into pieces."""

    __slots__ = ("_at_line_start",)

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, piece: bytes) -> bytes:
        """The octets to send for the next piece."""
        if not piece:
            return b""
        starts_with_dot = self._at_line_start and piece.startswith(b".")
        self._at_line_start = piece[-1] == _LF
        if b"\n." in piece:
            piece = piece.replace(b"\n.", b"\n..")
        return b"." + piece if starts_with_dot else piece

    def finish(self) -> bytes:
        """The end of the answer; a last line without CRLF gets one."""
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"


class TopCut:
    """The header, the empty line and the first `lines` lines of the body (RFC 1939 §7)."""

    __slots__ = ("_in_header", "_left", "_line")

    def __init__(self, lines: int) -> None:
        self._in_header = True
        self._left = lines
        self._line = b""  # the first octets of the current line, as far as it came with earlier pieces

    @property
    def is_done(self) -> bool:
        """Nothing of what follows belongs to it."""
        return not self._in_header and self._left == 0

    def feed(self, piece: bytes) -> bytes:
        """What of the next piece belongs to it."""
        at = 0
        while not self.is_done:
            end = piece.find(b"\n", at)
            if end < 0:
                self._line = (self._line + piece[at : at + 2])[:2]
                return piece
            if not self._in_header:
                self._left -= 1
            elif self._line + piece[at : min(end, at + 2)] in (b"", b"\r"):
                self._in_header = False
            self._line = b""
            at = end + 1
        return piece[:at]
