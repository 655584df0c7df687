"""Events: the one record of what happened, as values. Metrics, commands and pages are readers of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

Kind = Literal[
    "smtp.session",
    "smtp.message",
    "delivery.attempt",
    "pop3.session",
    "auth",
    "grant",
    "ban",
    "admin",
    "alert",
    "server",
]


class EventClient(msgspec.Struct, omit_defaults=True):
    """The peer of a session, as it was known at its end."""

    ip: str
    port: int = 0
    ptr: str = ""
    tls: str = ""
    cipher: str = ""


class Event(msgspec.Struct, omit_defaults=True):
    """One line of the record.

    id: as quoted in the reply; the entry's ID for `smtp.message`. message: the entry that a `delivery.attempt` is
    about. session: of the session that it happened in. details: what only this kind of event has. verdicts: each
    with check, mode, verdict, reason and facts (`policy.verdict.Evaluated`, `recipient` beside it where one is
    concerned). time, node, worker and chain are filled in by the writer.
    """

    kind: Kind
    id: str = ""
    time: str = ""
    node: str = ""
    worker: int = -1  # the writer fills it in; 0 is a worker too, and is written
    session: str = ""
    message: str = ""
    service: str = ""
    client: EventClient | None = None
    helo: str = ""
    login: str = ""
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    octets: int | None = None
    verdicts: list[Any] = []
    dialogue: list[str] = []
    reply: str = ""
    took_ms: int | None = None
    details: dict[str, Any] = {}
    chain: str = ""


class RecordError(Exception):
    """The record cannot be written: nothing may be accepted (421 4.3.0). The message names file and cause."""


class Recorder(Protocol):
    """Writes events."""

    def record(self, event: Event) -> None:
        """The event is handed to the operating system when this returns (synced soon after). Fills in id (when
        empty), time, node, worker and chain. Raises RecordError."""
        ...


class BatchRecorder(Recorder, Protocol):
    """Writes many events in one go, for whoever has many at a time."""

    def record_all(self, events: Sequence[Event]) -> None:
        """The same for `events`, in order. Raises RecordError: none of them is recorded."""
        ...
