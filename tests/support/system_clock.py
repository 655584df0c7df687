"""The system's clock as the port, for tests against real files, certificates and programs."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    def unix(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)
