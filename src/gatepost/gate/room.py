"""How much room maildrops have, remembered for a few seconds: a burst of mail to one account asks its folder once."""

from __future__ import annotations

from typing import Final

from gatepost.maildrop.port import MaildropStore
from gatepost.ports.clock import Clock

FRESH_SECONDS: Final = 5.0
MAX_REMEMBERED: Final = 10_000


class MaildropRoom:
    """What each maildrop holds. Of one worker; what others delivered meanwhile is seen when it is asked again."""

    def __init__(self, maildrops: MaildropStore, clock: Clock) -> None:
        self._maildrops = maildrops
        self._clock = clock
        self._known: dict[str, tuple[int, float]] = {}

    async def used(self, account: str) -> int:
        """Octets that count against the quota. Raises MaildropError."""
        now = self._clock.monotonic()
        known = self._known.get(account)
        if known is not None and now - known[1] < FRESH_SECONDS:
            return known[0]
        used = await self._maildrops.used(account)
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[account] = (used, now)
        return used
