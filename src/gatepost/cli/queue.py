"""`gatepost queue`: the messages that wait, why, and what to do about them."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.moments import shown_time
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.record import recording
from gatepost.cli.session import configuration, data_folder

if TYPE_CHECKING:
    from gatepost.config.model import Config
    from gatepost.spool.model import Entry

app = noun("Queue: the messages that wait, why they wait, and what to do about them.")

Id = Annotated[str, typer.Argument(metavar="ID", help='Of the message; it stands in the reply and in "queue list".')]
MOST = 1_000_000
SHOWN_RECIPIENTS = 3


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
    columns = ("id", "received", "octets", "sender", "recipients", "waits", "reply")
    rows = [_summary(entry) for entry in entries]
    if not given.as_json:
        rows = [{**row, "recipients": _first(row["recipients"])} for row in rows]
    output.rows(rows, columns, "Nothing waits.")
    if damaged := reader.damaged():
        output.note(f"{len(damaged)} messages could not be read and were set aside in {folder.root / 'spool'}: "
                    f"{', '.join(entry.id for entry in damaged[:5])}")  # fmt: skip


@app.command("show")
def show(
    entry_id: Id,
    content: Annotated[bool, typer.Option("--content", help="Print the message itself, octet for octet.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One message: its envelope, and how each recipient stands."""
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    reader = SqliteSpoolReader(data_folder(configuration()).root)
    if content:
        octets = reader.content(_id(entry_id))
        if octets is None:
            raise _unknown(entry_id)
        sys.stdout.flush()
        sys.stdout.buffer.write(octets)
        return
    entry = reader.show(_id(entry_id))
    if entry is None:
        raise _unknown(entry_id)
    recipients = [_recipient(item) for item in entry.recipients]
    details = {**_summary(entry), "login": entry.login, "client": entry.client, "spool": entry.spool}
    lines = [f"{name}: {value}" for name, value in details.items() if name not in ("recipients", "waits") and value]
    for item in recipients:
        lines.append(
            f"  {item['recipient']}: {item['state']}, {item['attempts']} attempts, next {item['due'] or 'never'}"
        )
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
        found = [entry.id for entry in entries if _changed(folder.root, entry.id, "retry")]
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
    entry_id = _id(entry_id)
    entry = SqliteSpoolReader(folder.root).show(entry_id)
    if entry is None:
        raise _unknown(entry_id)
    with _recorded(settings, action, entry):
        if not _changed(folder.root, entry_id, action):
            raise _unknown(entry_id)
    output.done(f"{entry_id} {what}.", id=entry_id, action=action)


def _recorded(settings: Config, action: str, entry: Entry) -> Any:
    addresses = [str(item.recipient.path) for item in entry.recipients]
    return recording(settings, f"queue {action}", message=entry.id, sender=str(entry.envelope.reverse_path) or "<>",
                     recipients=addresses[:100])  # fmt: skip


def _changed(root: Any, entry_id: str, action: str) -> bool:
    """Whether the entry was there; the worker that holds it does it, or this process where nobody holds it."""
    import time

    from gatepost.net.control import ask
    from gatepost.store.sqlite.spool_change import change_entry

    return change_entry(root, entry_id, action, time.time(), ask)


def _first(recipients: list[str]) -> list[str]:
    """A list of thousands is one line all the same."""
    return recipients if len(recipients) <= SHOWN_RECIPIENTS else [
        *recipients[:SHOWN_RECIPIENTS], f"and {len(recipients) - SHOWN_RECIPIENTS} more"
    ]  # fmt: skip


def _id(text: str) -> str:
    from gatepost.mail.ids import is_id

    text = text.strip().upper()
    if not is_id(text):
        raise CommandError(f'{text!r} is not the ID of a message; "gatepost queue list" shows those that wait', USAGE)
    return text


def _unknown(entry_id: str) -> CommandError:
    return CommandError(
        f'{entry_id} does not wait here (any more); "gatepost audit show {entry_id}" tells what became of it'
    )


def _known_state(text: str) -> str:
    from gatepost.spool.model import SETTLED, State

    waiting = [state.value for state in State if state not in SETTLED]
    if text not in waiting:
        raise CommandError(f"--state: {text!r} is no state of what waits; write one of {', '.join(waiting)}", USAGE)
    return text


def _summary(entry: Entry) -> dict[str, Any]:
    states = Counter(str(item.state) for item in entry.recipients)
    replies = [item.reply for item in entry.recipients if item.reply]
    return {
        "id": entry.id,
        "received": shown_time(entry.received_at),
        "octets": entry.octets,
        "sender": str(entry.envelope.reverse_path) or "<>",
        "recipients": [str(item.recipient.path) for item in entry.recipients],
        "waits": ", ".join(f"{count} {state}" for state, count in states.items()),
        "reply": replies[0] if replies else None,
    }


def _recipient(item: Any) -> dict[str, Any]:
    return {
        "recipient": str(item.recipient.path),
        "destination": item.destination,
        "state": str(item.state),
        "attempts": item.attempts,
        "due": shown_time(item.due) if item.due else None,
        "reply": item.reply,
        "remote": item.remote,
    }
