"""`content.from`: an authorised peer writes only its own addresses into From and Sender (RFC 6409 §6.1)."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MessageFacts, Stage
from gatepost.policy.findings import FromFacts, Unavailable
from gatepost.policy.verdict import Verdict

NAME = "content.from"


def decide(facts: MessageFacts, settings: CheckSettings) -> Verdict | None:
    """Every mailbox in From, also one of several, and the one in Sender. A relay network has no account to compare
    with. A From that cannot be read could show a reader anybody, and is refused too; none at all stands in
    notifications with a null reverse-path only, and names nobody."""
    if not facts.session.account:
        return None
    named = facts.from_
    if isinstance(named, Unavailable):
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), named.error)
    assert isinstance(named, FromFacts)  # the engine gathered it: `needs` names it
    if named.defect:
        return Verdict(NAME, Reply(550, "5.7.1", f"Write one of your own addresses into From: {named.defect}"),
                       named.defect)  # fmt: skip
    if named.foreign:
        foreign = ", ".join(named.foreign)
        return Verdict(NAME, Reply(550, "5.7.1", "You may not write as this address; use one of your own in From"),
                       f"{foreign} in From or Sender is not an address of {facts.session.account}")  # fmt: skip
    return None


CHECK = Check(
    NAME,
    "an authorised peer writes only addresses of its own account into From and Sender",
    (Step(Stage.MESSAGE, decide, needs=("from_",), reads=("session.login", "from_")),),
    dict.fromkeys(("mx", "submission", "submissions"), "enforce"),
)
