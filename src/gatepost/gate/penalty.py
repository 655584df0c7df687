"""The wait before a failed login is answered: each costs the peer more time than the last, and us only a timer."""

from __future__ import annotations

import asyncio

from gatepost.ports.wire import Wire


async def wait_after_failure(wire: Wire, failures: int, each: float, longest: float) -> None:
    """Returns after `each` seconds for every failure so far, at most `longest`; at once for none."""
    seconds = min(each * failures, longest)
    if seconds <= 0:
        return
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = wire.call_later(seconds, lambda: _end(over))
    try:
        await over
    finally:
        timer.cancel()


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
