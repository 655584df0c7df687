"""How an attempt ends for one recipient: settled, tried again and when, given up; and what its sender is told.

Pure. Not here: doing it (`delivery.settling`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from gatepost.delivery.notices import is_wanted
from gatepost.delivery.outcome import Outcome
from gatepost.delivery.schedule import Schedule, is_delay_told, next_attempt
from gatepost.mail.dsn import Action, RecipientReport
from gatepost.spool.model import Entry, Settlement, State

EXPIRED: Final = "4.4.7"  # RFC 3463 §3.5: delivery time expired
MAX_REPLY_CHARACTERS: Final = 1000  # of a reply that is kept with the recipient


class Ending(msgspec.Struct, frozen=True):
    """One recipient's settlement, and the report that its sender should have of it."""

    settlement: Settlement
    report: RecipientReport | None = None


def end(entry: Entry, outcome: Outcome, now: datetime, schedule: Schedule, skipped: float = 0.0) -> Ending:
    """What `outcome` leads to at `now`. skipped: seconds of the entry's age that did not pass, since the clock was set.

    A deferral that comes at the end of the lifetime gives the message up, with `outcome.expired` or 4.4.7 as its
    status. One that comes after `schedule.delay_notice` is told to the sender once.
    """
    match outcome.verdict:
        case "held":
            return Ending(_settlement(entry, outcome, State.HELD))
        case "delivered":
            report = _report(entry, outcome, outcome.success, "2.0.0") if outcome.success else None
            return Ending(_settlement(entry, outcome, State.DONE), report)
        case "failed":
            status = _status(outcome, "5")
            return Ending(_settlement(entry, outcome, State.BOUNCED), _report(entry, outcome, "failed", status))
        case "deferred":
            return _deferred(entry, outcome, now, schedule, skipped)
        case "postponed" if now < _queued_at(entry, skipped) + schedule.lifetime:
            return Ending(_settlement(entry, outcome, State.DUE, outcome.not_before))
        case "postponed":
            return _deferred(entry, outcome, now, schedule, skipped)


def without_notice(ending: Ending, due: float) -> Ending:
    """The ending of a recipient whose notice cannot be written: no bounce goes untold, it is made again at `due`;
    a delay is told later, a success not at all."""
    if ending.report is None:
        return ending
    settlement = ending.settlement
    if settlement.state is State.BOUNCED:
        settlement = msgspec.structs.replace(settlement, state=State.DUE, due=due)
    elif settlement.state is State.DEFERRED:
        settlement = msgspec.structs.replace(settlement, delay_told=False)
    return Ending(settlement)


def without_entries(ending: Ending, outcome: Outcome, due: float) -> Ending:
    """The ending when nothing new can be added to the spool: what new entries carry on is expanded again at `due`."""
    if outcome.is_expanded:
        return Ending(msgspec.structs.replace(ending.settlement, state=State.DUE, due=due))
    return without_notice(ending, due)


def _queued_at(entry: Entry, skipped: float) -> datetime:
    """By the clock as it is set now."""
    return datetime.fromtimestamp(entry.received_at + skipped, UTC)


def _deferred(entry: Entry, outcome: Outcome, now: datetime, schedule: Schedule, skipped: float) -> Ending:
    queued_at = _queued_at(entry, skipped)
    again = next_attempt(now, queued_at, outcome.recipient.attempts + 1, schedule)
    if again is None:
        status = outcome.expired or EXPIRED
        return Ending(_settlement(entry, outcome, State.BOUNCED), _report(entry, outcome, "failed", status))
    report = None
    if not outcome.recipient.delay_told and is_delay_told(now, queued_at, schedule):
        report = _report(entry, outcome, "delayed", _status(outcome, "4"), queued_at + schedule.lifetime)
    due = max(again.timestamp(), outcome.not_before)
    return Ending(_settlement(entry, outcome, State.DEFERRED, due, told=report is not None), report)


def _settlement(entry: Entry, outcome: Outcome, state: State, due: float = 0.0, *, told: bool = False) -> Settlement:
    recipient = outcome.recipient
    return Settlement(
        entry.id, recipient.number, state, due, said(outcome), outcome.remote, told or recipient.delay_told
    )


def _report(
    entry: Entry, outcome: Outcome, action: Action, status: str, retry_until: datetime | None = None
) -> RecipientReport | None:
    recipient = outcome.recipient.recipient
    if not is_wanted(entry, recipient, action):
        return None
    diagnostic = said(outcome) if action in ("failed", "delayed") or outcome.remote else ""
    return RecipientReport(recipient.path, action, status, recipient.orcpt, outcome.remote, diagnostic, retry_until)


def _status(outcome: Outcome, wanted_class: str) -> str:
    """The enhanced code of the reply, where it fits what we make of it (RFC 3463 §2)."""
    esc = outcome.reply.esc
    return esc if esc.startswith(f"{wanted_class}.") else f"{wanted_class}.0.0"


def said(outcome: Outcome) -> str:
    """The reply as it is kept."""
    return str(outcome.reply)[:MAX_REPLY_CHARACTERS]
