"""Line ends of old devices: bare LF becomes CRLF before anything reads it, for peers that an administrator named.

Everybody else's bare LF is refused (`content.framing`). Here nothing can be smuggled: the message that is kept has the
line ends that we read, and so has it for every host behind us.
"""

from __future__ import annotations


class LineEnds:
    """The octets of one connection, each LF with its CR. `repaired`: how many were bare."""

    __slots__ = ("_ends_in_cr", "repaired")

    def __init__(self) -> None:
        self._ends_in_cr = False
        self.repaired = 0

    def mend(self, octets: bytes) -> bytes:
        """`octets` with CRLF for every bare LF, wherever the pieces were cut."""
        if not octets:
            return octets
        starts_whole = self._ends_in_cr and octets.startswith(b"\n")
        self._ends_in_cr = octets.endswith(b"\r")
        bare = octets.count(b"\n") - octets.count(b"\r\n") - starts_whole
        if not bare:
            return octets
        self.repaired += bare
        mended = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return mended[1:] if starts_whole else mended
