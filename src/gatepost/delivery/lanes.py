"""One lane for each destination: the entries that wait for it, how many may go at once, and whether it is left alone.

No I/O and no clock: times come as arguments. Not here: the work on an entry (`delivery.remote`, `delivery.local`).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gatepost.delivery.mx import Candidates
from gatepost.delivery.next_hop import NextHop
from gatepost.mail.reply import Reply
from gatepost.spool.model import Entry

FIRST_WINDOW: Final = 5  # attempts at once to a destination that we know nothing of
FIRST_REST: Final = 60.0  # seconds that a destination is left alone when it cannot be reached; doubles
LONGEST_REST: Final = 1800.0  # RFC 5321 §4.5.4.1: and not to hammer on a host that does not answer
FIRST_POSTPONED: Final = 5.0  # seconds
LONGEST_POSTPONED: Final = 60.0
MAX_TOGETHER_OCTETS: Final = 4 * 1024 * 1024  # of entries that are in memory for one attempt
QUICK_SECONDS: Final = 0.1  # an attempt that took no longer: the next message may wait for that
ROUTE_KEPT: Final = 120.0  # seconds; DNS answers are cached by the resolver, this saves ordering them each time


class Lane:
    """The state of one destination.

    window: attempts that may run at once. It grows with each success up to `most`, or, for as long as a route is kept,
    up to what the peer was seen to take; it is one for a destination that was just unreachable: one attempt finds out
    for all. together: entries that one attempt takes, where they gain by it. load: entries that another worker begins
    for. is_quick: the last attempt took so little time that a message which comes behind another loses nothing.
    may_overlap: commands of the next message may leave with the content of one.
    """

    __slots__ = (
        *("_ceiling", "_down_until", "_failures", "_load", "_postponed", "_route_until", "is_quick", "key"),
        *("may_overlap", "most", "queue", "route", "running", "together", "used", "why", "window"),
    )  # fmt: skip

    def __init__(self, key: str, most: int, first: int = FIRST_WINDOW, together: int = 1, load: int = 1) -> None:
        """load: while it is quick."""
        self.key = key
        self.most = most
        self.together = together
        self.is_quick = False
        self.may_overlap = True
        self._load = load
        self.window = min(first, most)
        self.queue: deque[Entry] = deque()
        self.running = 0
        self.route: Candidates | None = None
        self.used: dict[NextHop, None] = {}
        self.why: Reply | None = None
        self._ceiling = most
        self._route_until = 0.0
        self._down_until = 0.0
        self._failures = 0
        self._postponed = 0

    @property
    def wanted(self) -> int:
        """Workers that what waits is enough for: beside one that is at work, one for each full load; what makes none
        goes with the next load of that one, and gains by it."""
        loads, rest = divmod(len(self.queue), self.load)
        return loads + bool(rest and not self.running)

    @property
    def load(self) -> int:
        return self._load if self.is_quick else self.together

    @property
    def has_load(self) -> bool:
        """Whether a worker that has ended an attempt goes on: the last one does as long as anything waits."""
        return len(self.queue) >= (self.load if self.running > 1 else 1)

    def take(self) -> list[Entry]:
        """The next entries for one attempt; as many as fit into its octets, at least one."""
        queue = self.queue
        taken = [queue.popleft()]
        octets = taken[0].octets
        while len(taken) < self.together and queue and (octets := octets + queue[0].octets) <= MAX_TOGETHER_OCTETS:
            taken.append(queue.popleft())
        return taken

    def is_down(self, now: float) -> bool:
        """Whether the destination is left alone: its entries are deferred untried."""
        return now < self._down_until

    def rest(self, now: float) -> float:
        """Seconds until it is tried again."""
        return max(0.0, self._down_until - now)

    def is_idle(self, now: float) -> bool:
        """Whether nothing is lost when the lane is forgotten."""
        return not self.queue and not self.running and now >= self._down_until + LONGEST_REST * bool(self._failures)

    def succeeded(self, seconds: float) -> None:
        """A next hop took or refused a message: it is there. seconds: that the attempt took."""
        self.is_quick = seconds <= QUICK_SECONDS
        self._failures = 0
        self._postponed = 0
        self.why = None
        if self.window < self._ceiling:
            self.window += 1

    def crowded(self) -> None:
        """A next hop took no further connection while others are at work."""
        self.window = self._ceiling = max(1, min(self.window, self.running - 1))

    def postponed(self, drawn: float) -> float:
        """Seconds until an entry that found no place at a next hop tries again; longer each time until one gets in.

        drawn: 0 <= x < 1, which spreads them: those that come together would find no place together.
        """
        self._postponed += 1
        return min(FIRST_POSTPONED * (1 << min(self._postponed - 1, 16)), LONGEST_POSTPONED) * (0.5 + drawn)

    def failed(self, now: float, why: Reply) -> None:
        """No next hop could be reached: from `now` on the destination is left alone for a while, longer each time.

        Attempts that began together count once.
        """
        if self.is_down(now):
            return
        self._failures += 1
        self.is_quick = False
        self.window = 1
        self.why = why
        self._down_until = now + min(FIRST_REST * (1 << min(self._failures - 1, 16)), LONGEST_REST)
        self.forget_route()

    def keep_route(self, route: Candidates, now: float) -> None:
        self.route = route
        self._route_until = now + ROUTE_KEPT

    def known_route(self, now: float) -> Candidates | None:
        """The route, while it is fresh; what was used is forgotten with it: a better hop may be back."""
        if self.route is not None and now >= self._route_until:
            self.forget_route()
        return self.route

    def forget_route(self) -> None:
        self.route = None
        self.used.clear()
        self.may_overlap = True
        self._ceiling = self.most
