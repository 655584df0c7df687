"""Whose turn it is, of the sessions that send faster than they are answered."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

TURN: Final = 5  # commands taken in a row: one read may bring thousands of them
BREATH_SECONDS: Final = 50e-6
"""The loop stands still before each turn. A flood never lets it be idle; it does give up the interpreter's lock, often
but too short to be taken, and each time Python's 5 ms begin anew. A commit, which needs the lock some twenty times
in its own thread, then took 400 ms."""


class Turns:
    """A line in which sessions wait that had a turn and have more to be answered. One goes on each time the loop comes
    round: whoever waits for the answer to one command waits for one turn of one flooder, not for a turn of each.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def next(self) -> None:
        """Returns when those that came before had their turn, and the loop has served everybody else once."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._give, loop)
        await turn

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        time.sleep(BREATH_SECONDS)
        waiting = self._waiting
        while waiting:
            turn = waiting.popleft()
            if not turn.done():  # else its session is gone
                turn.set_result(None)
                break
        if waiting:
            loop.call_soon(self._give, loop)
