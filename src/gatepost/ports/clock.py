"""Time, as a port: nothing below the wiring reads a clock of its own, so a test says what time it is."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time of day and a time that only grows."""

    def now(self) -> datetime:
        """The time of day: an aware datetime, UTC."""
        ...

    def unix(self) -> float:
        """The same in seconds since 1970, for the hot path."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...


class Ids(Protocol):
    """Makes event and entry IDs (`mail.ids`)."""

    def new(self) -> str:
        """An ID that no other has, later than those made before it by the same maker."""
        ...
