"""`sender.syntax` and `recipient.syntax`: paths as RFC 5321 writes them, and no hidden routing."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, MailFacts, RcptFacts, Stage
from gatepost.policy.verdict import Verdict

SENDER = "sender.syntax"
RECIPIENT = "recipient.syntax"


def sender(facts: MailFacts, settings: CheckSettings) -> Verdict | None:
    """A malformed MAIL; a non-ASCII path without SMTPUTF8 (RFC 6531 §3.4)."""
    if facts.syntax is not None:
        return Verdict(SENDER, facts.syntax, "the MAIL command is malformed")
    if not facts.smtputf8 and not facts.reverse_path.is_ascii:
        return Verdict(SENDER, Reply(553, "5.6.7", "A non-ASCII address needs the SMTPUTF8 parameter"),
                       "a non-ASCII reverse-path without SMTPUTF8")  # fmt: skip
    return None


def recipient(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
    """A malformed RCPT; a non-ASCII path without SMTPUTF8; routing inside the local part ("a%b@ours", "b!a@ours"),
    which a host behind us could obey."""
    if facts.syntax is not None:
        return Verdict(RECIPIENT, facts.syntax, "the RCPT command is malformed")
    path = facts.forward_path
    if not facts.smtputf8 and not path.is_ascii:
        return Verdict(RECIPIENT, Reply(553, "5.6.7", "A non-ASCII address needs the SMTPUTF8 parameter on MAIL"),
                       "a non-ASCII forward-path without SMTPUTF8")  # fmt: skip
    if facts.resolution in ("relay", "catch-all") and any(sign in path.local_part for sign in "%!@"):
        return Verdict(RECIPIENT, Reply(550, "5.7.1", "Routing inside an address is not accepted"),
                       f"the local part of {path} holds a route")  # fmt: skip
    return None


CHECK = Check(
    SENDER,
    "the reverse-path: RFC 5321 syntax, SMTPUTF8 only when asked for",
    (Step(Stage.MAIL, sender, reads=("reverse_path", "smtputf8")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    optional=False,
)
RECIPIENT_CHECK = Check(
    RECIPIENT,
    "the forward-path: RFC 5321 syntax, no routing inside a local part",
    (Step(Stage.RCPT, recipient, reads=("forward_path", "smtputf8", "resolution")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    optional=False,
)
