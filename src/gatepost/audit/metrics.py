"""Metrics: what the record says, counted while it is written, for every worker together.

`RecordingMetrics` sits in front of a recorder and counts each event in a plain dict: a microsecond, no lock. Each
worker leaves its counts in a file of its own now and then (`flush`); whoever is asked for metrics adds the files up.
The files of workers that are gone are counted too, so that a counter never falls while the server runs.

Not here: the format in which Prometheus reads them (`admin.exposition`).
"""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from gatepost.audit.event import BatchRecorder, Event, RecordError

Series = tuple[str, ...]
"""The name of a counter, then its label values in the order of `FAMILIES`."""
Counts = dict[Series, float]

MAX_SERIES: Final = 5000  # label values come from a few fixed sets; whatever breaks that must not fill the memory
LOCK_FILE: Final = "lock"
GONE_FILE: Final = "gone.json"


class Family(msgspec.Struct, frozen=True):
    """One metric. buckets: the upper bounds of a histogram, () for a counter."""

    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_CLASSES: Final = {"2": "2xx", "4": "4xx", "5": "5xx"}
SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)
OCTETS: Final = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8)

FAMILIES: Final[Mapping[str, Family]] = {
    "gatepost_events_total": Family("Events recorded", ("kind",)),
    "gatepost_record_failures_total": Family("Events that could not be recorded"),
    "gatepost_sessions_total": Family("Sessions that ended", ("service",)),
    "gatepost_session_seconds": Family("How long a session took", ("service",), SECONDS),
    "gatepost_messages_total": Family("Transactions that ended, by the class of the reply", ("service", "reply")),
    "gatepost_message_octets": Family("Size of the messages taken", ("service",), OCTETS),
    "gatepost_message_seconds": Family("From MAIL to the final reply", ("service",), SECONDS),
    "gatepost_recipients_total": Family("Recipients of the messages taken", ("service",)),
    "gatepost_verdicts_total": Family("Checks that did not let it pass", ("check", "mode", "verdict")),
    "gatepost_logins_total": Family("Logins", ("service", "mechanism", "result")),
    "gatepost_deliveries_total": Family("Recipients, by what an attempt came to", ("to", "result")),
    "gatepost_delivery_seconds": Family("How long an attempt took", ("to",), SECONDS),
    "gatepost_made_total": Family("Messages that the server made itself", ("why",)),
    "gatepost_alerts_total": Family("Alerts, by the detector that raised them, or server", ("by",)),
    "gatepost_bans_total": Family("Bans and held accounts, by what became of them", ("what",)),
    "gatepost_shed_total": Family("Connections and messages that there was no room for", ("what",)),
    "gatepost_retrieved_total": Family("Messages read over POP3"),
    "gatepost_removed_total": Family("Messages removed over POP3"),
}


