"""From octets to lines, content and chunks, server side: where a line, a message and a chunk end, and nothing else.

One rule closes smuggling: only CRLF ends a line, and only CRLF "." CRLF ends DATA (RFC 5321 §2.3.8, §4.1.1.4). What
other servers might take for an end is content, and is named in the facts of the end item. Not here: what a line says
(`commands`), and whether it is legal now (`server`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, final

import msgspec

from gatepost.mail.reply import Reply
from gatepost.mail.text import printable
from gatepost.protocol.smtp.command_syntax import parse_response
from gatepost.protocol.smtp.commands import AuthResponse, EndOfChunk, EndOfData, Malformed
from gatepost.protocol.smtp.limits import (
    AUTH_PARAMETER_OCTETS,
    BODY_PARAMETER_OCTETS,
    DSN_MAIL_OCTETS,
    DSN_RCPT_OCTETS,
    MAX_AUTH_LINE_OCTETS,
    MAX_COMMAND_OCTETS,
    MAX_SWALLOWED_OCTETS,
    SIZE_PARAMETER_OCTETS,
    SMTPUTF8_PARAMETER_OCTETS,
    XCLIENT_LINE_OCTETS,
)
from gatepost.protocol.smtp.parameters import Dialect
from gatepost.protocol.smtp.scan import ContentScan


@final
class Line(msgspec.Struct, frozen=True):
    """A command line without its CRLF; `commands.parse_command` reads it."""

    octets: bytes


@final
class Content(msgspec.Struct, frozen=True):
    """A piece of content as it goes to the spool: without the dots that were added, cut anywhere."""

    octets: bytes


class FramingError(Malformed, frozen=True):
    """A command line that SMTP does not know: always fatal. defect: "bare-cr", "bare-lf", "nul", "tls", "endless"."""

    defect: str = ""


Item = Line | Content | AuthResponse | EndOfData | EndOfChunk | Malformed | FramingError


@lru_cache(maxsize=64)
def command_line_limit(dialect: Dialect) -> int:
    """How long a command line may be, CRLF included: 512 octets and what the offered extensions add."""
    mail = (
        SIZE_PARAMETER_OCTETS * dialect.size
        + BODY_PARAMETER_OCTETS * dialect.eight_bit_mime
        + SMTPUTF8_PARAMETER_OCTETS * dialect.smtputf8
        + AUTH_PARAMETER_OCTETS * dialect.auth
        + DSN_MAIL_OCTETS * dialect.dsn
    )
    limit = MAX_COMMAND_OCTETS + max(mail, DSN_RCPT_OCTETS * dialect.dsn)
    return max(limit, XCLIENT_LINE_OCTETS) if dialect.xclient else limit


_TOO_LONG: Final = Malformed("", Reply(500, "5.5.2", "Line too long"), "a command line over the limit")
_RESPONSE_TOO_LONG: Final = Malformed("AUTH", Reply(500, "5.5.6", "Line too long"), "an AUTH response over the limit")
_LINE, _RESPONSE, _DATA, _DATA_END, _CHUNK, _DEAD = range(6)
_QUOTED_OCTETS: Final = 100  # of a broken line, for the record


class Parser:
    """The framing of one connection: `feed` octets, then take items with `next` until it says None.

    Whoever answers a command sets what follows, before the next call of `next`: `expect_content` after a 354,
    `expect_chunk` after every BDAT (a refused one too: its octets are on the way, RFC 3030 §2), `expect_response`
    after a 334. A message, a chunk and a response end by themselves.

    Invariant: the items depend on the octets and on these calls, not on how the octets were cut (pieces of content
    excepted). In content no more than the fed piece and four octets are held.
    """

    __slots__ = ("_at", "_auth", "_buffer", "_last", "_left", "_limit", "_mode", "_scan", "_start", "_swallowed")

    def __init__(self, dialect: Dialect | None = None) -> None:
        self._buffer = b""
        self._at = 0  # where the octets begin that were not taken yet
        self._mode = _LINE
        self._swallowed: ContentScan | None = None  # an over-long line on its way to its end
        self._start = b""  # how that line began
        self._scan = ContentScan()
        self._left = 0  # DATA: octets at `_at` that are no content. BDAT: octets of the chunk still to come
        self._last = False
        self.set_dialect(dialect or Dialect())

    def set_dialect(self, dialect: Dialect) -> None:
        """From now on command lines may be as long as `dialect` needs them."""
        self._limit = command_line_limit(dialect)
        self._auth = dialect.auth

    @property
    def read_ahead(self) -> int:
        """Octets that were fed and not taken yet."""
        return len(self._buffer) - self._at

    @property
    def in_content(self) -> bool:
        """Content of DATA or BDAT is expected or being read."""
        return self._mode in (_DATA, _DATA_END, _CHUNK)

    def feed(self, octets: bytes) -> None:
        """Add octets as they came from the peer."""
        self._buffer = self._buffer[self._at :] + octets if self._at < len(self._buffer) else octets
        self._at = 0

    def drop_read_ahead(self) -> int:
        """Forget what was fed and not taken, and say how many octets that were (STARTTLS: RFC 3207 §4.2)."""
        dropped = self.read_ahead
        self._buffer, self._at, self._swallowed = b"", 0, None
        return dropped

    def expect_content(self) -> None:
        """The content of DATA follows: a message begins."""
        self._mode = _DATA
        self._scan = ContentScan()
        # As if a CRLF had come before: then a dot right at the beginning needs no case of its own.
        self._buffer, self._at, self._left = b"\r\n" + self._buffer[self._at :], 0, 2

    def expect_chunk(self, octets: int, *, last: bool, begins: bool) -> None:
        """A chunk of `octets` follows: the `last` of its message, or one that `begins` one (`server.Take` tells)."""
        self._mode, self._left, self._last = _CHUNK, octets, last
        if begins:
            self._scan = ContentScan()

    def expect_response(self) -> None:
        """The next line answers a 334 challenge."""
        self._mode = _RESPONSE

    def next(self) -> Item | None:
        """The next item, or None: more octets are needed (after a FramingError no number of them helps)."""
        mode = self._mode
        if mode == _DATA:
            return self._next_content()
        if mode == _DATA_END:
            self._mode = _LINE
            return self._end_of_data()
        if mode == _CHUNK:
            return self._next_of_chunk()
        buffer, at = self._buffer, self._at
        if at >= len(buffer) or mode == _DEAD:
            self._buffer, self._at = b"", 0  # an idle connection holds nothing
            return None
        end = buffer.find(b"\r\n", at)
        if 0 <= end <= at + self._limit - 2 and mode != _RESPONSE and self._swallowed is None:
            line = buffer[at:end]
            if line.isascii() and line.decode("ascii").isprintable():
                self._at = end + 2
                return Line(line)
        return self._next_line(buffer, at)

    # --- lines ---------------------------------------------------------------------------------------------------

    def _next_line(self, buffer: bytes, at: int) -> Item | None:
        """The next item where it is not just a printable line."""
        if self._swallowed is not None:
            return self._swallow(self._swallowed)
        if buffer[at] == 0x16:  # the type of a TLS handshake record
            return self._broken("tls", b"")
        end = buffer.find(b"\n", at)
        if end < 0:
            if len(buffer) - at <= self._line_limit(buffer[at : at + 5]):
                return None
            self._swallowed, self._start = ContentScan(), buffer[at : at + _QUOTED_OCTETS]
            return self._swallow(self._swallowed)
        octets = end + 1 - at
        if octets > self._limit and octets > self._line_limit(buffer[at : at + 5]):
            self._swallowed, self._start = ContentScan(), buffer[at : at + _QUOTED_OCTETS]
            return self._swallow(self._swallowed)
        line = buffer[at : end - 1]
        if octets == 1 or buffer[end - 1] != 13:
            return self._broken("bare-lf", buffer[at : end + 1])
        if b"\r" in line:
            return self._broken("bare-cr", line)
        if b"\0" in line:
            return self._broken("nul", line)
        self._at = end + 1
        if self._mode == _RESPONSE:
            self._mode = _LINE
            return parse_response(line)
        return Line(line)

    def _line_limit(self, start: bytes) -> int:
        """An AUTH line carries a token; RFC 4954 §4.1 asks for 12288 octets of it."""
        if self._mode == _RESPONSE or (self._auth and start.upper() == b"AUTH "):
            return MAX_AUTH_LINE_OCTETS
        return self._limit

    def _swallow(self, swallowed: ContentScan) -> Malformed | None:
        """Take what is there of an over-long line, and keep none of it; its one answer is given at its end."""
        end = self._buffer.find(b"\n", self._at) + 1
        piece = self._buffer[self._at : end or len(self._buffer)]
        self._at += len(piece)
        swallowed.add(piece)
        if swallowed.octets > MAX_SWALLOWED_OCTETS:
            return self._broken("endless", self._start)
        if not end:
            return None
        defects = swallowed.defects(is_whole=True)
        if defects:
            return self._broken("bare-lf" if "bare-lf" in defects else defects[0], self._start)
        self._swallowed = None
        if self._mode == _RESPONSE:
            self._mode = _LINE
            return _RESPONSE_TOO_LONG
        return _TOO_LONG

    def _broken(self, defect: str, line: bytes) -> FramingError:
        is_secret = self._mode == _RESPONSE or line[:4].upper() == b"AUTH"
        reason = _DEFECTS[defect]
        if line and not is_secret:
            reason = f"{reason}: {printable(line[:_QUOTED_OCTETS])}"
        self._mode = _DEAD
        self._buffer, self._at, self._swallowed = b"", 0, None
        return FramingError("", _LINES_END_IN_CRLF, reason, is_fatal=True, defect=defect)

    # --- content -------------------------------------------------------------------------------------------------

    def _next_content(self) -> Content | EndOfData | None:
        buffer, at = self._buffer, self._at
        dot = buffer.find(b"\r\n.", at)
        end = -1
        if dot >= 0:
            end = dot if buffer.startswith(b"\r\n", dot + 3) else buffer.find(b"\r\n.\r\n", dot + 2)
        stop = end + 2 if end >= 0 else len(buffer) - _undecided(buffer)
        piece = b""
        if stop > at + self._left:
            if 0 <= dot < stop - 2:
                piece = buffer[at:stop].replace(b"\r\n.", b"\r\n")[self._left :]
            else:
                piece = buffer[at + self._left : stop]
            self._at, self._left = stop, 0
        if end >= 0:
            self._at, self._left, self._mode = end + 5, 0, _DATA_END
        if piece:
            self._scan.add(piece)
            return Content(piece)
        if end >= 0:
            self._mode = _LINE
            return self._end_of_data()
        return None

    def _end_of_data(self) -> EndOfData:
        scan, self._scan = self._scan, ContentScan()
        return EndOfData(scan.octets, scan.longest_line, scan.has_8bit, scan.defects(is_whole=True))

    def _next_of_chunk(self) -> Content | EndOfChunk | None:
        if self._left:
            piece = self._buffer[self._at : self._at + self._left]
            if not piece:
                return None
            self._at += len(piece)
            self._left -= len(piece)
            self._scan.add(piece)
            return Content(piece)
        self._mode = _LINE
        scan = self._scan
        defects = scan.defects(is_whole=self._last)
        return EndOfChunk(self._last, scan.octets, scan.longest_line, scan.has_8bit, defects)


def _undecided(buffer: bytes) -> int:
    """How many octets at the end of `buffer` may yet become the end of data, or a dot to drop."""
    for ending in (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r"):
        if buffer.endswith(ending):
            return len(ending)
    return 0


_LINES_END_IN_CRLF: Final = Reply(500, "5.5.2", "Syntax error: only CRLF ends a line")
_DEFECTS: Final = {
    "bare-lf": "a command line that ends in LF alone",
    "bare-cr": "a CR inside a command line",
    "nul": "a NUL inside a command line",
    "tls": "the peer begins with TLS, which only a listener with implicit TLS takes (service submissions or pop3s)",
    "endless": f"a line that has no end within {MAX_SWALLOWED_OCTETS} octets",
}
