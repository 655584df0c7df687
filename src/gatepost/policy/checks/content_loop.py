"""`content.loop`: mail that goes in a circle is stopped (RFC 5321 §6.3)."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "content.loop"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """hops: Received fields (§6.3: 100 or more)."""

    hops: int = 100


def decide(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """Too many hops, or a recipient of this transaction that got this very message before (Delivered-To)."""
    header = facts.header
    if header.received > settings.hops:
        return _loop(f"{header.received} Received fields, {settings.hops} are allowed")
    if header.delivered_to:
        been = {address.lower() for address in header.delivered_to}
        for path in facts.recipients:
            if str(path).lower() in been:
                return _loop(f"it was delivered to {path} before")
    return None


def _loop(what: str) -> Verdict:
    return Verdict(NAME, Reply(554, "5.4.6", "Mail loop: this message has been here before"), what)


CHECK = Check(
    NAME,
    "Received count, and our own Delivered-To",
    (Step(Stage.MESSAGE, decide, reads=("header.received", "header.delivered_to")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
