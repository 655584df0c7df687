"""The messages of a transaction by number: sizes, unique IDs and marks for removal (RFC 1939 §5, §7).

Only numbers and texts; the messages themselves are behind the maildrop port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

_LINES_A_PIECE: Final = 2000  # 100,000 lines leave in pieces of some 50 KiB, not in one of megabytes


class Listing:
    """Message `number` counts from 1 and stays the same for the session; a marked message is as good as gone."""

    __slots__ = ("_marked", "_sizes", "_uids")

    def __init__(self, uids: Sequence[str], sizes: Sequence[int]) -> None:
        self._uids = uids
        self._sizes = sizes
        self._marked: set[int] = set()

    @property
    def marked(self) -> tuple[int, ...]:
        """The indexes (from 0) to remove at QUIT."""
        return tuple(sorted(self._marked))

    def stat(self) -> tuple[int, int]:
        """How many messages are not marked, and their octets together."""
        gone = sum(self._sizes[index] for index in self._marked)
        return len(self._sizes) - len(self._marked), sum(self._sizes) - gone

    def has(self, number: int) -> bool:
        """Whether there is such a message, not marked."""
        return 0 < number <= len(self._sizes) and number - 1 not in self._marked

    def octets(self, number: int) -> int:
        """Size of a message."""
        return self._sizes[number - 1]

    def uid(self, number: int) -> str:
        """Unique ID of a message."""
        return self._uids[number - 1]

    def mark(self, number: int) -> None:
        """For removal at QUIT."""
        self._marked.add(number - 1)

    def unmark_all(self) -> None:
        """RSET."""
        self._marked.clear()

    def size_lines(self) -> Iterator[bytes]:
        """The answer to LIST after its first line, the final dot included, in pieces."""
        return self._lines(self._sizes)

    def uid_lines(self) -> Iterator[bytes]:
        """The same for UIDL."""
        return self._lines(self._uids)

    def _lines(self, values: Sequence[object]) -> Iterator[bytes]:
        for start in range(0, len(values), _LINES_A_PIECE):
            numbers = range(start, min(start + _LINES_A_PIECE, len(values)))
            yield "".join(f"{at + 1} {values[at]}\r\n" for at in numbers if at not in self._marked).encode("ascii")
        yield b".\r\n"
