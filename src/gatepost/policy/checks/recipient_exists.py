"""`recipient.exists`: account, alias, list or catch-all; nothing is accepted that would bounce."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, RcptFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "recipient.exists"


def decide(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
    if facts.resolution != "unknown":
        return None
    return Verdict(NAME, Reply(550, "5.1.1", "No such recipient here; check the spelling of the address"),
                   f"{facts.forward_path} is no account, alias, list or catch-all")  # fmt: skip


CHECK = Check(
    NAME,
    "a recipient of our domains exists",
    (Step(Stage.RCPT, decide, needs=("resolution",), reads=("forward_path", "resolution")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
)
