"""What an attempt ended in, as values: one outcome for each recipient, and what the record says of the whole.

Made by `delivery.local` and `delivery.remote`, turned into settlements, notices and an event by `delivery.settling`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import structlog

from gatepost.mail.reply import Reply
from gatepost.spool.model import Entry, EntryRecipient, NewEntry
from gatepost.spool.port import Content

log = structlog.get_logger("gatepost.delivery")

Verdict = Literal["delivered", "deferred", "failed", "held", "postponed"]
Success = Literal["", "delivered", "relayed", "expanded"]


class Outcome(msgspec.Struct, frozen=True):
    """What became of one recipient. "postponed": nothing was tried, and it is due again at `not_before`.

    remote: the name of the host that gave the reply, "" when it is ours. success: which success notice is due when one
    is wanted, "" when somebody after us will send it. expired: the status of the notice when this deferral turns out
    to be the last ("5.2.2"), "" for the usual one. not_before: for "deferred", unix time before which no attempt makes
    sense. at: the stage that the reply belongs to ("connect", "rcpt", ...). is_expanded: the recipient is carried on by
    new entries of the attempt.
    """

    recipient: EntryRecipient
    verdict: Verdict
    reply: Reply
    remote: str = ""
    success: Success = ""
    expired: str = ""
    not_before: float = 0.0
    at: str = ""
    is_expanded: bool = False


class Attempt(msgspec.Struct, frozen=True):
    """One attempt for some recipients of one entry. new: entries that it made, to be added in the same commit.
    details: for the record (hop, TLS, what was tried before)."""

    outcomes: tuple[Outcome, ...]
    took_ms: int = 0
    new: tuple[tuple[NewEntry, Content], ...] = ()
    details: dict[str, Any] = {}


Ended = tuple[Entry, Attempt]
"""An attempt that has come to its end, and the entry that it was for."""


def broken_inside(entry: Entry, recipient: EntryRecipient, error: Exception) -> Outcome:
    """What becomes of a recipient for whom we have a defect: the message waits, all others go on."""
    log.error("an attempt failed inside", entry=entry.id, destination=recipient.destination, exc_info=error)
    return Outcome(recipient, "deferred", Reply(451, "4.3.0", f"internal error: {type(error).__name__}"))
