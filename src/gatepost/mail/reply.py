"""SMTP replies as values: code, enhanced status code and text stay apart until the wire.

Not here: which reply is given (`policy`, `protocol.smtp`) and POP3's `+OK` and `-ERR` (`protocol.pop3`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from gatepost.mail.text import printable

MAX_REPLY_LINE_OCTETS: Final = 512  # RFC 5321 §4.5.3.1.5, CRLF included


class Reply(msgspec.Struct, frozen=True, cache_hash=True):
    """One SMTP reply.

    code: 200-599. esc: the enhanced status code of RFC 3463 ("5.7.1"), or "" where RFC 2034 wants none (greeting,
    3yz, HELO and EHLO). text: for a person; a newline starts another line of a multi-line reply. id: the event that
    tells the whole story, printed last as `(ID)`; "" for none.
    """

    code: int
    esc: str
    text: str
    id: str = ""

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz: the command was accepted (RFC 5321 §4.2.1)."""
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: the same command may succeed later."""
        return 400 <= self.code < 500

    def with_id(self, event_id: str) -> Reply:
        """The same reply that quotes `event_id`."""
        return Reply(self.code, self.esc, self.text, event_id)

    def __str__(self) -> str:
        """One line, as logs and records show it."""
        text = f"{self.code} {self.esc} {self.text}" if self.esc and self.text else self._joined()
        text = f"{text} ({self.id})" if self.id else text
        return text.replace("\n", " / ") if "\n" in text else text

    def encode(self) -> bytes:
        """The octets for the wire: every line carries the code and the enhanced code, none is over 512 octets.

        What is not printable ASCII leaves as `\\xNN`: nothing that a peer said can end a line here.
        """
        return _encoded(self) if self.id else _encoded_once(self)

    def _joined(self) -> str:
        return " ".join([part for part in (str(self.code), self.esc, self.text) if part])


def _encoded(reply: Reply) -> bytes:
    text = f"{reply.text} ({reply.id})" if reply.id else reply.text
    intro = f"{reply.esc} " if reply.esc else ""
    room = MAX_REPLY_LINE_OCTETS - len(intro) - len("250-\r\n")
    if text.isascii() and text.isprintable() and len(text) <= room and "\\" not in text:  # nearly always
        return f"{reply.code} {intro}{text}\r\n".encode("ascii")
    lines = text.split("\n")
    if not text.isascii() or "\\" in text or not "".join(lines).isprintable() or len(max(lines, key=len)) > room:
        lines = [piece for line in lines for piece in _pieces(printable(line, 4096), room)]
    last = lines.pop()
    head = "".join([f"{reply.code}-{intro}{line}\r\n" for line in lines]) if lines else ""
    return f"{head}{reply.code} {intro}{last}\r\n".encode("ascii")


_encoded_once = lru_cache(maxsize=256)(_encoded)  # those without an ID are few, and nearly all that is said


def _pieces(line: str, room: int) -> list[str]:
    """`line` cut at blanks into pieces of at most `room` characters; a longer word is cut anywhere."""
    pieces = []
    while len(line) > room:
        at = line.rfind(" ", 1, room + 1)
        at = at if at > 0 else room
        pieces.append(line[:at])
        line = line[at:].lstrip(" ")
    pieces.append(line)
    return pieces
