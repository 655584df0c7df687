"""What the record says of delivery: each attempt, each entry that delivery made itself, mail that was kept aside.

Not here: when that is written (`delivery.settling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gatepost.audit.event import Event
from gatepost.delivery.ending import MAX_REPLY_CHARACTERS, Ending
from gatepost.delivery.outcome import Attempt, Outcome
from gatepost.spool.model import Entry, NewEntry, State

ASIDE: Final = "mail for a role address is kept aside"
"""How the alert begins that says so; a message about it would be kept aside too."""


def attempt_event(entry: Entry, attempt: Attempt, endings: Sequence[Ending], made: Sequence[str]) -> Event:
    """The record of one attempt. made: IDs of new entries."""
    results = []
    for outcome, ending in zip(attempt.outcomes, endings, strict=True):
        result = _result(outcome, _verdict_of(ending.settlement.state), failures=outcome.recipient.attempts)
        if ending.settlement.state is State.DEFERRED:
            result["next"] = _time(ending.settlement.due)
        if ending.report is not None:
            result["notice"] = ending.report.action
        results.append(result)
    return _event(entry, attempt, results, made)


def passed_on_event(entry: Entry, attempt: Attempt, made: Sequence[str]) -> Event:
    """The record of an attempt that was made before the message was accepted: nothing is tried again or told."""
    results = [_result(outcome, outcome.verdict) for outcome in attempt.outcomes]
    return _event(entry, attempt, results, made, cut_through=True)


def _result(outcome: Outcome, verdict: str, **more: Any) -> dict[str, Any]:
    """What became of one recipient."""
    result = {
        "recipient": str(outcome.recipient.recipient.path),
        "verdict": verdict,
        "reply": str(outcome.reply)[:MAX_REPLY_CHARACTERS],
        **more,
    }
    return {**result, "at": outcome.at} if outcome.at else result


def _event(entry: Entry, attempt: Attempt, results: list[dict[str, Any]], made: Sequence[str], **more: Any) -> Event:
    details = {**attempt.details, **more, "results": results}
    dialogue = details.pop("dialogue", [])
    if made:
        details["made"] = list(made)
    verdicts = {outcome.verdict for outcome in attempt.outcomes}
    details["verdict"] = results[0]["verdict"] if len(verdicts) == 1 else "mixed"
    return Event(
        kind="delivery.attempt",
        message=entry.id,
        login=entry.login,
        sender=str(entry.envelope.reverse_path),
        recipients=tuple([result["recipient"] for result in results]),
        octets=entry.octets,
        dialogue=dialogue,
        reply=results[0]["reply"],
        took_ms=attempt.took_ms,
        details=details,
    )


def made_event(parent: Entry, new: NewEntry, why: str) -> Event:
    """The record of an entry that delivery itself made. why: "notice" or "expansion"."""
    return Event(
        kind="smtp.message",
        id=new.id,
        message=parent.id,
        service="delivery",
        login=new.login,
        sender=str(new.envelope.reverse_path),
        recipients=tuple(str(recipient.path) for recipient in new.envelope.recipients[:100]),
        octets=new.octets,
        details={"why": why, "from": parent.id, "recipients": len(new.envelope.recipients)},
    )


def alert_event(new: NewEntry, alerts: Sequence[str]) -> Event:
    """The record of a message that tells the postmaster of alerts, by their IDs."""
    return Event(
        kind="smtp.message",
        id=new.id,
        service="delivery",
        sender=str(new.envelope.reverse_path),
        recipients=tuple(str(recipient.path) for recipient in new.envelope.recipients),
        octets=new.octets,
        details={"why": "alert", "alerts": list(alerts)},
    )


_VERDICTS: Final = {State.DONE: "delivered", State.BOUNCED: "failed", State.DEFERRED: "deferred", State.HELD: "held"}


def _verdict_of(state: State) -> str:
    return _VERDICTS.get(state) or state.value


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def aside_event(entry: Entry, hostname: str) -> Event:
    """Mail for postmaster or another role address lies in a maildrop that nobody reads."""
    return Event(
        kind="alert",
        message=entry.id,
        details={
            "what": f"{ASIDE}, in the maildrop of postmaster@{hostname}",
            "do": 'set `postmaster = "ADDRESS"` in the configuration, so that somebody gets it',
        },
    )
