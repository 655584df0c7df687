"""How fast the content of a message comes: a peer that sends an octet now and then is not silent, and never done.

Not here: peers that are silent, also in the middle of a line (`intake.session`).
"""

from __future__ import annotations

from typing import Final

from gatepost.protocol.smtp.limits import CONTENT_GRACE, CONTENT_OCTETS_A_SECOND, CONTENT_OCTETS_A_WINDOW

_GRACE: Final = CONTENT_GRACE.total_seconds()


class Pace:
    """The octets of one message, all its chunks together, from the first on. Times are of the monotonic clock.

    window: seconds in which `CONTENT_OCTETS_A_WINDOW` must come.
    """

    __slots__ = ("_began", "_counted", "_octets", "_since", "_window")

    def __init__(self, now: float, window: float) -> None:
        self._began = self._since = now
        self._octets = self._counted = 0
        self._window = window

    def took(self, octets: int) -> None:
        """So many came."""
        self._octets += octets

    def waited(self, seconds: float) -> None:
        """We were not listening for so long; that is not the peer's time."""
        self._began += seconds
        self._since += seconds

    def fault(self, now: float) -> str:
        """What is wrong with it, for the record; "" for nothing. To be asked now and then: a window ends when it was
        asked about and is full."""
        lasted = now - self._since
        if lasted >= self._window:
            came = self._octets - self._counted
            if came * self._window < CONTENT_OCTETS_A_WINDOW * lasted:
                return f"the content came too slowly: {came} octets in {lasted:.0f} seconds"
            self._since, self._counted = now, self._octets
        lasted = now - self._began
        if lasted > _GRACE + self._octets / CONTENT_OCTETS_A_SECOND:
            return f"the content came too slowly: {self._octets} octets in {lasted:.0f} seconds"
        return ""
