"""The event loops that the server runs on: a test that takes `run_on` runs on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import uvloop

T = TypeVar("T")
LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
LIMIT_SECONDS: Final = 10.0


def run_on(name: str, main: Callable[[], Awaitable[T]], limit: float = LIMIT_SECONDS) -> T:
    """The result of `main()` on a fresh loop. Raises TimeoutError, and what nobody else has caught: an exception in
    a callback of the loop is a failure too."""
    failures: list[str] = []

    async def limited() -> T:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: failures.append(f"{context['message']}: {context.get('exception')!r}")
        )
        async with asyncio.timeout(limit):
            return await main()

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        result = runner.run(limited())
    assert not failures, failures
    return result
