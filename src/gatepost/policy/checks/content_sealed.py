"""`content.sealed`: what somebody's program hands in for certain recipients is encrypted already."""

from __future__ import annotations

from gatepost.mail.address_pattern import matches
from gatepost.mail.reply import Reply
from gatepost.mail.units import AddressPatternText
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MessageFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.verdict import Verdict

NAME = "content.sealed"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """recipients: whose mail must be encrypted; mail for others is not looked at."""

    recipients: tuple[AddressPatternText, ...] = ("*",)

    def concerns(self, facts: MessageFacts) -> bool:
        """Whether one of the recipients requires it."""
        return any(matches(path, self.recipients) for path in facts.recipients)


def decide(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """Encrypted as a whole by structure (RFC 3156 §4, RFC 8551 §3.3): one part in clear, or a wrapper around clear
    text, makes it none. The whole message is refused, since one content is for all of its recipients."""
    if not settings.concerns(facts):
        return None
    if isinstance(facts.sealed, Unavailable):
        reply = Reply(451, "4.3.0", "The message cannot be looked at now, try again later")
        return Verdict(NAME, reply, f"whether it is encrypted is not known: {facts.sealed.error}")
    if facts.sealed:
        return None
    reply = Reply(550, "5.7.1", "A recipient takes encrypted mail only; encrypt it (OpenPGP or S/MIME) and send again")
    return Verdict(NAME, reply, "it is not encrypted as a whole, neither as PGP/MIME nor as S/MIME")


CHECK = Check(
    NAME,
    "what is submitted for certain recipients is encrypted already (off unless configured)",
    (Step(Stage.MESSAGE, decide, needs=("sealed",), reads=("recipients", "sealed")),),
    dict.fromkeys(("submission", "submissions"), "off"),
    Settings(),
)
