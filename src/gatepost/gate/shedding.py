"""Load that is shed because there is no room: the first refusals of a minute have events of their own, and all of them
are counted in one event at its end, whoever the peers are.

Not here: one peer that comes too often (`gate.flood`).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

from gatepost.audit.event import Event, Recorder, RecordError
from gatepost.ports.clock import Clock, Ids

log = structlog.get_logger()

ONE_BY_ONE: Final = 20  # in a period
PERIOD_SECONDS: Final = 60.0
WHAT: Final = "load shed"
CONNECTIONS: Final = "connections"  # `client.connections`: too many in all
ROOM: Final = "room for messages"  # disk, cap of the spool, memory
DESCRIPTORS: Final = "file descriptors"  # too few are left for another connection


class Shedding:
    """What this worker sheds. `flush` is to be called every few seconds, `close` at the end."""

    def __init__(self, recorder: Recorder, clock: Clock, ids: Ids) -> None:
        self._recorder = recorder
        self._clock = clock
        self._ids = ids
        self._began = self._last = 0.0
        self._id = ""
        self._refused: Counter[str] = Counter()

    def shed(self, why: str) -> str:
        """Count one refusal. "" for one that has its own event, else the ID of the event that counts it, for the reply
        to quote. why: CONNECTIONS, ROOM or DESCRIPTORS."""
        now = self._clock.unix()
        if self._refused and now - self._began >= PERIOD_SECONDS:
            self._write()
        if not self._refused:
            self._began, self._id = now, self._ids.new()
        self._last = now
        self._refused[why] += 1
        return self._id if self._refused.total() > ONE_BY_ONE else ""

    def flush(self) -> None:
        """Record the period that is over."""
        if self._refused and self._clock.unix() - self._began >= PERIOD_SECONDS:
            self._write()

    def close(self) -> None:
        """Record what is still being counted."""
        if self._refused:
            self._write()

    def _write(self) -> None:
        details = {"what": WHAT, "refused": dict(self._refused), "seconds": round(self._last - self._began)}
        try:
            self._recorder.record(Event("server", id=self._id, details=details))
        except RecordError as error:
            log.error("record cannot be written", error=str(error), shed=self._refused.total())
        self._refused.clear()
