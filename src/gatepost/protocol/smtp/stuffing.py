"""Content on its way out: dot-stuffing for DATA, in pieces as they come. Not here: taking it in (`framing`)."""

from __future__ import annotations

from typing import Final

_END: Final = b".\r\n"
_CR: Final = 0x0D
_LF: Final = 0x0A
_DOT: Final = 0x2E


class ContentError(Exception):
    """The content cannot be sent by SMTP as it is."""


class LineEnds:
    """Sees to it that every CR and LF of the content belongs to a CRLF, however it was cut into pieces.

    SMTP cannot carry others (RFC 5321 §2.3.8), and a next hop that takes them for line ends could be made to see an
    end of data, and a second message behind it, that we did not.
    """

    __slots__ = ("at_line_start", "ends_in_cr")

    def __init__(self) -> None:
        self.at_line_start = True  # behind what was checked so far
        self.ends_in_cr = False

    def check(self, octets: bytes) -> None:
        """Take note of the next piece, which is not empty. Raises ContentError."""
        pairs = octets.count(b"\r\n")
        line_feeds, returns = octets.count(b"\n") - pairs, octets.count(b"\r") - pairs
        # What is alone in this piece may be half of a pair: LF at its start behind a CR, CR at its very end.
        if self.ends_in_cr:
            if octets[0] != _LF:
                raise ContentError("The content has a CR without LF, which SMTP cannot carry")
            line_feeds -= 1
        ends_in_cr = octets[-1] == _CR
        if line_feeds or returns != ends_in_cr:
            found = "LF without CR" if line_feeds else "CR without LF"
            raise ContentError(f"The content has a {found}, which SMTP cannot carry")
        self.at_line_start = octets.endswith(b"\r\n") or (self.ends_in_cr and octets == b"\n")
        self.ends_in_cr = ends_in_cr

    def finish(self) -> None:
        """The content ends here. Raises ContentError."""
        if self.ends_in_cr:
            raise ContentError("The content ends in a CR without LF, which SMTP cannot carry")


class DotStuffer:
    """Doubles the dot at the start of each line (RFC 5321 §4.5.2), however the content was cut into pieces."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines = LineEnds()

    def feed(self, octets: bytes) -> bytes:
        """The octets to send for the next piece. Raises ContentError."""
        if not octets:
            return b""
        stuffed = octets.replace(b"\r\n.", b"\r\n..") if b"\r\n." in octets else octets
        if self._lines.at_line_start and octets[0] == _DOT:
            stuffed = b"." + stuffed
        elif self._lines.ends_in_cr and octets.startswith(b"\n."):
            stuffed = b"\n." + stuffed[1:]
        self._lines.check(octets)
        return stuffed

    def finish(self) -> bytes:
        """The end of data; a last line without CRLF gets one. Raises ContentError."""
        self._lines.finish()
        return _END if self._lines.at_line_start else b"\r\n" + _END
