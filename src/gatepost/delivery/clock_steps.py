"""Time that the machine's clock says has passed, and that did not pass: the clock was set forward.

Not here: telling the operator of it (`app.troubles`).
"""

from __future__ import annotations

from typing import Final

from gatepost.ports.clock import Clock

STEP_SECONDS: Final = 60.0  # a time service corrects less than that without a word


class ClockSteps:
    """How far the clock was set while this process runs. It is compared with the time that only grows whenever
    somebody asks, so a step is seen before anything is decided by it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.unix() - clock.monotonic()
        self._ahead = 0.0  # all steps together
        self._since = 0.0  # when it was found to be ahead, by the clock as it is set now

    def skipped(self, received_at: float) -> float:
        """Seconds of a message's age that did not pass, 0 or more.

        A clock that is set forward and back again has skipped nothing. Nothing is known of what was before this
        process.
        """
        now = self._clock.unix()
        offset = now - self._clock.monotonic()
        step = offset - self._offset
        self._offset = offset
        if abs(step) >= STEP_SECONDS:
            self._note(step, now)
        return self._ahead if self._ahead > 0 and received_at < self._since else 0.0

    def _note(self, step: float, now: float) -> None:
        if self._ahead < STEP_SECONDS:
            self._since = now
        self._ahead += step
        if abs(self._ahead) < STEP_SECONDS:
            self._ahead = 0.0
