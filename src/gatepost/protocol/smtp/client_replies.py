"""A peer's replies: octets to replies, and the reply to EHLO to what the peer offers.

A next hop may be hostile: every size is bounded here, and what is no SMTP reply raises `ProtocolError`. Not here:
which command a reply answers (`client`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from gatepost.mail.reply import Reply
from gatepost.mail.text import printable

# RFC 5321 §4.5.3.1.5 says 512 octets; peers that explain a refusal at length write more, and are not refused for it.
MAX_LINE_OCTETS: Final = 4096
MAX_LINES: Final = 256
MAX_REPLY_OCTETS: Final = 65536
MAX_TEXT_CHARACTERS: Final = 1024  # of a reply that we keep: it is stored for each recipient, and quoted in DSNs
MAX_MECHANISMS: Final = 32

MAX_KEPT_OCTETS: Final = 100  # a line that is longer is not among those that a peer says again and again
_SINGLE = re.compile(rb"[2345][0-9]{2}(?: [^\r]*)?\r")  # the line of a reply that has one
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)")  # RFC 3463 §2


class ProtocolError(Exception):
    """The peer does not speak SMTP as it must; the connection is of no further use. The message says what it sent."""


class RawReply(msgspec.Struct, frozen=True):
    """A whole reply as it came: the code, and the octets of each line behind code and separator."""

    code: int
    lines: tuple[bytes, ...]


class ReplyParser:
    """Octets to replies, wherever they were split; holds at most one reply and one piece that was fed."""

    __slots__ = ("_buffer", "_code", "_lines", "_octets")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._code = 0
        self._octets = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits: no octet and no part of a reply."""
        return not self._buffer and not self._lines

    def feed(self, octets: bytes) -> None:
        self._buffer += octets

    def next(self) -> RawReply | None:
        """The next whole reply, None when more octets are needed. Raises ProtocolError."""
        buffer = self._buffer
        while (end := buffer.find(b"\n", 0, MAX_LINE_OCTETS)) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if not self._lines and _SINGLE.fullmatch(line):
                return RawReply(int(line[:3]), (line[4:-1],))
            if self._take(line):
                reply = RawReply(self._code, tuple(self._lines))
                self._lines = []
                self._octets = 0
                return reply
        if len(buffer) >= MAX_LINE_OCTETS:
            raise ProtocolError(f"a reply line is longer than {MAX_LINE_OCTETS} octets: {printable(bytes(buffer), 60)}")
        return None

    def _take(self, line: bytes) -> bool:
        """Adds `line` (without its LF) to the reply; whether it was the last."""
        # A bare CR or LF is no line end (RFC 5321 §2.3.8): a reply that quotes text of a third party could otherwise
        # be made to hold a second one.
        if line.find(b"\r") != len(line) - 1:
            raise ProtocolError(f"a reply has a line end other than CRLF: {printable(line, 60)}")
        digits, separator = line[:3], line[3:4]
        if len(digits) < 3 or not digits.isdigit() or digits[0] not in b"2345" or separator not in b"\r -":
            raise ProtocolError(f"this is no SMTP reply: {printable(line[:-1], 60)}")
        code = int(digits)
        if self._lines and code != self._code:
            raise ProtocolError(f"a reply changes its code from {self._code} to {code}")
        self._code = code
        self._octets += len(line)
        self._lines.append(line[4:-1])
        if len(self._lines) > MAX_LINES or self._octets > MAX_REPLY_OCTETS:
            raise ProtocolError(f"a reply is longer than {MAX_LINES} lines or {MAX_REPLY_OCTETS} octets")
        return separator != b"-"


def parse_reply(raw: RawReply, *, enhanced: bool = True) -> Reply:
    """`raw` as a value: the enhanced code apart from the text, the text printable and bounded.

    An enhanced code counts where its class is that of the code (RFC 2034 §4), whether the peer offered
    ENHANCEDSTATUSCODES or not; other text that looks like one stays text. enhanced: False for the greeting and
    answers to HELO and EHLO, which have none.
    """
    if len(raw.lines) == 1 and len(raw.lines[0]) <= MAX_KEPT_OCTETS:
        return _parsed_once(raw.code, raw.lines, enhanced)
    return _parsed(raw.code, raw.lines, enhanced)


