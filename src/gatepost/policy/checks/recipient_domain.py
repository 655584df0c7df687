"""`recipient.domain`: a user who mistypes a domain hears it at once, not from a notice."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import RcptFacts, Stage
from gatepost.policy.findings import DomainDns
from gatepost.policy.verdict import Verdict

NAME = "recipient.domain"


def decide(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
    """MX, A or AAAA (RFC 5321 §5.1) and no null MX (RFC 7505 §4.1). Where the DNS cannot tell, the queue can wait."""
    found = facts.recipient_dns
    if not isinstance(found, DomainDns) or facts.session.may_relay_by is None:
        return None
    match found.by:
        case "null mx":
            reply = Reply(556, "5.1.10", "The domain of this recipient takes no mail (null MX)")
            return Verdict(NAME, reply, f"{found.domain} has a null MX")
        case "no name" | "no records":
            reply = Reply(550, "5.1.2", "The domain of this recipient has no mail host; check its spelling")
            what = "does not exist" if found.by == "no name" else "has no MX, A or AAAA record"
            return Verdict(NAME, reply, f"{found.domain} {what}")
        case _:
            return None


CHECK = Check(
    NAME,
    "a user's recipient is in a domain that takes mail",
    (Step(Stage.RCPT, decide, needs=("recipient_dns",), reads=("forward_path", "recipient_dns")),),
    dict.fromkeys(("submission", "submissions"), "enforce"),
)
