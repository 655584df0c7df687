"""`recipient.exists`: account, alias, list or catch-all, or a mailbox of the next hop; nothing is accepted that would
bounce."""

from __future__ import annotations

from typing import Literal

from gatepost.mail.reply import Reply
from gatepost.mail.units import Duration
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, RcptFacts, Stage
from gatepost.policy.findings import AddressAnswer
from gatepost.policy.verdict import Verdict

NAME = "recipient.exists"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """For domains with `relay_to`. probe: the next hop is asked. unknown: what happens when it does not tell, since it
    is down or defers. accepted_for, refused_for: how long an answer is remembered. timeout: for one question."""

    probe: bool = True
    unknown: Literal["accept", "defer"] = "accept"
    accepted_for: Duration = 86400.0
    refused_for: Duration = 900.0
    timeout: Duration = 15.0


def decide(facts: RcptFacts, settings: Settings) -> Verdict | None:
    """The words of the next hop are for the operator: they name what is behind us."""
    refusal = Reply(550, "5.1.1", "No such recipient here; check the spelling of the address")
    if facts.resolution == "unknown":
        return Verdict(NAME, refusal, f"{facts.forward_path} is no account, alias, list or catch-all")
    answer = facts.probe
    if not isinstance(answer, AddressAnswer):
        return None
    if answer.says == "no":
        return Verdict(NAME, refusal, f"the next hop {answer.host} has no {facts.forward_path}: {answer.why}")
    if answer.says == "unknown" and settings.unknown == "defer":
        reply = Reply(450, "4.1.1", "The recipient cannot be verified now, try again later")
        return Verdict(NAME, reply, f"the next hop does not tell whether it has {facts.forward_path}: {answer.why}")
    return None


CHECK = Check(
    NAME,
    "a recipient of our domains exists",
    (
        Step(
            Stage.RCPT,
            decide,
            needs=("resolution", "probe"),
            reads=("forward_path", "resolution", "probe"),
        ),
    ),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
