"""A clock that a test sets: `ports.clock.Clock`."""

from __future__ import annotations

from datetime import UTC, datetime


class HandClock:
    """Stands still until `at` is changed. at: seconds since 1970."""

    def __init__(self, at: float = 1_764_000_000.0) -> None:
        self.at = at

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def unix(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at
