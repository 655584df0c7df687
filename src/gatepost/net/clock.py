"""The system's clock, and IDs made from it."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from datetime import UTC, datetime
from typing import Final

from gatepost.mail.ids import make_id

STEP_BITS: Final = 40  # IDs of one millisecond grow by up to this much, so that the next cannot be guessed
DRAWN_OCTETS: Final = 10  # for each ID
DRAWN_AT_ONCE: Final = 100  # each call of the system gives the interpreter's lock away, and must win it back


class SystemClock:
    """`ports.clock.Clock`. Each time is the system's own function: many are asked for a message."""

    unix = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        return datetime.now(UTC)


_STEP: Final = (1 << STEP_BITS) - 1
_drawn: Final[deque[int]] = deque()
"""Random numbers of 80 bits, for all makers of IDs; taken by one step each, since several threads ask."""
os.register_at_fork(after_in_child=_drawn.clear)  # a number that was drawn before a fork would be used twice


class SystemIds:
    """`ports.clock.Ids`: random, and later ones of this process are greater."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._entropy = 0

    def new(self) -> str:
        """A fresh ID. A clock that was set back does not make it smaller than the one before."""
        now_ms = time.time_ns() // 1_000_000
        try:
            drawn = _drawn.popleft()
        except IndexError:
            drawn = _draw()
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._entropy = drawn >> 1  # the highest bit is free for the steps
        else:
            self._entropy += 1 + (drawn & _STEP)
        return make_id(self._last_ms, self._entropy)


def _draw() -> int:
    """A random number of 80 bits, and others kept for the next."""
    octets = secrets.token_bytes(DRAWN_OCTETS * DRAWN_AT_ONCE)
    drawn = [int.from_bytes(octets[at : at + DRAWN_OCTETS]) for at in range(0, len(octets), DRAWN_OCTETS)]
    _drawn.extend(drawn[1:])
    return drawn[0]
