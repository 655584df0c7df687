"""From octets to command lines: where a line ends, how long it may be, and what is no line at all.

Only CRLF ends a line (RFC 1939 §3). Not here: what a line says (`commands`).
"""

from __future__ import annotations

from typing import Final

from gatepost.protocol.pop3.commands import AuthResponse, Command, Malformed, parse_command
from gatepost.protocol.pop3.replies import err
from gatepost.protocol.sasl.exchange import MAX_LINE_OCTETS as MAX_RESPONSE_OCTETS

MAX_COMMAND_OCTETS: Final = 255  # RFC 2449 §4, CRLF included
# RFC 5034 §4 wants long initial responses sent later, after a challenge; clients with tokens do not always listen.
MAX_AUTH_OCTETS: Final = MAX_RESPONSE_OCTETS + 32
MAX_SWALLOWED_OCTETS: Final = 1 << 20  # of one endless line; then the connection is not worth its traffic

_TLS_HANDSHAKE: Final = b"\x16\x03"  # how a ClientHello begins

_NOT_BASE64: Final = b"?"  # a response that is no line of its own right: the exchange ends as malformed

Item = Command | Malformed

_ENDLESS: Final = Malformed(err("The line does not end"), "(an endless line)", is_fatal=True)


class Parser:
    """Give it octets as they come, take items until there are none. Any split of the octets gives the same items."""

    __slots__ = ("_at", "_buffer", "_has_spoken", "_is_response", "_swallowed")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._swallowed = 0
        self._is_response = False
        self._has_spoken = False

    @property
    def read_ahead(self) -> int:
        """Octets that came and were not taken yet."""
        return len(self._buffer) - self._at

    def feed(self, octets: bytes) -> None:
        """More octets of the peer."""
        self._buffer = self._buffer[self._at :] + octets if self._at < len(self._buffer) else octets
        self._at = 0

    def next(self) -> Item | None:
        """The next line as a command, or what is wrong with it; None: more octets are needed."""
        if not self._has_spoken and not self._swallowed and self._buffer.startswith(_TLS_HANDSHAKE):
            self.drop_read_ahead()
            text = "This port speaks POP3 in clear: use STLS here, or the port for POP3 over TLS"
            return Malformed(err(text), "(a TLS handshake)", is_fatal=True)
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            return self._without_line_end()
        line = self._buffer[self._at : end + 1]
        self._at = end + 1
        too_long = self._swallowed > 0 or len(line) > self._limit(line)
        self._swallowed, octets = 0, self._swallowed + len(line)
        self._has_spoken = True
        is_response, self._is_response = self._is_response, False
        if octets > MAX_SWALLOWED_OCTETS:
            return _ENDLESS
        if is_response:
            return AuthResponse(_NOT_BASE64 if too_long or not line.endswith(b"\r\n") else line[:-2])
        return Malformed(err("The line is too long"), "(a line that is too long)") if too_long else _command(line)

    def expect_response(self) -> None:
        """The next line belongs to a SASL exchange."""
        self._is_response = True

    def drop_read_ahead(self) -> int:
        """Forget what came behind the last item; how many octets that were (RFC 2595 §4: STLS)."""
        dropped = self.read_ahead
        self._buffer, self._at = b"", 0
        return dropped

    def _limit(self, line: bytes) -> int:
        if self._is_response:
            return MAX_RESPONSE_OCTETS + 2
        return MAX_AUTH_OCTETS if line[:5].upper() == b"AUTH " else MAX_COMMAND_OCTETS

    def _without_line_end(self) -> Malformed | None:
        rest = self.read_ahead
        if self._swallowed or (rest > MAX_COMMAND_OCTETS and rest > self._limit(self._buffer[self._at :])):
            self._swallowed += self.drop_read_ahead()
            if self._swallowed > MAX_SWALLOWED_OCTETS:
                self._swallowed = 0
                return _ENDLESS
        return None


def _command(line: bytes) -> Item:
    body = line[:-2]
    if not line.endswith(b"\r\n"):
        return Malformed(err("Lines end with CR and LF"), "(a line that ends with LF alone)")
    if b"\r" in body or b"\0" in body:
        return Malformed(err("A command holds no CR and no NUL"), "(a line with CR or NUL in it)")
    return parse_command(body)
