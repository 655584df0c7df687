"""The server's own log: standard error, one line an event, for the journal or a terminal. Not here: the record.

2026-11-24T10:00:00Z error: spool entry set aside (entry 01M86F..., reason "the envelope cannot be read")
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

# What the journal reads at the beginning of a line and keeps as its priority (sd-daemon(3)).
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
TOLD_FIRST: Final = ("problem", "error")  # these say what happened; the others name what it is about


class Lines:
    """Makes an event a line; a processor of structlog, the last one.

    in_journal: the journal adds the time and wants the priority. A traceback follows in lines of its own, without the
    values of variables: passwords are among them.
    """

    def __init__(self, *, in_journal: bool) -> None:
        self._in_journal = in_journal

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        told = [event.pop("event", ""), *(event.pop(name) for name in TOLD_FIRST if name in event)]
        exception = _traceback(event.pop("exc_info", None))
        text = ": ".join(str(part) for part in told if part)
        about = ", ".join(f"{name} {_value(value)}" for name, value in event.items() if value not in (None, ""))
        first, *rest = f"{text} ({about})".splitlines() if about else text.splitlines() or [""]
        return "\n".join(
            self._begun(method, line) for line in [first, *(f"    {line}" for line in [*rest, *exception])]
        )

    def _begun(self, level: str, text: str) -> str:
        text = shown(text)
        if self._in_journal:
            return f"<{PRIORITIES.get(level, 6)}>{text}"
        if text.startswith(" "):
            return text
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {level}: {text}"


class _Formatter(logging.Formatter):
    """What libraries tell the standard library's logging, in the same form."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        event = {"event": record.getMessage(), "exc_info": record.exc_info, "by": record.name}
        return self._lines(None, record.levelname.lower(), event)


def to_standard_error() -> None:
    """From now on structlog and the standard library's logging write there."""
    lines = Lines(in_journal="JOURNAL_STREAM" in os.environ)
    structlog.configure(
        processors=[lines],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(lines))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def shown(text: str) -> str:
    """`text` with whatever could end a line or move a terminal's cursor as an escape: peers wrote some of it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _value(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text


def _traceback(found: Any) -> list[str]:
    if found is True:
        found = sys.exc_info()
    if isinstance(found, BaseException):
        found = (type(found), found, found.__traceback__)
    if not isinstance(found, tuple) or found[0] is None:
        return []
    return [line for part in traceback.format_exception(*found) for line in part.splitlines()]