class RecordingMetrics:
    """A recorder that counts what it hands on to another one.

    folder: where the counts of all workers lie, `data/run/metrics`; `begin` has made it. is_failing: the last event
    could not be written.
    """

    def __init__(self, recorder: BatchRecorder, folder: Path) -> None:
        self._recorder = recorder
        self._path = folder / f"{os.getpid()}.json"
        self._folder = folder
        self.counts: Counts = {}
        self._buckets: dict[tuple[str, str], list[Series]] = {}
        self._flushed = -1
        self._added = 0
        self.is_failing = False

    def record(self, event: Event) -> None:
        """See `audit.event.Recorder`. An event that was not recorded is counted as that only."""
        try:
            self._recorder.record(event)
        except RecordError:
            self._failed(1)
            raise
        self._count(event)

    def record_all(self, events: Sequence[Event]) -> None:
        """See `audit.event.BatchRecorder`; counted in the same way."""
        try:
            self._recorder.record_all(events)
        except RecordError:
            self._failed(len(events))
            raise
        for event in events:
            self._count(event)

    def _failed(self, events: int) -> None:
        self.is_failing = True
        self._added += 1
        self._add(("gatepost_record_failures_total",), events)

    def _count(self, event: Event) -> None:
        self.is_failing = False
        self._added += 1
        self._add(("gatepost_events_total", event.kind))
        counter = _COUNTERS.get(event.kind)
        if counter is not None:
            counter(self, event)
        for each in event.verdicts:
            if each.verdict != "pass":
                self._add(("gatepost_verdicts_total", each.check, each.mode, each.verdict))

    def flush(self) -> None:
        """The counts are where a scrape finds them. Raises OSError; nothing is lost then but time."""
        if self._flushed == self._added:
            return
        added = self._added
        _write(self._path, self.counts)
        self._flushed = added

    def total(self) -> Counts:
        """The counts of all workers, of those that are gone too. Raises OSError."""
        self.flush()
        return total(self._folder)

    # --- counting ------------------------------------------------------------------------------------------------

    def _add(self, series: Series, by: float = 1.0) -> None:
        counts = self.counts
        try:
            counts[series] += by
        except KeyError:
            if len(counts) >= MAX_SERIES and series[1:]:
                series = (series[0], *("other",) * (len(series) - 1))
            counts[series] = counts.get(series, 0.0) + by

    def _observe(self, name: str, label: str, value: float) -> None:
        """Into a histogram: the bucket is the last value of the series, "sum" that of the sum."""
        keys = self._buckets.get((name, label))
        if keys is None:
            buckets = range(len(FAMILIES[name].buckets) + 1)
            keys = self._buckets[name, label] = [(name, label, "sum"), *((name, label, str(at)) for at in buckets)]
            for series in keys:  # the labels of histograms are ours: they need no limit
                self.counts.setdefault(series, 0.0)
        counts = self.counts
        counts[keys[bisect_left(FAMILIES[name].buckets, value) + 1]] += 1.0
        counts[keys[0]] += value

    def _session(self, event: Event) -> None:
        self._add(("gatepost_sessions_total", event.service))
        if event.took_ms is not None:
            self._observe("gatepost_session_seconds", event.service, event.took_ms / 1000)
        if event.kind == "pop3.session":
            for name in ("retrieved", "removed"):
                number = event.details.get(name)
                if isinstance(number, int) and number > 0:
                    self._add((f"gatepost_{name}_total",), by=number)

    def _message(self, event: Event) -> None:
        if event.service == "delivery":
            self._add(("gatepost_made_total", str(event.details.get("why", ""))))
            return
        first = event.reply[:1]
        self._add(("gatepost_messages_total", event.service, _CLASSES.get(first, "none")))
        if first == "2":
            self._add(("gatepost_recipients_total", event.service), by=len(event.recipients))
            if event.octets is not None:
                self._observe("gatepost_message_octets", event.service, event.octets)
            if event.took_ms is not None:
                self._observe("gatepost_message_seconds", event.service, event.took_ms / 1000)

    def _login(self, event: Event) -> None:
        result = "accepted" if event.reply.startswith(("2", "+OK")) else "refused"
        self._add(("gatepost_logins_total", event.service, str(event.details.get("mechanism", "")), result))

    def _attempt(self, event: Event) -> None:
        to = "local" if event.details.get("destination") == "local" else "remote"
        for each in event.details.get("results", ()):
            self._add(("gatepost_deliveries_total", to, str(each.get("verdict", ""))))
        if event.took_ms is not None and "untried" not in event.details:
            self._observe("gatepost_delivery_seconds", to, event.took_ms / 1000)

    def _alert(self, event: Event) -> None:
        self._add(("gatepost_alerts_total", str(event.details.get("detector") or "server")))

    def _ban(self, event: Event) -> None:
        self._add(("gatepost_bans_total", str(event.details.get("what", ""))))

    def _server(self, event: Event) -> None:
        if event.details.get("what") == "load shed":
            for what, number in event.details["refused"].items():
                self._add(("gatepost_shed_total", what), by=number)


_COUNTERS: Final = {
    "smtp.session": RecordingMetrics._session,
    "pop3.session": RecordingMetrics._session,
    "smtp.message": RecordingMetrics._message,
    "delivery.attempt": RecordingMetrics._attempt,
    "auth": RecordingMetrics._login,
    "alert": RecordingMetrics._alert,
    "ban": RecordingMetrics._ban,
    "server": RecordingMetrics._server,
}


# --- the files ---------------------------------------------------------------------------------------------------


def begin(folder: Path) -> None:
    """An empty folder: the server starts. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in folder.iterdir():
        path.unlink(missing_ok=True)


def total(folder: Path) -> Counts:
    """The counts of every file in `folder` together. Raises OSError."""
    counts: Counts = {}
    with _locked(folder, fcntl.LOCK_SH):
        for path in _files(folder):
            _add_file(counts, path)
    return counts


def fold(folder: Path, is_alive: Mapping[int, bool] | None = None) -> None:
    """The counts of processes that are gone, in one file instead of one each. is_alive: by process, for tests.

    Called by each worker at its start: every reload leaves files behind. Raises OSError.
    """
    with _locked(folder, fcntl.LOCK_EX):
        gone = [path for path in _files(folder) if path.name == GONE_FILE or not _lives(int(path.stem), is_alive)]
        if len(gone) < 2 and all(path.name == GONE_FILE for path in gone):
            return
        counts: Counts = {}
        for path in gone:
            _add_file(counts, path)
        _write(folder / GONE_FILE, counts)
        for path in gone:
            if path.name != GONE_FILE:
                path.unlink(missing_ok=True)


def living(folder: Path) -> tuple[int, ...]:
    """The processes whose counts lie in `folder` and that are still there: the workers."""
    return tuple(int(path.stem) for path in _files(folder) if path.name != GONE_FILE and _lives(int(path.stem), None))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*.json")):
        if path.name == GONE_FILE or path.stem.isdigit():
            yield path


def _add_file(counts: Counts, path: Path) -> None:
    with suppress(FileNotFoundError, msgspec.DecodeError):  # a file that does not read counts for nothing
        for *series, value in msgspec.json.decode(path.read_bytes(), type=list[tuple[str | float, ...]]):
            key = tuple(str(each) for each in series)
            counts[key] = counts.get(key, 0.0) + float(value)


def _write(path: Path, counts: Counts) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode([(*series, value) for series, value in counts.items()]))
    new.replace(path)


def _lives(process: int, is_alive: Mapping[int, bool] | None) -> bool:
    if is_alive is not None:
        return is_alive.get(process, False)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
