"""`sender.login`: an authorised peer uses only the addresses of its account."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.verdict import Verdict

NAME = "sender.login"


def decide(facts: MailFacts, settings: CheckSettings) -> Verdict | None:
    """Its own address, +details, aliases that name it, what `--send-as` gave; with login or certificate also the
    null path (notifications that a mail program sends). A relay network has no account to compare with."""
    session = facts.session
    if not session.account:
        return None
    if facts.reverse_path.is_null and (session.login or session.certificate):
        return None
    if isinstance(facts.sender_allowed, Unavailable):
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), facts.sender_allowed.error)
    if facts.sender_allowed:
        return None
    return Verdict(NAME, Reply(553, "5.7.1", "You may not send as this address; use one of your own"),
                   f"{facts.reverse_path} is not an address of {session.account}")  # fmt: skip


CHECK = Check(
    NAME,
    "an authorised peer sends under addresses of its own account only",
    (Step(Stage.MAIL, decide, needs=("sender_allowed",), reads=("session.login", "reverse_path")),),
    dict.fromkeys(("mx", "submission", "submissions"), "enforce"),
)
