"""An event loop whose timers are due as soon as nothing else is ready: a test of a timeout takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Selector(selectors.DefaultSelector):
    """Never waits: where the loop wanted to sleep, its clock is put forward instead."""

    slept = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        self.slept += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop's time stands still while there is work, and jumps to the next timer when there is none.

    Real sockets on loopback work: what was sent there is ready to be read at once.
    """

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return 1000.0 + self._virtual.slept


class LoopClock:
    """A `Clock` that shows the time of the running loop; `advance` puts it forward for what reads only the clock."""

    def __init__(self, start: datetime = datetime(2026, 11, 24, 10, tzinfo=UTC)) -> None:
        self._start = start
        self._advanced = 0.0

    def advance(self, seconds: float) -> None:
        self._advanced += seconds

    def monotonic(self) -> float:
        try:
            return asyncio.get_running_loop().time() + self._advanced
        except RuntimeError:
            return self._advanced

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def unix(self) -> float:
        return self.now().timestamp()


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """The result of `main` in a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
