"""Connections that are over, and are to be counted so: together with the next arrival, or soon.

A transaction of the counters for each connection that ends would cost as much as the one in which it arrived. Whoever
arrives at this worker takes those along that have left it, so it is never refused for a connection that is over here;
other workers see it `SOON` at the latest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, Final

from gatepost.gate.later import is_later
from gatepost.ports.clock import Clock
from gatepost.standing.port import Operation, StandingError, StandingStore

SOON: Final = 0.05  # seconds
MANY: Final = 200  # operations: more are counted at once, as the next arrival must not wait for them


class Departures:
    """What the sessions of this worker that are over leave to count. From the loop's thread only."""

    def __init__(self, standing: StandingStore, clock: Clock) -> None:
        self._standing = standing
        self._clock = clock
        self._left: list[Operation] = []
        self._timer: asyncio.TimerHandle | None = None
        self._counting: set[asyncio.Task[None]] = set()  # a task that nobody holds may vanish before it has run

    def leave(self, operations: Sequence[Operation]) -> None:
        """To be carried out soon; nobody waits for the results."""
        self._left += operations
        if len(self._left) >= MANY:
            self.count()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SOON, self._is_due)

    def take(self) -> list[Operation]:
        """What has left so far; the caller carries it out, before its own."""
        taken, self._left = self._left, []
        return taken

    def count(self) -> None:
        """What has left is counted now."""
        taken = self.take()
        if not taken:
            return
        # The counts of a process end with it, and a failure was told when it was first met.
        with suppress(StandingError):
            result = self._standing.tally(taken, self._clock.unix())
            if is_later(result):
                task = asyncio.get_running_loop().create_task(_counted(result))
                self._counting.add(task)
                task.add_done_callback(self._counting.discard)

    def close(self) -> None:
        """The worker ends: nothing is left to count."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.count()

    def _is_due(self) -> None:
        self._timer = None
        self.count()


async def _counted(result: Awaitable[Any]) -> None:
    with suppress(StandingError):
        await result
