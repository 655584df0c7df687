"""The wait before an answer that guessers and harvesters should not have at once: it costs them time, us a timer."""

from __future__ import annotations

import asyncio
from typing import Any

from gatepost.mail.reply import Reply
from gatepost.policy.verdict import Decision
from gatepost.ports.wire import Wire


async def wait_after_failure(wire: Wire, failures: int, each: float, longest: float) -> None:
    """Returns after `each` seconds for every failure so far, at most `longest`; at once for none."""
    await wait_for(wire, min(each * failures, longest))


async def wait_for(wire: Wire, seconds: float) -> None:
    """Returns after `seconds`, at once for none; a session that ends meanwhile cancels it."""
    if seconds <= 0:
        return
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = wire.call_later(seconds, lambda: _end(over))
    try:
        await over
    finally:
        timer.cancel()


def answer_after(wire: Wire, decision: Decision, reply: Reply) -> Any:
    """`reply`, at once, or as an awaitable when the decision lays a wait on the peer."""
    return _late(wire, decision.wait, reply) if decision.wait else reply


async def _late(wire: Wire, seconds: float, reply: Reply) -> Reply:
    await wait_for(wire, seconds)
    return reply


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
