"""Freezes what waits of one account, and lets it go, in whichever spool it lies; blocking, so called in a thread."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gatepost.mail.network import prefix_of
from gatepost.spool.model import Entry, Hold, State
from gatepost.store.sqlite.spool_change import Ask, change_entry
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

MOST: Final = 10_000  # messages of one account that wait; far more than its limits let be held
ALL: Final = 1_000_000  # of the whole queue, where an account's own must be found among them
_WAITING: Final = State.DUE, State.LEASED, State.DEFERRED


def release_held(data: Path, account: str, network: str, check: str, now: float, ask: Ask) -> list[str]:
    """The IDs of the entries that were released: submitted by `account` from `network` (as `prefix_of` writes it; ""
    for wherever it was), and held by the check of that name.

    What a person holds stays held. Raises SpoolError.
    """
    entries = SqliteSpoolReader(data).list(states=(State.HELD,), limit=MOST)
    mine = [entry.id for entry in entries if entry.login == account and _is_held_by(entry, check)
            and (not network or (entry.client and prefix_of(entry.client) == network))]  # fmt: skip
    return [entry_id for entry_id in mine if change_entry(data, entry_id, "release", now, ask)]


def freeze(data: Path, account: str, now: float, ask: Ask) -> list[str]:
    """The IDs of the entries that `account` submitted and that are frozen now, as it is held; an attempt that runs ends
    first. What a person or a check holds already stays theirs. Raises SpoolError."""
    entries = SqliteSpoolReader(data).list(states=_WAITING, limit=ALL)
    mine = [entry.id for entry in entries if entry.login == account]
    return [entry_id for entry_id in mine if change_entry(data, entry_id, "account-hold", now, ask)]


def thaw(data: Path, account: str, now: float, ask: Ask) -> list[str]:
    """The IDs of the entries that `freeze` froze and nothing else holds: they are due now. Raises SpoolError."""
    thawed = []
    for entry in SqliteSpoolReader(data).list(states=(State.HELD, State.LEASED), limit=ALL):
        is_frozen = any(item.held_by is Hold.ACCOUNT for item in entry.recipients)
        # What is leased may be about to be frozen; that is taken back.
        if entry.login == account and (is_frozen or any(item.state is State.LEASED for item in entry.recipients)):
            was_there = change_entry(data, entry.id, "account-release", now, ask)
            thawed += [entry.id] if is_frozen and was_there else []
    return thawed


def _is_held_by(entry: Entry, check: str) -> bool:
    return any(item.held_by is Hold.CHECK and item.hold_reason.startswith(f"{check}: ") for item in entry.recipients)
