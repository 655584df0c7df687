"""The report as tables with headings, the same for the terminal and the page: what stands where, in words.

Not here: how a table is drawn (`report_text`, `report_html`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from gatepost.audit.report_rows import Report
from gatepost.mail.units import show_duration, show_size

Cell = str | int | list[int]
"""Text, a number, or the numbers of a plot."""
_Column = tuple[str, Callable[[Mapping[str, Any]], Cell]]


class Table(msgspec.Struct, frozen=True):
    """rows: as many cells each as there are heads. note: what to know about it, or to do."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def heading(report: Report) -> str:
    """What the report is about."""
    return f"{report.since[:16].replace('T', ' ')} to {report.until[:16].replace('T', ' ')} UTC, {report.events} events"


def overview(report: Report) -> list[tuple[str, int, list[int]]]:
    """The plots: name, sum, columns."""
    return [(name, sum(columns), columns) for name, columns in report.plots.items()]


def totals(report: Report) -> list[tuple[str, str]]:
    """The other sums, by name."""
    shown = [(name, str(number)) for name, number in report.totals.items() if name not in (*report.plots, "octets")]
    shown.append(("taken", show_size(report.totals.get("octets", 0))))
    if report.unread:
        shown.append(("lines that could not be read", f'{report.unread}; see "gatepost audit verify"'))
    return shown


def slot(report: Report) -> str:
    """How long a column of a plot is."""
    return show_duration(report.slot_seconds)


def tables(report: Report) -> Iterator[Table]:
    """Every table that has a row."""
    for title, columns, rows, note in (
        ("Alerts", _TOLD, report.alerts, ""),
        ("Bans", _TOLD, report.bans, '"gatepost ban list" shows those that hold now'),
        ("Clients", _CLIENTS, report.clients, ""),
        ("Refused most", _CLIENTS, report.refused, ""),
        ("Accounts", _ACCOUNTS, report.accounts, ""),
        ("Near their limits, now", _LIMITS, report.limits, '"gatepost account show" tells more'),
        ("Refusals by check", _CHECKS, report.checks, '"gatepost policy explain ID" tells why'),
        ("Failed logins, by client", _GUESSERS, report.guessers, ""),
        ("Failed logins, by account", _TARGETS, report.targets, ""),
        ("Unknown recipients, by client", _HARVESTERS, report.harvesters, ""),
        ("Attempts to relay", _RELAYS, report.relays, ""),
        ("Still depend on POP-before-SMTP", _GRANTS, report.grants, "these should log in over SMTP"),
        ("Acts of administrators", _TOLD, report.acts, ""),
    ):
        if rows:
            yield _table(title, columns, rows, note)


def _table(title: str, columns: Sequence[_Column], rows: Sequence[Mapping[str, Any]], note: str) -> Table:
    cells = tuple(tuple(show(row) for _, show in columns) for row in rows)
    return Table(title, tuple(head for head, _ in columns), cells, note)


def _field(name: str) -> Callable[[Mapping[str, Any]], Cell]:
    def show(row: Mapping[str, Any]) -> Cell:
        value = row.get(name)
        return value if isinstance(value, int | list) else str(value or "")

    return show


def _moment(name: str) -> Callable[[Mapping[str, Any]], Cell]:
    return lambda row: str(row.get(name, ""))[:19].replace("T", " ")


def _columns(*names: str) -> tuple[_Column, ...]:
    return tuple((name.replace("_", " "), _field(name)) for name in names)


_TOLD: Final[tuple[_Column, ...]] = (("time", _moment("time")), *_columns("what", "id"))
_CLIENTS: Final[tuple[_Column, ...]] = (
    *_columns("network", "sessions", "messages", "recipients", "refusals", "logins", "failed_logins"),
    ("last", _moment("last")),
)
_ACCOUNTS: Final[tuple[_Column, ...]] = (
    *_columns("account", "messages", "recipients"),
    ("octets", lambda row: show_size(int(row.get("octets", 0)))),
    *_columns("logins", "failed_logins"),
    ("addresses", _field("networks")),
    ("messages over time", _field("plot")),
)
_CHECKS: Final[tuple[_Column, ...]] = (
    *_columns("check", "rejected", "deferred", "other", "shadow"),
    ("over time", _field("plot")),
    ("last event", _field("event")),
)
_GUESSERS: Final[tuple[_Column, ...]] = (
    ("network", _field("network")), ("failures", _field("count")), ("different names", _field("names")),
    ("good logins", _field("others")), ("last", _moment("last")), ("last event", _field("event")),
)  # fmt: skip
_TARGETS: Final = _columns("account", "failed_logins", "logins")
_HARVESTERS: Final[tuple[_Column, ...]] = (
    ("network", _field("network")), ("unknown", _field("count")), ("different", _field("names")),
    ("known", _field("others")), ("last", _moment("last")), ("last event", _field("event")),
)  # fmt: skip
_RELAYS: Final[tuple[_Column, ...]] = (
    ("network", _field("network")), ("attempts", _field("count")), ("different", _field("names")),
    ("last", _moment("last")), ("last event", _field("event")),
)  # fmt: skip
_GRANTS: Final[tuple[_Column, ...]] = (*_columns("account", "network", "grants", "messages"), ("last", _moment("last")))
_LIMITS: Final = _columns("account", "limit", "left", "full_at")
