"""`content.headers`: a header section that every reader understands alike (RFC 5322 §3.6)."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, SUBMISSION, MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "content.headers"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """require_date: on mx too (on submission a missing Date is added)."""

    require_date: bool = False


def decide(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """One From, at most one of each field that may stand once, one Date, no line that is no field.

    A notification (null reverse-path) without From still passes: old mail servers wrote such.
    """
    header = facts.header
    if header.defects:
        return _refusal(f"the header section is malformed ({header.defects[0]})")
    double = [name for name, count in header.counts.items() if count > 1]
    if double:
        return _refusal(f"the field {double[0].title()} stands more than once")
    if not header.counts.get("from") and not facts.reverse_path.is_null:
        return _refusal("the field From is missing")
    if settings.require_date and not header.counts.get("date") and facts.session.service not in SUBMISSION:
        return _refusal("the field Date is missing")
    return None


def _refusal(what: str) -> Verdict:
    return Verdict(NAME, Reply(554, "5.6.0", f"Message not acceptable: {what}"), what)


CHECK = Check(
    NAME,
    "one From, no duplicate singletons, no line that is no field",
    (Step(Stage.MESSAGE, decide, reads=("header.counts", "header.defects")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
