"""Lets go what is held of one account, in whichever spool it lies; blocking, so it is called in a thread."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gatepost.mail.network import prefix_of
from gatepost.spool.model import Entry, Hold, State
from gatepost.store.sqlite.spool_change import Ask, change_entry
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

MOST: Final = 10_000  # messages of one account that wait; far more than its limits let be held


def release_held(data: Path, account: str, network: str, check: str, now: float, ask: Ask) -> list[str]:
    """The IDs of the entries that were released: submitted by `account` from `network` (as `prefix_of` writes it; ""
    for wherever it was), and held by the check of that name.

    What a person holds stays held. Raises SpoolError.
    """
    entries = SqliteSpoolReader(data).list(states=(State.HELD,), limit=MOST)
    mine = [entry.id for entry in entries if entry.login == account and _is_held_by(entry, check)
            and (not network or (entry.client and prefix_of(entry.client) == network))]  # fmt: skip
    return [entry_id for entry_id in mine if change_entry(data, entry_id, "release", now, ask)]


def _is_held_by(entry: Entry, check: str) -> bool:
    return any(item.held_by is Hold.CHECK and item.hold_reason.startswith(f"{check}: ") for item in entry.recipients)
