"""`gatepost queue`: the messages that wait, why, and what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.entries import Content, Id, change, changed, entry_of, first, print_content, summary, why_held
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.moments import shown_time
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.record import recording
from gatepost.cli.session import configuration, data_folder

if TYPE_CHECKING:
    from gatepost.spool.model import Entry, EntryRecipient

app = noun("Queue: the messages that wait, why they wait, and what to do about them.")

MOST = 1_000_000


@app.command("list")
def list_entries(
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Only those in it: due, leased, deferred or held; repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST, help="At most so many, the oldest.")] = 1000,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The messages that wait, oldest first."""
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    folder = data_folder(configuration())
    reader = SqliteSpoolReader(folder.root)
    states = [_known_state(text) for text in state or ()]
    entries = reader.list(states=states, limit=limit)
    columns = ("id", "received", "octets", "sender", "recipients", "waits", "why")
    rows = [summary(entry) for entry in entries]
    if not given.as_json:
        rows = [{**row, "recipients": first(row["recipients"]), "why": _why(entry)}
                for row, entry in zip(rows, entries, strict=True)]  # fmt: skip
    output.rows(rows, columns, "Nothing waits.")
    if damaged := reader.damaged():
        output.note(f"{len(damaged)} messages could not be read and were set aside in {folder.root / 'spool'}: "
                    f"{', '.join(entry.id for entry in damaged[:5])}")  # fmt: skip


@app.command("show")
def show(
    entry_id: Id,
    content: Content = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One message: its envelope, and how each recipient stands."""
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    settings = configuration()
    reader = SqliteSpoolReader(data_folder(settings).root, settings.spool.keys)
    if content:
        print_content(reader, entry_id)
        return
    entry = entry_of(reader, entry_id)
    recipients = [_recipient(item) for item in entry.recipients]
    details = {**summary(entry), "login": entry.login, "client": entry.client, "spool": entry.spool}
    below = ("recipients", "waits", "held_by", "hold_reason")
    lines = [f"{name}: {value}" for name, value in details.items() if name not in below and value]
    for item in recipients:
        lines.append(
            f"  {item['recipient']}: {item['state']}, {item['attempts']} attempts, next {item['due'] or 'never'}"
        )
        if item["why_held"]:
            lines.append(f"    {item['why_held']}")
        if item["reply"]:
            lines.append(f"    {item['remote']}: {item['reply']}" if item["remote"] else f"    {item['reply']}")
    output.thing({**details, "recipients": recipients}, "\n".join(lines))


@app.command("retry")
def retry(
    entry_id: Annotated[str, typer.Argument(metavar="[ID]", help="Of the message.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Try again now. What is held stays held."""
    if bool(entry_id) == everything:
        raise CommandError('say which: an ID of "gatepost queue list", or --all', USAGE)
    if entry_id:
        _change("retry", entry_id, "is tried again now")
        return
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    settings = configuration()
    folder = data_folder(settings)
    entries = SqliteSpoolReader(folder.root).list(states=("deferred",), limit=MOST)
    with recording(settings, "queue retry", entries=len(entries)):
        found = [entry.id for entry in entries if changed(folder.root, entry.id, "retry")]
    output.done(f"{len(found)} messages are tried again now.", ids=found)


@app.command("hold")
def hold(entry_id: Id, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Freeze a message: no attempt, no bounce, until it is released."""
    _change("hold", entry_id, "is held")


@app.command("release")
def release(entry_id: Id, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Let a held message go."""
    _change("release", entry_id, "goes on")


@app.command("bounce")
def bounce(entry_id: Id, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Give a message up: its sender is told that it was not delivered."""
    _change("bounce", entry_id, "is given up, and its sender told")


@app.command("drop")
def drop(entry_id: Id, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove a message and tell nobody. The record keeps who did it."""
    _change("drop", entry_id, "is removed")


def _change(action: str, entry_id: str, what: str) -> None:
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    settings = configuration()
    folder = data_folder(settings)
    entry = entry_of(SqliteSpoolReader(folder.root), entry_id)
    _refuse_what_is_quarantined(entry)
    if action == "retry" and all(item.held_by for item in entry.recipients):
        raise CommandError(f'{entry.id} is held; "gatepost queue release {entry.id}" lets it go')
    change(settings, folder.root, entry, action, f"queue {action}", what)


def _refuse_what_is_quarantined(entry: Entry) -> None:
    from gatepost.spool.model import Hold

    if any(item.held_by is Hold.QUARANTINE for item in entry.recipients):
        raise CommandError(
            f'{entry.id} is in quarantine; look at it with "gatepost quarantine show {entry.id}", then '
            f'"gatepost quarantine release {entry.id}" or "drop"'
        )


def _known_state(text: str) -> str:
    from gatepost.spool.model import SETTLED, State

    waiting = [state.value for state in State if state not in SETTLED]
    if text not in waiting:
        raise CommandError(f"--state: {text!r} is no state of what waits; write one of {', '.join(waiting)}", USAGE)
    return text


def _why(entry: Entry) -> str:
    """What it waits for: why it is held, else what was said last."""
    held = next(filter(None, map(why_held, entry.recipients)), "")
    return held or next((item.reply for item in entry.recipients if item.reply), "")


def _recipient(item: EntryRecipient) -> dict[str, Any]:
    return {
        "recipient": str(item.recipient.path),
        "destination": item.destination,
        "state": str(item.state),
        "attempts": item.attempts,
        "due": shown_time(item.due) if item.due and not item.held_by else None,
        "held_by": item.held_by,
        "hold_reason": item.hold_reason or None,
        "why_held": why_held(item) or None,
        "reply": item.reply,
        "remote": item.remote,
    }
