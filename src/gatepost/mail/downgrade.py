"""A message with UTF-8 in its header fields (RFC 6532) made one with ASCII fields, while it passes in pieces.

The fields of the message, of its parts and of messages inside of it; no octet of the bodies changes. What is signed
inside of `multipart/signed` is left alone, or its signature would be worth nothing. What becomes of a field is in
`mail.downgrade_fields`; why it is done this way, in docs/adr/0009.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gatepost.mail.downgrade_fields import downgraded_field

MAX_HEADER_OCTETS: Final = 256 * 1024  # held in memory until it ends; what intake takes is no longer
MAX_DEPTH: Final = 20  # of parts in parts; what lies deeper passes as it is
MAX_PARTS: Final = 2000  # whose headers are looked at; nobody reads more, and each costs time
_MAX_BOUNDARY_LINE: Final = 1000  # RFC 2046 §5.1.1: 70 characters and blanks; a line that goes on is none

_FIELD: Final = re.compile(rb"[^\n]*(?:\n[ \t][^\n]*)*\n?")
_TYPE: Final = re.compile(rb"content-type[ \t]*:[ \t\r\n]*([a-z0-9.+-]+/[a-z0-9.+-]+)", re.IGNORECASE)
_HOLDS_OTHERS: Final = re.compile(
    rb"^content-type[ \t]*:[ \t\r\n]*m", re.IGNORECASE | re.MULTILINE
)  # multipart, message
_BOUNDARY: Final = re.compile(
    rb';[ \t\r\n]*boundary[ \t\r\n]*=[ \t\r\n]*(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.I
)
_OPAQUE: Final = re.compile(rb"content-transfer-encoding[ \t]*:[ \t\r\n]*(?:base64|quoted-printable)", re.IGNORECASE)
_MESSAGES: Final = frozenset((b"message/rfc822", b"message/global"))


class DowngradeError(Exception):
    """The header cannot be made ASCII within `MAX_HEADER_OCTETS`. Nothing of the message was given out yet."""


class _Multipart(msgspec.Struct, frozen=True):
    """boundary: without its two hyphens. default: the type of a part that names none (RFC 2046 §5.1.5)."""

    boundary: bytes
    default: bytes


class Downgrader:
    """Give it a message in pieces (CRLF line ends), take what goes out. Any split gives the same octets.

    Nothing comes out until the header of the message is whole. is_changed: a field of it was not ASCII.
    """

    __slots__ = (
        *("_at", "_at_line_start", "_boundaries", "_buffer", "_default", "_in_header", "_is_first", "_levels"),
        *("_parts", "_scanned", "is_changed"),
    )

    def __init__(self) -> None:
        self.is_changed = False
        self._buffer = b""
        self._at = 0  # where in it begins what was not given out
        self._scanned = 0  # where in it begins the first line that was not looked at
        self._in_header = self._is_first = self._at_line_start = True
        self._default = b"text/plain"
        self._levels: list[_Multipart] = []  # multiparts that are open, outermost first
        self._boundaries: dict[bytes, int] = {}  # and which of them a boundary belongs to
        self._parts = 0  # header sections so far

    def feed(self, piece: bytes) -> bytes:
        """What can go out now. Raises DowngradeError."""
        if not self._in_header and not self._levels and not self._buffer:
            return piece
        self._buffer += piece
        return self._take(is_end=False)

    def finish(self) -> bytes:
        """The rest. Raises DowngradeError."""
        return self._take(is_end=True)

    def _take(self, *, is_end: bool) -> bytes:
        out: list[bytes] = []
        while self._at < len(self._buffer):
            taken = self._header(is_end) if self._in_header else self._body(is_end)
            if taken is None:
                break
            out.append(taken)
        self._buffer = self._buffer[self._at :]
        self._scanned -= self._at
        self._at = 0
        return b"".join(out)

    def _give(self, end: int) -> bytes:
        given = self._buffer[self._at : end]
        self._at = self._scanned = end
        return given

    # --- header sections -------------------------------------------------------------------------------------------

    def _header(self, is_end: bool) -> bytes | None:
        """The next header section, made ASCII; None: more must come."""
        end = self._header_end()
        if end > self._at + MAX_HEADER_OCTETS:
            return self._too_long(self._give(self._at + MAX_HEADER_OCTETS))
        if end < 0 and not is_end:
            return None
        return self._section(self._give(end if end >= 0 else len(self._buffer)))

    def _header_end(self) -> int:
        """Where the section ends: behind its blank line, or before a boundary line (a part that has no body); over
        the limit where that is certain; -1: unknown yet."""
        buffer, limit = self._buffer, self._at + MAX_HEADER_OCTETS
        if not self._levels and self._scanned == self._at:  # nearly every header: in one step
            if buffer.startswith(b"\r\n", self._at):
                return self._at + 2
            if (at := buffer.find(b"\n\r\n", self._at, limit)) >= 0:
                return at + 3
        while self._scanned <= limit:
            end = buffer.find(b"\n", self._scanned) + 1
            if not end:
                return len(buffer) if len(buffer) > limit else -1
            line = buffer[self._scanned : end]
            if line == b"\r\n":
                return end
            if line.startswith(b"--") and self._level_of(line) is not None:
                return self._scanned
            self._scanned = end
        return self._scanned

    def _too_long(self, section: bytes) -> bytes:
        if self._is_first and not section.isascii():
            raise DowngradeError(f"its header is longer than {MAX_HEADER_OCTETS} octets")
        self._is_first = self._in_header = self._at_line_start = False
        return section

    def _section(self, section: bytes) -> bytes:
        is_first, self._is_first = self._is_first, False
        self._in_header, self._at_line_start = False, True
        self._parts += 1
        if self._default == b"text/plain" and section.isascii() and _HOLDS_OTHERS.search(section) is None:
            return section
        fields = [match.group() for match in _FIELD.finditer(section)]
        kind, boundary = self._default, None
        is_opaque = any(_OPAQUE.match(field) for field in fields)
        for place, field in enumerate(fields):
            match = _TYPE.match(field)
            if match is not None:
                kind = match.group(1).lower()
                boundary = _boundary(field) if kind.startswith(b"multipart/") else None
                if kind == b"message/global" and not is_opaque:  # what is inside of it will be conventional
                    field = field.replace(match.group(1), b"message/rfc822", 1)
            fields[place] = downgraded_field(field)
            self.is_changed |= is_first and fields[place] != field
        self._descend(kind, boundary, is_opaque)
        return b"".join(fields)

    def _descend(self, kind: bytes, boundary: bytes | None, is_opaque: bool) -> None:
        """What follows the section: parts, a message with a header of its own, or neither."""
        if self._parts >= MAX_PARTS:
            self._levels.clear()
            self._boundaries.clear()
        elif is_opaque:
            return
        elif kind in _MESSAGES:
            self._in_header, self._default = True, b"text/plain"
        elif boundary is not None and kind != b"multipart/signed" and len(self._levels) < MAX_DEPTH:
            default = b"message/rfc822" if kind == b"multipart/digest" else b"text/plain"
            self._boundaries[boundary] = len(self._levels)
            self._levels.append(_Multipart(boundary, default))

    # --- bodies ----------------------------------------------------------------------------------------------------

    def _body(self, is_end: bool) -> bytes | None:
        """What comes before the next header section, the boundary line included; None: more must come."""
        buffer, at = self._buffer, self._at
        if not self._levels:
            return self._give(len(buffer))
        is_candidate = self._at_line_start and buffer.startswith(b"--", at)
        while True:
            if not is_candidate:
                at = buffer.find(b"\n--", at) + 1
                if not at:
                    return self._given(len(buffer) if is_end else self._open_line())
            is_candidate = False
            end = buffer.find(b"\n", at) + 1
            if not end:
                if not is_end and len(buffer) - at <= _MAX_BOUNDARY_LINE:
                    return self._given(at)
                end = len(buffer)
            level = self._level_of(buffer[at:end])
            if level is not None:
                self._cross(level, buffer[at:end])
                return self._given(end)
            at = end - 1

    def _open_line(self) -> int:
        """Where a last line begins that may yet become a boundary line; the end of what came where it cannot."""
        buffer = self._buffer
        start = max(buffer.rfind(b"\n") + 1, self._at)
        is_start = start > self._at or self._at_line_start
        return start if is_start and buffer[start:] == b"-" else len(buffer)

    def _given(self, end: int) -> bytes | None:
        given = self._give(end)
        if given:
            self._at_line_start = given.endswith(b"\n")
        return given or None

    def _level_of(self, line: bytes) -> int | None:
        """Which of the open multiparts the boundary line belongs to, None for a line that is none."""
        if len(line) > _MAX_BOUNDARY_LINE:
            return None
        boundary = line[2:].rstrip()
        level = self._boundaries.get(boundary)
        return level if level is not None else self._boundaries.get(boundary.removesuffix(b"--"))

    def _cross(self, level: int, line: bytes) -> None:
        """What was open inside is over (RFC 2046 §5.1.2); a new part begins, or this level ends too."""
        self._in_header = line[2:].rstrip() == self._levels[level].boundary
        del self._levels[level + self._in_header :]
        self._boundaries = {each.boundary: place for place, each in enumerate(self._levels)}
        if self._in_header:
            self._default = self._levels[level].default


def _boundary(field: bytes) -> bytes | None:
    match = _BOUNDARY.search(field)
    return (match.group(1) or match.group(2)).rstrip() if match else None
