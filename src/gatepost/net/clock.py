"""The system's clock, and IDs made from it."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Final

from gatepost.mail.ids import make_id

STEP_BITS: Final = 40  # IDs of one millisecond grow by up to this much, so that the next cannot be guessed


class SystemClock:
    """`ports.clock.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class SystemIds:
    """`ports.clock.Ids`: random, and later ones of this process are greater."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._entropy = 0

    def new(self) -> str:
        """A fresh ID. A clock that was set back does not make it smaller than the one before."""
        now_ms = time.time_ns() // 1_000_000
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._entropy = secrets.randbits(79)  # the highest bit is free for the steps
        else:
            self._entropy += 1 + secrets.randbits(STEP_BITS)
        return make_id(self._last_ms, self._entropy)
