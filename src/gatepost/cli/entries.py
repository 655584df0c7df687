"""Spool entries at the command line: what `queue` and `quarantine` share, naming one, showing it, changing it."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.moments import shown_time
from gatepost.cli.record import recording

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.config.model import Config
    from gatepost.spool.model import Entry, EntryRecipient
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

SHOWN_RECIPIENTS: Final = 3

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the message; it stands in the reply and in the list.")]
Content = Annotated[bool, typer.Option("--content", help="Print the message itself, octet for octet.")]


def parse_id(text: str) -> str:
    """The ID that a person typed. Raises CommandError."""
    from gatepost.mail.ids import is_id

    text = text.strip().upper()
    if not is_id(text):
        raise CommandError(f'{text!r} is not the ID of a message; "gatepost queue list" shows those that wait', USAGE)
    return text


def entry_of(reader: SqliteSpoolReader, entry_id: str) -> Entry:
    """The entry that waits under that ID. Raises CommandError where there is none."""
    entry = reader.show(parse_id(entry_id))
    if entry is None:
        raise gone(entry_id)
    return entry


def gone(entry_id: str) -> CommandError:
    """The error where no such entry waits."""
    return CommandError(
        f'{entry_id} does not wait here (any more); "gatepost audit show {entry_id}" tells what became of it'
    )


def print_content(reader: SqliteSpoolReader, entry_id: str) -> None:
    """The message, octet for octet. Raises CommandError."""
    octets = reader.content(parse_id(entry_id))
    if octets is None:
        raise gone(entry_id)
    sys.stdout.flush()
    sys.stdout.buffer.write(octets)


def summary(entry: Entry) -> dict[str, Any]:
    """An entry in one row."""
    states = Counter(str(item.state) for item in entry.recipients)
    replies = [item.reply for item in entry.recipients if item.reply]
    held = [item for item in entry.recipients if item.held_by]
    return {
        "id": entry.id,
        "received": shown_time(entry.received_at),
        "octets": entry.octets,
        "sender": str(entry.envelope.reverse_path) or "<>",
        "recipients": [str(item.recipient.path) for item in entry.recipients],
        "waits": ", ".join(f"{count} {state}" for state, count in states.items()),
        "reply": replies[0] if replies else None,
        "held_by": held[0].held_by if held else None,
        "hold_reason": (held[0].hold_reason or None) if held else None,
    }


def why_held(item: EntryRecipient) -> str:
    """In words why a recipient is held, "" where it is not."""
    from gatepost.spool.model import Hold

    match item.held_by:
        case None:
            return ""
        case Hold.QUARANTINE:
            return f"in quarantine: {item.hold_reason}" if item.hold_reason else "in quarantine"
        case Hold.CHECK:
            return item.hold_reason
        case Hold.DELIVERY:
            return item.reply
        case Hold.ACCOUNT:
            return 'its account is held ("gatepost account show" tells why)'
        case Hold.PERSON:
            return "by a person" + (
                f", after: {item.hold_reason or item.reply}" if item.hold_reason or item.reply else ""
            )


def first(recipients: list[str]) -> list[str]:
    """Some of them: a list of thousands is one line all the same."""
    if len(recipients) <= SHOWN_RECIPIENTS:
        return recipients
    return [*recipients[:SHOWN_RECIPIENTS], f"and {len(recipients) - SHOWN_RECIPIENTS} more"]


def change(config: Config, root: Path, entry: Entry, action: str, act: str, what: str) -> None:
    """`action` on an entry, on the record as `act`. what: the words that follow its ID. Raises CommandError."""
    addresses = [str(item.recipient.path) for item in entry.recipients]
    sender = str(entry.envelope.reverse_path) or "<>"
    with recording(config, act, message=entry.id, sender=sender, recipients=addresses[:100]):
        if not changed(root, entry.id, action):
            raise gone(entry.id)
    output.done(f"{entry.id} {what}.", id=entry.id, action=action)


def changed(root: Path, entry_id: str, action: str) -> bool:
    """Whether the entry was there; the worker that holds it does it, or this process where nobody holds it."""
    import time

    from gatepost.net.control import ask
    from gatepost.store.sqlite.spool_change import change_entry

    return change_entry(root, entry_id, action, time.time(), ask)
