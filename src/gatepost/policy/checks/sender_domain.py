"""`sender.domain`: an answer could be sent to the sender: its domain has a mail host, and no null MX."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, Stage
from gatepost.policy.findings import DomainDns, Unavailable
from gatepost.policy.verdict import Verdict

NAME = "sender.domain"


def decide(facts: MailFacts, settings: CheckSettings) -> Verdict | None:
    """MX, A or AAAA (RFC 5321 §5.1) and no null MX (RFC 7505 §4.2). Where the DNS cannot tell it is asked again later:
    a resolver that is down refuses nobody."""
    found = facts.sender_dns
    if isinstance(found, Unavailable):
        reply = Reply(450, "4.1.8", "The DNS does not tell now whether your sender's domain exists, try again later")
        return Verdict(NAME, reply, found.error)
    assert isinstance(found, DomainDns)  # the engine gathered it: `needs` names it
    match found.by:
        case "null mx":
            reply = Reply(550, "5.7.27", "The domain of the sender takes no mail (null MX); use another sender")
            return Verdict(NAME, reply, f"{found.domain} has a null MX")
        case "no name" | "no records":
            reply = Reply(550, "5.1.8", "The domain of the sender has no mail host in the DNS; correct the sender")
            what = "does not exist" if found.by == "no name" else "has no MX, A or AAAA record"
            return Verdict(NAME, reply, f"{found.domain} {what}")
        case _:
            return None


CHECK = Check(
    NAME,
    "the sender's domain has MX, A or AAAA, and no null MX",
    (Step(Stage.MAIL, decide, needs=("sender_dns",), reads=("reverse_path", "sender_dns")),),
    {"mx": "enforce"},
    strangers_only=True,
)
