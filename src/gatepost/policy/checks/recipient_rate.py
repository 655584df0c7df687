"""`recipient.rate`: how many messages one recipient gets, whoever they are from."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import Quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MessageFacts, RcptFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.limits import Allowance, Charged, Cost, Limit, Shortage, in_words, limits_of, reason, shortage
from gatepost.policy.verdict import Verdict

NAME = "recipient.rate"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """messages: rates that hold together, for each recipient."""

    messages: tuple[Quota, ...] = (Quota(60, 3600.0),)


def recipient_limits(settings: Settings, recipient: str) -> tuple[Limit, ...]:
    """The limits of one recipient, by its key."""
    return limits_of(Allowance(messages=settings.messages), "recipient", recipient)


def at_rcpt(facts: RcptFacts, settings: Settings) -> Verdict | None:
    """One message more. Without counters mail comes in: a limit is no reason to lose it."""
    levels = facts.recipient_levels
    if isinstance(levels, Unavailable):
        return None
    assert isinstance(levels, tuple)  # the engine gathered it: `needs` names it
    short = shortage(levels, Cost())
    return None if short is None else _verdict(short)


def at_end(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """Messages in parallel sessions may all have passed at RCPT. One that would bring no recipient anything within
    its limit is refused; another is taken, so that nobody waits for somebody else's limit."""
    charged = facts.charged
    if not isinstance(charged, Charged) or not charged.full:
        return None
    recipients = {limit.of for limit in facts.recipient_limits}
    if recipients - {level.limit.of for level in charged.full}:
        return None
    short = shortage(charged.full, Cost())
    return None if short is None else _verdict(short)


def _verdict(short: Shortage) -> Verdict:
    reply = Reply(
        450, "4.2.1", f"This recipient gets too many messages at the moment. Try again {in_words(short.wait)}"
    )
    return Verdict(NAME, reply, reason(short))


CHECK = Check(
    NAME,
    "messages per period to one recipient",
    (
        Step(Stage.RCPT, at_rcpt, needs=("recipient_levels",), reads=("forward_path", "recipient_levels"), last=True),
        Step(Stage.MESSAGE, at_end, needs=("charged",), reads=("charged",), last=True),
    ),
    dict.fromkeys(("mx", "submission", "submissions", "lmtp"), "off"),
    Settings(),
)
