"""A proxy or gateway in front that does not tell us whom it speaks for: noticed, so that nobody bans everybody.

What one worker sees of the last connections and logins decides; that an address is a gateway is remembered in
`standing` for all. Not here: what follows from it (`gate.bans`, grants).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from gatepost.gate.bans import GOOD, gateway_key
from gatepost.gate.later import is_later, then
from gatepost.mail.network import holder_of, is_special
from gatepost.ports.clock import Clock
from gatepost.standing.port import Charge, Level, Rate, StandingStore

RECENT: Final = 500  # connections that are looked back on
LEAST: Final = 100  # before that nothing is concluded
NEARLY_ALL: Final = 0.95
MANY_ACCOUNTS: Final = 4  # more than a family's; as many logins behind one address are a NAT for grants, too
DAY: Final = 86400.0
RENEWED_AFTER: Final = 3600.0
MAX_ADDRESSES: Final = 2000  # of logins that are remembered
MAX_ACCOUNTS: Final = 16  # of one address
ONCE_A_DAY: Final = Rate(1, DAY)


def is_gateway(connections: int, of_address: int, *, is_private: bool, accounts: int) -> bool:
    """Whether nearly all peers have one address, and more than its volume says that others stand behind it.

    connections: looked back on, without those of `trusted` peers. of_address: how many of them came from the most
    frequent address. is_private: that address is no host of the Internet. accounts: that logged in well from it within
    a day. Volume alone is no sign: a flood would shield itself.
    """
    if connections < LEAST or of_address < NEARLY_ALL * connections:
        return False
    return is_private or accounts >= MANY_ACCOUNTS


class Gateways:
    """The last connections of this worker. report: told of a gateway once a day, in words for the operator."""

    def __init__(self, standing: StandingStore, clock: Clock, report: Callable[[str], None]) -> None:
        self._standing = standing
        self._clock = clock
        self._report = report
        self._recent: deque[str] = deque()
        self._counts: Counter[str] = Counter()
        self._accounts: dict[str, dict[str, float]] = {}
        self._renewed: dict[str, float] = {}

    def arrived(self, ip: str) -> None:
        """A connection that is not of a `trusted` peer."""
        holder = holder_of(ip)
        self._recent.append(holder)
        self._counts[holder] += 1
        if len(self._recent) > RECENT:
            oldest = self._recent.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]

    def logged_in(self, ip: str, account: str) -> None:
        """A good login."""
        holder = holder_of(ip)
        accounts = self._accounts.pop(holder, {})
        if account in accounts or len(accounts) < MAX_ACCOUNTS:
            accounts[account] = self._clock.unix()
        self._accounts[holder] = accounts  # the last to be forgotten
        if len(self._accounts) > MAX_ADDRESSES:
            del self._accounts[next(iter(self._accounts))]

    async def review(self) -> None:
        """Conclude, remember, tell; to be called every few seconds. Raises StandingError."""
        if not self._counts:
            return
        holder, count = self._counts.most_common(1)[0]
        now = self._clock.unix()
        accounts = sum(at > now - DAY for at in self._accounts.get(holder, {}).values())
        ip = holder.partition("/")[0]
        if not is_gateway(len(self._recent), count, is_private=is_special(ip), accounts=accounts):
            return
        if now - self._renewed.get(holder, 0.0) < RENEWED_AFTER:
            return
        await self._standing.remember(GOOD, gateway_key(ip), b"%d" % now, now + DAY)
        self._renewed = {holder: now}
        (told,) = await _had(self._standing.tally([Charge(f"gateway:told:{holder}", ONCE_A_DAY)], now))
        if isinstance(told, Level) and told.allowed:
            self._report(
                f"nearly all connections come from {holder} ({count} of the last {len(self._recent)}), which looks "
                "like a proxy or gateway in front of this server: it is never banned, gets no grant, and limits count "
                "all its clients as one. Let it send the PROXY header, set proxy_protocol = true for the listener, and "
                f"add {holder} to `trusted`"
            )

    def knows(self, ip: str) -> Any:
        """Whether the address is a gateway, or an awaitable of that. Raises StandingError."""
        found = self._standing.recall(GOOD, gateway_key(ip), self._clock.unix())
        return then(found, lambda it: it is not None)


async def _had(value: Any) -> Any:
    return await value if is_later(value) else value
