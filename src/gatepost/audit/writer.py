"""The writer: events become lines of JSON, chained, in the operating system when `record` returns, synced soon after.

One writer a process, made after the fork. Where the files lie is `files`, how they are opened and mended `opening`, the
chain `chain`. Not here: reading.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gatepost.audit.chain import END, MARK, link
from gatepost.audit.event import Event, RecordError
from gatepost.audit.files import CannotRead, day_of
from gatepost.audit.opening import Opened, open_file, take_number
from gatepost.ports.clock import Clock, Ids
from gatepost.ports.faults import Faults, no_fault

SYNC_SECONDS: Final = 0.5  # what a power cut may cost: with the sync itself, under a second of lines
MAX_LINE_OCTETS: Final = 1 << 20  # an event is bounded; what makes events bounds them first, far below
KEPT_OF_TOO_LONG: Final = 20  # items of each list that stay of one that is over it
DAY_SECONDS: Final = 86_400


class AuditWriter:
    """`audit.event.Recorder` over files: `folder`/YYYY-MM-DD/NODE.WORKER.jsonl.

    folder: `data/audit`. node: the host's name. worker: the number asked for; `worker` is the one it has, the next
    that no other live writer holds. May be called from any thread. Raises RecordError if nothing can be written.
    """

    def __init__(
        self,
        folder: Path,
        node: str,
        worker: int,
        clock: Clock,
        ids: Ids,
        *,
        sync_seconds: float = SYNC_SECONDS,
        faults: Faults = no_fault,
    ) -> None:
        self._folder = folder
        self._node = node
        self._clock = clock
        self._ids = ids
        self._faults = faults
        self._encoder = msgspec.json.Encoder(enc_hook=str)
        self._buffer = bytearray()  # of one event
        self._lines = bytearray()  # of those that are written in one go
        self._lock = threading.RLock()
        self._second = -1
        self._prefix = ""
        self._refused = 0  # events that could not be written since the last one that could
        self._refusal = ""
        self._unsynced = ""  # why the disk did not take what we wrote, until it does
        self._must_open = False
        self._is_closed = False
        self._descriptor = -1
        self._chain = b""
        self._done: list[int] = []  # files that are written to no more, for the thread to sync and close
        try:
            self.worker, self._number_lock = take_number(folder, worker)
        except OSError as error:
            raise RecordError(_cannot(error, folder)) from error
        try:
            self._open(int(clock.unix()) // DAY_SECONDS)
        except BaseException:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            os.close(self._number_lock)
            raise
        self._is_dirty = True
        self._dirty = threading.Event()
        self._dirty.set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_synced, args=(sync_seconds,), name="audit", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file that is being written to."""
        return self._path

    def record(self, event: Event) -> None:
        """See `audit.event.Recorder`."""
        self.record_all((event,))

    def record_all(self, events: Sequence[Event]) -> None:
        """See `audit.event.BatchRecorder`: one write for all."""
        if not events:
            return
        with self._lock:
            if self._is_closed:
                raise RecordError(f"{self._path}: the record is closed, this process is about to end")
            if self._unsynced:
                self._refuse(self._unsynced, len(events))
            now = self._clock.unix()
            day = int(now) // DAY_SECONDS
            if day > self._day or self._must_open:
                self._reopen(max(day, self._day))
            self._append(events, now)
            if self._refused:
                self._tell_refused()
            if not self._is_dirty:
                self._is_dirty = True
                self._dirty.set()

    def close(self) -> None:
        """Everything is on the disk when this returns. Raises RecordError if it may not be."""
        if self._is_closed:
            return
        self._is_closed = True
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        try:
            self._sync_all()
        except OSError as error:
            raise RecordError(_cannot(error, self._path)) from error
        finally:
            os.close(self._descriptor)
            os.close(self._number_lock)

    # --- writing -------------------------------------------------------------------------------------------------

    def _append(self, events: Sequence[Event], now: float) -> None:
        lines, chain, chains = self._lines, self._chain, []
        lines.clear()
        for event in events:
            chain, chain_hex = self._add_line(lines, event, now, chain)
            chains.append(chain_hex)
        self._faults("record.write")
        self._write(lines, len(events))
        self._faults("record.written")
        self._chain = chain
        for event, chain_hex in zip(events, chains, strict=True):
            event.chain = chain_hex

    def _add_line(self, lines: bytearray, event: Event, now: float, chain: bytes) -> tuple[bytes, str]:
        """The chain value of the event's line, which is behind `lines` now; and the same in hex."""
        if not event.id:
            event.id = self._ids.new()
        event.time = self._stamp(now)
        event.node = self._node
        event.worker = self.worker
        event.chain = ""
        buffer = self._buffer
        self._encode(event, buffer)
        if len(buffer) > MAX_LINE_OCTETS:
            self._encode(_cut(event, len(buffer)), buffer)
        del buffer[-1:]  # the closing brace
        chain = link(chain, buffer)
        lines += buffer
        chain_hex = chain.hex()
        lines += MARK + chain_hex.encode() + END
        return chain, chain_hex

    def _encode(self, event: Event, buffer: bytearray) -> None:
        try:
            self._encoder.encode_into(event, buffer)
        except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
            # A text with octets that are no text, a value that JSON has no word for: better recorded as it can be
            # than not at all.
            self._encoder.encode_into(_cleaned(event), buffer)

    def _write(self, lines: bytearray, events: int) -> None:
        try:
            written = os.write(self._descriptor, lines)
            while written < len(lines):  # the disk is nearly full: the rest says whether it is
                written += os.write(self._descriptor, lines[written:])
        except OSError as error:
            self._undo()
            self._refuse(_cannot(error, self._path), events, error)
        self._octets += len(lines)

    def _undo(self) -> None:
        """No half line stays."""
        try:
            if os.fstat(self._descriptor).st_size > self._octets:
                os.ftruncate(self._descriptor, self._octets)
        except OSError:
            self._must_open = True  # opening mends it, or fails and nothing is accepted

    def _refuse(self, why: str, events: int, error: OSError | None = None) -> None:
        self._refused += events
        self._refusal = why
        raise RecordError(why) from error

    def _tell_refused(self) -> None:
        """The gap is on the record itself."""
        count, why = self._refused, self._refusal
        self._refused = 0
        try:
            self._alert("the record could not be written", events_lost=count, reason=why)
        except RecordError:
            self._refused += count

    def _alert(self, what: str, **details: object) -> None:
        self._append((Event("alert", details={"what": what, **details}),), self._clock.unix())

    def _stamp(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{int((now - second) * 1_000_000):06d}Z"

    # --- files ---------------------------------------------------------------------------------------------------

    def _open(self, day: int) -> None:
        try:
            file = open_file(self._folder, day_of(day * DAY_SECONDS), self._node, self.worker)
        except OSError as error:
            raise RecordError(_cannot(error, self._folder)) from error
        except CannotRead as error:
            raise RecordError(f"the record cannot be opened: {error}") from error
        self._day = day
        self._descriptor, self._path = file.descriptor, file.path
        self._octets, self._chain = file.octets, file.chain
        self._must_open = False
        try:
            self._begin(file)
        except BaseException:
            self._must_open = True
            raise

    def _begin(self, file: Opened) -> None:
        """The first lines after opening: what this file follows, and what was found torn."""
        if file.is_new:
            details: dict[str, Any] = {"what": "record opened", "follows": file.follows, "previous": file.chain.hex()}
            self._append((Event("server", details=details),), self._clock.unix())
        for torn in file.torn:
            self._alert(
                "an unfinished line of the record was set aside",
                file=str(torn.file.relative_to(self._folder)),
                at=torn.at,
                octets=torn.octets,
                aside=str(torn.aside.relative_to(self._folder)),
            )

    def _reopen(self, day: int) -> None:
        was = self._descriptor
        try:
            self._open(day)
        except RecordError as error:
            self._refused += 1
            self._refusal = str(error)
            raise
        finally:
            if self._descriptor != was:
                self._done.append(was)

    # --- syncing -------------------------------------------------------------------------------------------------

    def _keep_synced(self, seconds: float) -> None:
        """The thread: soon after a line was written, it is on the disk."""
        while not self._closing.is_set():
            self._dirty.wait()
            if self._closing.wait(seconds):
                return
            try:
                self._sync_all()
            except OSError as error:
                self._unsynced = f"{_cannot(error, self._path)}; the last lines may be lost"
            else:
                self._unsynced = ""

    def _sync_all(self) -> None:
        """Raises OSError, and is due again then."""
        with self._lock:
            self._is_dirty = False
            self._dirty.clear()
            done, self._done = self._done, []
            current = self._descriptor
        try:
            while done:
                os.fdatasync(done[-1])
                os.close(done.pop())
            self._faults("record.sync")
            os.fdatasync(current)
            if os.fstat(current).st_nlink == 0:
                self._must_open = True  # somebody removed the file: what is written to it now nobody finds
        except OSError:
            with self._lock:
                self._done += done
                self._is_dirty = True
                self._dirty.set()
            raise


def _cannot(error: OSError, path: Path) -> str:
    where = error.filename or path
    return f"the record cannot be written: {where}: {error.strerror}; make room or mend it, mail is refused until then"


def _cleaned(event: Event) -> dict[str, Any]:
    """`event` as JSON can have it, whatever is in it: octets that are no text are shown as \\xNN."""
    found = _plain(event)
    assert isinstance(found, dict)
    return found


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > 20:
        return "..."
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: _plain(field, depth + 1) for name, field in fields.items() if field not in ("", None, [], {}, ())}
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth + 1) for each in value]
    return _plain(str(value))


def _cut(event: Event, octets: int) -> Event:
    """What stays of an event that is over `MAX_LINE_OCTETS`; it says so."""
    few = KEPT_OF_TOO_LONG
    return msgspec.structs.replace(
        event,
        helo=event.helo[:1000],
        login=event.login[:1000],
        sender=event.sender and event.sender[:1000],
        reply=event.reply[:2000],
        recipients=tuple(each[:1000] for each in event.recipients[:few]),
        verdicts=[],
        dialogue=[each[:1000] for each in event.dialogue[:few]],
        details={"what": "an event that was too long", "octets": octets, "details": str(event.details)[:4000]},
    )
