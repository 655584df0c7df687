"""What both sides of a session said, for its event: bounded, without credentials and content."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gatepost.mail.reply import Reply
from gatepost.mail.text import printable

MAX_LINES: Final = 60  # an event is bounded: a kept connection may carry thousands of messages
MAX_CHARACTERS: Final = 240


class Dialogue:
    """Lines `C: ...` and `S: ...`; past the limit only their number."""

    __slots__ = ("_left_out", "_lines")

    def __init__(self) -> None:
        self._lines: list[str | bytes | Reply] = []  # octets and replies are made text at the end, all at once
        self._left_out = 0

    def heard(self, line: bytes | str) -> None:
        """The peer said this; the caller has taken credentials out."""
        if len(self._lines) >= MAX_LINES:
            self._left_out += 1
        elif type(line) is bytes and len(line) <= MAX_CHARACTERS:
            self._lines.append(line)
        else:
            self._lines.append("C: " + printable(line, MAX_CHARACTERS))

    def said(self, reply: object) -> None:
        """We said this: an SMTP or POP3 reply, as its `str` shows it."""
        if len(self._lines) >= MAX_LINES:
            self._left_out += 1
        else:
            self._lines.append(reply if type(reply) is Reply else _line(reply))

    def lines(self) -> list[str]:
        """For the event; says how much was cut."""
        lines = []
        for line in self._lines:
            if type(line) is bytes:
                text = line.decode("latin-1")
                is_plain = line.isascii() and text.isprintable() and "\\" not in text  # nearly always
                lines.append("C: " + (text if is_plain else printable(line, MAX_CHARACTERS)))
            elif type(line) is Reply:
                lines.append(_line(line) if line.id else _line_once(line))
            else:
                lines.append(str(line))
        if self._left_out:
            lines.append(f"({self._left_out} more lines)")
        return lines


def _line(reply: object) -> str:
    return "S: " + printable(str(reply), MAX_CHARACTERS)


_line_once = lru_cache(maxsize=256)(_line)  # replies without an ID are few, and most of what is said
