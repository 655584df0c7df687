"""Line ends: CRLF on the wire, LF in the file (`docs/adr`: mutt prints the CR of a CRLF file); both ways in pieces.

What arrives has no bare CR or LF (`content.framing`), so both ways together change nothing.
"""

from __future__ import annotations


class ToFile:
    """CRLF to LF. A CR that ends a piece waits for the next one."""

    __slots__ = ("_has_cr", "last")

    def __init__(self) -> None:
        self._has_cr = False
        self.last = b""  # the last octet given out; b"" before any

    def convert(self, piece: bytes) -> bytes:
        if self._has_cr:
            piece = b"\r" + piece
        self._has_cr = piece.endswith(b"\r")
        if self._has_cr:
            piece = piece[:-1]
        piece = piece.replace(b"\r\n", b"\n")
        if piece:
            self.last = piece[-1:]
        return piece

    def finish(self) -> bytes:
        """What was kept back, and the line end that a message without one lacks: POP3 could not end it otherwise."""
        rest = b"\r" if self._has_cr else b""
        self._has_cr = False
        last = rest or self.last
        return rest if last in (b"", b"\n") else rest + b"\n"


class ToWire:
    """LF to CRLF; a CRLF stays one, since other programs put such files into a Maildir."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b""

    def convert(self, piece: bytes) -> bytes:
        if not piece:
            return piece
        follows_cr = self._last == b"\r" and piece.startswith(b"\n")
        self._last = piece[-1:]
        if b"\r\n" in piece:
            piece = piece.replace(b"\r\n", b"\n")
            piece = piece.replace(b"\n", b"\r\n")
        else:
            piece = piece.replace(b"\n", b"\r\n")
        return piece[1:] if follows_cr else piece

    def finish(self) -> bytes:
        """The line end that the last line lacks."""
        if self._last in (b"", b"\n"):
            return b""
        return b"\n" if self._last == b"\r" else b"\r\n"
