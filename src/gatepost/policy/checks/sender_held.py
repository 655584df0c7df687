"""`sender.held`: an account that a detector or a person holds sends from home only; the rest is kept, and not sent."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MessageFacts, Stage
from gatepost.policy.findings import AccountHold, Unavailable
from gatepost.policy.verdict import Verdict

NAME = "sender.held"


def decide(facts: MessageFacts, settings: CheckSettings) -> Verdict | None:
    """Kept, not refused: its owner may have written it, and a thief learns nothing."""
    hold = facts.account_hold
    if isinstance(hold, Unavailable):
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), hold.error)
    if not isinstance(hold, AccountHold):
        return None
    text = "Message kept but not sent, as your account is held; ask the postmaster"
    by = f"by {hold.by}" if hold.by else "by a detector"
    return Verdict(NAME, Reply(250, "2.0.0", text), f"{hold.account} is held {by}: {hold.reason}", action="hold")


CHECK = Check(
    NAME,
    "an account that is held, since somebody else seems to use it, sends from where it is at home only",
    # After `sender.rate` has counted: what is held must not fill the spool.
    (Step(Stage.MESSAGE, decide, needs=("account_hold",), reads=("session.login", "account_hold"), last=True),),
    dict.fromkeys(("mx", "submission", "submissions"), "enforce"),
)
