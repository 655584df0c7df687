"""What both sides of a POP3 session said, for its event: bounded, without credentials and content."""

from __future__ import annotations

from typing import Final

from gatepost.mail.text import printable

MAX_LINES: Final = 60  # an event is bounded: a session may fetch and mark 100,000 messages
MAX_CHARACTERS: Final = 240


class Dialogue:
    """Lines `C: ...` and `S: ...`; past the limit only their number."""

    __slots__ = ("_left_out", "_lines")

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._left_out = 0

    def heard(self, shown: str) -> None:
        """The peer said this; credentials are left out already (`commands.shown`)."""
        self._add("C: ", shown)

    def said(self, shown: object) -> None:
        """We said this."""
        self._add("S: ", str(shown))

    def lines(self) -> list[str]:
        """For the event; says how much was cut."""
        return [*self._lines, f"({self._left_out} more lines)"] if self._left_out else self._lines

    def _add(self, side: str, shown: str) -> None:
        if len(self._lines) < MAX_LINES:
            self._lines.append(side + printable(shown, MAX_CHARACTERS))
        else:
            self._left_out += 1
