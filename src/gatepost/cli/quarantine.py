"""`gatepost quarantine`: the messages that a check kept back, what it said, and what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gatepost.cli import output
from gatepost.cli.entries import Content, Id, change, entry_of, first, print_content, summary
from gatepost.cli.errors import CommandError
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.session import configuration, data_folder

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.spool.model import Entry

app = noun("Quarantine: messages that a check kept back, why, and what to do about them.")

MOST: Final = 1_000_000
MOST_EVENTS: Final = 10_000
SHOWN_HEADER_OCTETS: Final = 64 * 1024


@app.command("list")
def list_entries(
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST, help="At most so many, the oldest.")] = 1000,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The messages in quarantine, oldest first."""
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    reader = SqliteSpoolReader(data_folder(configuration()).root)
    held = reader.list(states=("held",), limit=MOST)
    rows = [_row(entry) for entry in held if _quarantined(entry)][:limit]
    if not given.as_json:
        rows = [{**row, "recipients": first(row["recipients"])} for row in rows]
    columns = ("id", "received", "octets", "sender", "recipients", "check", "reason")
    output.rows(rows, columns, "Nothing is in quarantine.")


@app.command("show")
def show(entry_id: Id, content: Content = False, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One message: its envelope, what each check said, and its header section."""
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    settings = configuration()
    folder = data_folder(settings)
    reader = SqliteSpoolReader(folder.root, settings.spool.keys)
    entry = _entry_in_quarantine(reader, entry_id)
    if content:
        print_content(reader, entry.id)
        return
    event = _event(folder.audit, entry.id)
    header = _header(reader.content(entry.id) or b"")
    details = {**_row(entry), "client": entry.client, "login": entry.login}
    verdicts = event.get("verdicts", []) if event else []
    output.thing({**details, "verdicts": verdicts, "header": header}, _as_text(details, event, header))


@app.command("release")
def release(entry_id: Id, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Let a message out of quarantine: it is delivered now. The record keeps who did it."""
    _change("quarantine-release", "quarantine release", entry_id, "leaves the quarantine and is delivered now")


@app.command("drop")
def drop(entry_id: Id, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove a message from quarantine and tell nobody. The record keeps who did it."""
    _change("quarantine-drop", "quarantine drop", entry_id, "is removed")


def _change(action: str, act: str, entry_id: str, what: str) -> None:
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    settings = configuration()
    folder = data_folder(settings)
    entry = _entry_in_quarantine(SqliteSpoolReader(folder.root), entry_id)
    change(settings, folder.root, entry, action, act, what)


def _entry_in_quarantine(reader: Any, entry_id: str) -> Entry:
    entry = entry_of(reader, entry_id)
    if not _quarantined(entry):
        raise CommandError(
            f'{entry.id} waits and is not in quarantine; "gatepost queue show {entry.id}" tells for what it waits'
        )
    return entry


def _quarantined(entry: Entry) -> list[Any]:
    """The recipients of an entry that are."""
    from gatepost.spool.model import Hold

    return [item for item in entry.recipients if item.held_by is Hold.QUARANTINE]


def _row(entry: Entry) -> dict[str, Any]:
    items = _quarantined(entry)
    check, _, reason = items[0].hold_reason.partition(": ")
    row = {name: value for name, value in summary(entry).items() if name in ("id", "received", "octets", "sender")}
    return {**row, "recipients": [str(item.recipient.path) for item in items], "check": check, "reason": reason}


def _event(audit: Path, entry_id: str) -> dict[str, Any] | None:
    """What the record has about how the message came in; None when it has it no more."""
    from gatepost.audit.criteria import Criteria
    from gatepost.audit.files import CannotRead
    from gatepost.audit.search import latest

    try:
        events = latest(audit, Criteria(id=entry_id, kind="smtp.message"), MOST_EVENTS)
    except CannotRead as error:
        raise CommandError(str(error)) from error
    return next((event for event in events if event.get("id") == entry_id), None)


def _header(octets: bytes) -> str:
    """The header section as text, cut where it is endless."""
    from gatepost.mail.header import section_end

    end = section_end(octets)
    octets = octets if end < 0 else octets[:end]
    more = len(octets) > SHOWN_HEADER_OCTETS
    text = octets[:SHOWN_HEADER_OCTETS].decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n")
    return text + ("\n..." if more else "")


def _as_text(details: dict[str, Any], event: dict[str, Any] | None, header: str) -> str:
    from gatepost.audit.timeline import verdict_lines

    lines = []
    for name, value in details.items():
        if value:
            lines.append(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    lines.append("")
    if event is None:
        lines.append("What the checks said is not on the record any more.")
    else:
        lines += ["What the checks said:", *(f"  {line}" for line in verdict_lines(event))]
    lines += ["", "Its header section:", *(f"  {output.printable(line)}" for line in header.split("\n"))]
    return "\n".join(lines)
