"""Floods of refused connections: the first of an address are recorded one by one, the others in one event a minute.

Every session is on the record either way; a peer that is refused ten thousand times an hour must not fill the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import structlog

from gatepost.audit.event import Event, EventClient, Kind, Recorder, RecordError
from gatepost.mail.network import holder_of
from gatepost.ports.clock import Clock, Ids

log = structlog.get_logger()

ONE_BY_ONE: Final = 10  # refused connections of an address in a period that have events of their own
PERIOD_SECONDS: Final = 60.0
MAX_ADDRESSES: Final = 10_000  # that are watched; 2 MB


class _Flood:
    """The refused connections of one address in one period. alone: how many may have events of their own. id: of the
    event that sums up the others, "" while there are none."""

    __slots__ = ("alone", "began", "checks", "id", "ip", "kind", "last", "service", "summed", "verdict")

    def __init__(self, ip: str, began: float, alone: int) -> None:
        self.ip = ip
        self.began = self.last = began
        self.alone = alone
        self.id = ""
        self.summed = 0
        self.checks: Counter[str] = Counter()
        self.kind: Kind = "smtp.session"
        self.service = ""
        self.verdict: Any = None


_KINDS: Final[Mapping[str, Kind]] = {"pop3": "pop3.session", "pop3s": "pop3.session", "admin": "grant"}
"""What is refused there, where it is no SMTP session."""


class Floods:
    """What this worker has refused lately. `flush` is to be called every few seconds, `close` at the end."""

    def __init__(self, recorder: Recorder, clock: Clock, ids: Ids) -> None:
        self._recorder = recorder
        self._clock = clock
        self._ids = ids
        self._floods: dict[str, _Flood] = {}

    def refused(self, ip: str, service: str, check: str, verdict: Any) -> str:
        """ "" for a refused session that has its own event, else the ID of the event that counts it.

        The reply quotes that ID, so what a remote postmaster quotes is on the record. check: the one that refused.
        verdict: what it evaluated; the last one is told. None: no check refused, `check` says what happened.
        """
        now = self._clock.unix()
        holder = holder_of(ip)
        flood = self._floods.get(holder)
        if flood is None or now - flood.began >= PERIOD_SECONDS:
            flood = self._begin(holder, ip, now, flood)
        if flood.alone:
            flood.alone -= 1
            return ""
        if not flood.id:
            flood.id = self._ids.new()
        flood.summed += 1
        flood.last = now
        flood.ip = ip
        flood.checks[check] += 1
        flood.kind = _KINDS.get(service, "smtp.session")
        flood.service = service
        flood.verdict = verdict
        return flood.id

    def flush(self) -> None:
        """Record the floods whose period is over, and forget the addresses that were quiet."""
        now = self._clock.unix()
        for holder, flood in list(self._floods.items()):
            if now - flood.began < PERIOD_SECONDS:
                continue
            self._write(flood)
            if flood.summed:
                self._floods[holder] = _Flood(flood.ip, now, 0)  # it goes on, or is forgotten next time
            else:
                del self._floods[holder]

    def close(self) -> None:
        """Record what is still being counted."""
        for flood in self._floods.values():
            self._write(flood)
        self._floods.clear()

    def _begin(self, holder: str, ip: str, now: float, before: _Flood | None) -> _Flood:
        """A new period. One that goes on has no events of its own any more."""
        alone = ONE_BY_ONE
        if before is not None:
            self._write(before)
            alone = 0 if before.summed else ONE_BY_ONE
        elif len(self._floods) >= MAX_ADDRESSES:
            self._write(self._floods.pop(next(iter(self._floods))))
        flood = self._floods[holder] = _Flood(ip, now, alone)
        return flood

    def _write(self, flood: _Flood) -> None:
        if not flood.summed:
            return
        details = {
            "sessions": flood.summed,
            "seconds": round(flood.last - flood.began),
            "checks": dict(flood.checks),
        }
        if flood.kind == "grant":
            details["what"] = "refused"
        client = EventClient(flood.ip)
        verdicts = [] if flood.verdict is None else [flood.verdict]
        event = Event(flood.kind, id=flood.id, service=flood.service, client=client, verdicts=verdicts, details=details)
        try:
            self._recorder.record(event)
        except RecordError as error:
            log.error("record cannot be written", error=str(error), sessions=flood.summed, client=flood.ip)
