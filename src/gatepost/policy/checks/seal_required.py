"""`seal.required`: what `[[seal.rule]]` wants encrypted is, or it is refused; nothing leaves in clear by accident."""

from __future__ import annotations

from typing import Final

from gatepost.mail.reply import Reply
from gatepost.mail.text import printable
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, MessageFacts, RcptFacts, Stage
from gatepost.policy.findings import SealNeed, SealPlan, Unavailable
from gatepost.policy.verdict import Verdict

NAME = "seal.required"
# RFC 3463 §3.8: X.7.5 is "necessary information such as key was not available". 5.7.1 would say that the sender is
# not allowed, 5.7.4 that a protocol lacks the feature; this is mended with a key.
UNKNOWN: Final = Reply(451, "4.7.5", "The encryption key of a recipient cannot be looked up now, try again later")


def decide_recipient(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
    """A key, or no recipient. A look-up that gave no answer is never "no key": whoever can make it fail would get the
    mail in clear."""
    need = facts.seal
    if isinstance(need, Unavailable):
        return Verdict(NAME, UNKNOWN, need.error)
    return _verdict(need) if isinstance(need, SealNeed) else None


def decide_message(facts: MessageFacts, settings: CheckSettings) -> Verdict | None:
    """The same for rules that read the header. What was encrypted before it came is left as it is."""
    plan = facts.seal
    if isinstance(plan, Unavailable):
        return Verdict(NAME, UNKNOWN, plan.error)
    if not isinstance(plan, SealPlan) or plan.sealed:
        return None
    found = [verdict for verdict in map(_verdict, plan.needs) if verdict is not None]
    # What can be mended by waiting is for later, unless something else is refused for good anyhow.
    return next((each for each in found if not each.reply.is_transient), found[0] if found else None)


def _verdict(need: SealNeed) -> Verdict | None:
    if need.mode == "off" or need.key:
        return None
    why = "; ".join(need.why) or "no key is known"
    if not need.is_known:
        return Verdict(NAME, UNKNOWN, f"{need.rule}: the key of {need.recipient} is not known now: {why}")
    if need.mode != "required":
        return None
    text = f"Mail for {printable(need.recipient, 100)} must be encrypted, and there is no key for it that can be used: "
    advice = "ask for its OpenPGP key or S/MIME certificate and have your postmaster import it"
    if need.has_changed:
        advice = "its key has changed; compare the new one with its owner and have your postmaster trust it"
    elif need.was_revoked:
        advice = "its owner has revoked the key; ask for a new one and have your postmaster import it"
    elif need.has_expired:
        advice = "its key has expired; ask its owner for a new one and have your postmaster import it"
    elif need.unproven:
        advice = f"a mail brought the key {need.unproven}, and nothing proves whose it is; "
        advice += "compare it with its owner and have your postmaster trust it"
    return Verdict(NAME, Reply(550, "5.7.5", text + advice), f"{need.rule}: {why}")


CHECK = Check(
    NAME,
    "what [[seal.rule]] wants encrypted is encrypted or refused",
    (
        Step(Stage.RCPT, decide_recipient, needs=("seal",), reads=("forward_path", "seal")),
        Step(Stage.MESSAGE, decide_message, needs=("seal",), reads=("seal",)),
    ),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    optional=False,
)
