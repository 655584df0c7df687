"""`recipient.quota`: a full maildrop is told to the sender at once, and not by a bounce days later."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import show_size
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, RcptFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.verdict import Verdict

NAME = "recipient.quota"


def decide(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
    """Every maildrop that the recipient stands for is full, or too full for the size that was announced.

    What cannot be looked at passes: it is tried again, and told, when the message is delivered.
    """
    rooms = facts.rooms
    if isinstance(rooms, Unavailable) or not rooms:
        return None
    wanted = facts.size or 1
    if any(room.used + wanted <= room.quota for room in rooms):
        return None
    full = ", ".join(f"{room.account}: {show_size(room.used)} of {show_size(room.quota)}" for room in rooms)
    return Verdict(NAME, Reply(452, "4.2.2", "The recipient's mailbox is full, try again later"), full)


CHECK = Check(
    NAME,
    "the recipient's maildrop has room",
    (Step(Stage.RCPT, decide, needs=("rooms",), reads=("forward_path", "size", "rooms")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
)
