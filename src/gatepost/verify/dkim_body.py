"""The body of a message as DKIM hashes it, while it passes in pieces (RFC 6376 §3.4.3, §3.4.4, §3.7).

Every octet is looked at a few times by searches that run in C, and nothing is held but what may be the end of the body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from gatepost.verify.dkim_signature import Canonicalization

_CRLF: Final = b"\r\n"
FEW_RUNS: Final = 100  # of a piece: each takes as long as the search through 500 octets
_LINES: Final = _CRLF * 4096  # empty lines are given out in lengths of this


class _LimitedHash:
    """SHA-256 of the first `limit` octets; None: of all."""

    def __init__(self, limit: int | None) -> None:
        self._hash = hashlib.sha256()
        self._left = limit

    def update(self, octets: bytes) -> None:
        if self._left is not None:
            octets = octets[: self._left]
            self._left -= len(octets)
        self._hash.update(octets)

    def digest(self) -> bytes:
        return self._hash.digest()


class _Canonical:
    """One canonicalization of the body, for all the lengths that are hashed of it. octets: of the canonical body."""

    def __init__(self, kind: Canonicalization) -> None:
        self._is_relaxed = kind == "relaxed"
        self._carry = b""  # ends the pieces so far, and what it means the next octet says
        self._empty_lines = 0  # ends of lines that are dropped if nothing comes behind them
        self.octets = 0
        self.hashes: dict[int | None, _LimitedHash] = {}

    def feed(self, piece: bytes) -> None:
        octets = self._carry + piece if self._carry else piece
        if self._is_relaxed:
            octets = _relaxed(octets)
        kept = len(octets)
        if octets.endswith(b"\r"):
            kept -= 1
        if self._is_relaxed and octets.endswith(b" ", 0, kept):
            kept -= 1
        self._carry = octets[kept:]
        if kept:
            self._pass(octets, kept)

    def finish(self) -> None:
        """The body is whole. A last line without a line end gets one; of an empty body `simple` makes a line."""
        rest = self._carry
        if self._is_relaxed and rest == b" ":
            rest = b""  # blanks at the end of a line that has no line end
        if rest:
            self._pass(rest, len(rest))
        if self.octets or not self._is_relaxed:
            self._emit(_CRLF)

    def _pass(self, octets: bytes, end: int) -> None:
        """Give out the octets before `end`, but for line ends behind the last of them that is none."""
        lines, at = 0, end
        while octets.endswith(_CRLF, 0, at):  # as a rule once a piece
            if octets.endswith(_LINES, 0, at):
                lines, at = lines + len(_LINES) // 2, at - len(_LINES)
            else:
                lines, at = lines + 1, at - 2
        if at:
            self._emit_lines()
            self._emit(octets[:at] if at < len(octets) else octets)
        self._empty_lines += lines

    def _emit_lines(self) -> None:
        left = 2 * self._empty_lines
        self._empty_lines = 0
        while left:
            length = min(left, len(_LINES))
            self._emit(_LINES[:length])
            left -= length

    def _emit(self, octets: bytes) -> None:
        self.octets += len(octets)
        for each in self.hashes.values():
            each.update(octets)


def _relaxed(octets: bytes) -> bytes:
    """Runs of blanks are one space, and those before a line end are gone. A space at the very end stays: it may be
    before a line end that is still to come."""
    return _collapsed(octets.replace(b"\t", b" ")).replace(b" \r\n", _CRLF)


def _collapsed(octets: bytes) -> bytes:
    """Runs of spaces are one. The few that text has are cut out one by one, in one pass; where there are many, or long
    ones, all that is left is gone through again and again, which halves the longest run each time."""
    at = octets.find(b"  ")
    if at < 0:
        return octets
    kept, start, runs = [], 0, 0
    while at >= 0 and runs < FEW_RUNS:
        kept.append(octets[start : at + 1])
        start = at + 2
        while runs < FEW_RUNS and octets.startswith(b" ", start):
            start += 1
            runs += 1
        runs += 1
        at = octets.find(b"  ", start)
    rest = octets[start:]
    if at >= 0 or rest.startswith(b" "):
        rest = rest.lstrip(b" ")  # what is left of the last run
        while b"  " in rest:
            rest = rest.replace(b"  ", b" ")
    kept.append(rest)
    return b"".join(kept)


class BodyHash:
    """Hashes of one body. wanted: each canonicalization, and the length of it that is hashed (None: all); what stands
    twice is hashed once, and a canonicalization is made once for all of its lengths."""

    def __init__(self, wanted: Iterable[tuple[Canonicalization, int | None]]) -> None:
        self._bodies: dict[Canonicalization, _Canonical] = {}
        for kind, length in wanted:
            if kind not in self._bodies:
                self._bodies[kind] = _Canonical(kind)
            if length not in self._bodies[kind].hashes:
                self._bodies[kind].hashes[length] = _LimitedHash(length)

    def feed(self, piece: bytes) -> None:
        """The next octets of the body, however they are cut."""
        for body in self._bodies.values():
            body.feed(piece)

    def finish(self) -> None:
        """There are no more; called once."""
        for body in self._bodies.values():
            body.finish()

    def digest(self, kind: Canonicalization, length: int | None) -> bytes:
        """SHA-256 of what was wanted."""
        return self._bodies[kind].hashes[length].digest()

    def octets(self, kind: Canonicalization) -> int:
        """How long the whole canonical body is."""
        return self._bodies[kind].octets
