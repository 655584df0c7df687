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
        self._lines: list[str] = []
        self._left_out = 0

    def heard(self, line: bytes | str) -> None:
        """The peer said this; the caller has taken credentials out."""
        if len(self._lines) < MAX_LINES:
            self._lines.append("C: " + printable(line, MAX_CHARACTERS))
        else:
            self._left_out += 1

    def said(self, reply: object) -> None:
        """We said this: an SMTP or POP3 reply, as its `str` shows it."""
        if len(self._lines) < MAX_LINES:
            self._lines.append(_line_once(reply) if isinstance(reply, Reply) and not reply.id else _line(reply))
        else:
            self._left_out += 1

    def lines(self) -> list[str]:
        """For the event; says how much was cut."""
        return [*self._lines, f"({self._left_out} more lines)"] if self._left_out else self._lines


def _line(reply: object) -> str:
    return "S: " + printable(str(reply), MAX_CHARACTERS)


_line_once = lru_cache(maxsize=256)(_line)  # replies without an ID are few, and most of what is said
