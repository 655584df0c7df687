"""`relay`: the closed-by-default decision. No recipient is accepted unless this check ran and let it pass."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, RcptFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.verdict import Verdict

NAME = "relay"


def decide(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
    """Ours, or sent by a peer that may relay (RFC 5321 §3.6.2, §7.9). An LMTP listener never relays (RFC 2033)."""
    if isinstance(facts.resolution, Unavailable):
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), facts.resolution.error)
    if facts.is_ours or (facts.session.may_relay_by is not None and facts.session.service != "lmtp"):
        return None
    if facts.session.grant_unknown:
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), facts.session.grant_unknown)
    return Verdict(NAME, Reply(550, "5.7.1", "Relaying denied: log in, or send to an address of this server"),
                   f"{facts.forward_path.domain} is not ours, and the peer may not relay")  # fmt: skip


CHECK = Check(
    NAME,
    "mail for others leaves only for peers that may relay",
    (Step(Stage.RCPT, decide, needs=("resolution",), reads=("session.client_ip", "forward_path", "resolution")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    optional=False,
)
