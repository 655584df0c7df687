"""The server's own log: standard error, one line an event, for the journal or a terminal. Not here: the record."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def to_standard_error() -> None:
    """From now on structlog and the standard library's logging write there. A line has a time where nobody adds one."""
    is_journal = "JOURNAL_STREAM" in os.environ
    stamp = [] if is_journal else [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    is_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *stamp,
            structlog.processors.ExceptionRenderer() if not is_terminal else structlog.processors.StackInfoRenderer(),
            structlog.dev.ConsoleRenderer(colors=True)
            if is_terminal
            else structlog.processors.LogfmtRenderer(
                key_order=["timestamp", "level", "event"], drop_missing=True, bool_as_flag=False
            ),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