def _parsed(code: int, lines: tuple[bytes, ...], enhanced: bool) -> Reply:
    text = printable(lines[0], MAX_TEXT_CHARACTERS)
    esc = ""
    if enhanced and (match := _ENHANCED.match(text)) and int(text[0]) == code // 100:
        esc = match.group(1)
        text = text[match.end() :]
    if len(lines) > 1:
        rest = [_without(printable(line, MAX_TEXT_CHARACTERS), esc) for line in lines[1:]]
        text = "\n".join([text, *rest])
    if len(text) > MAX_TEXT_CHARACTERS:
        text = text[:MAX_TEXT_CHARACTERS] + "..."
    return Reply(code, esc, text)


_parsed_once = lru_cache(maxsize=256)(_parsed)


def _without(line: str, esc: str) -> str:
    is_repeated = esc and (line == esc or line.startswith(esc + " "))
    return line[len(esc) :].lstrip(" ") if is_repeated else line


class PeerOffer(msgspec.Struct, frozen=True):
    """What a peer said it can do.

    name: what it calls itself. extended: it answered EHLO or LHLO; all else is at its default where it did not.
    size: octets of the largest message, 0 for no fixed limit, None when SIZE is not offered (RFC 1870 §3).
    auth: mechanisms, upper case. rcptmax, mailmax: RFC 9422, None for no stated limit. enhanced: RFC 2034.
    """

    name: str = ""
    extended: bool = False
    size: int | None = None
    eight_bit_mime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    chunking: bool = False
    pipelining: bool = False
    starttls: bool = False
    requiretls: bool = False
    enhanced: bool = False
    auth: tuple[str, ...] = ()
    rcptmax: int | None = None
    mailmax: int | None = None


def parse_offer(raw: RawReply) -> PeerOffer:
    """What the positive reply to EHLO or LHLO offers (RFC 5321 §4.1.1.1). Never raises: a keyword that is malformed
    offers nothing."""
    keywords: dict[str, list[str]] = {}
    for line in raw.lines[1:]:
        # Some old servers write "AUTH=LOGIN PLAIN" beside or instead of "AUTH LOGIN PLAIN".
        text = line.decode("latin-1").upper()
        words = (text.replace("=", " ", 1) if text.startswith("AUTH=") else text).split()
        if words:
            keywords.setdefault(words[0], []).extend(words[1:])
    limits = dict(item.split("=", 1) for item in keywords.get("LIMITS", ()) if "=" in item)
    size = keywords.get("SIZE")
    return PeerOffer(
        name=_own_name(raw),
        extended=True,
        size=None if size is None else _number(size[0] if size else "") or 0,
        eight_bit_mime="8BITMIME" in keywords,
        smtputf8="SMTPUTF8" in keywords,
        dsn="DSN" in keywords,
        chunking="CHUNKING" in keywords,
        pipelining="PIPELINING" in keywords,
        starttls="STARTTLS" in keywords,
        requiretls="REQUIRETLS" in keywords,
        enhanced="ENHANCEDSTATUSCODES" in keywords,
        auth=tuple(dict.fromkeys(keywords.get("AUTH", ())))[:MAX_MECHANISMS],
        rcptmax=_number(limits.get("RCPTMAX", "")),
        mailmax=_number(limits.get("MAILMAX", "")),
    )


def plain_offer(raw: RawReply) -> PeerOffer:
    """What a peer that only knows HELO offers: nothing but its name."""
    return PeerOffer(name=_own_name(raw))


def _own_name(raw: RawReply) -> str:
    return printable(raw.lines[0].split(b" ", 1)[0], 255)


def _number(text: str) -> int | None:
    """A number of at most 20 digits above 0, else None."""
    if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) > 0:
        return int(text)
    return None
