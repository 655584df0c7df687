"""`auth.required`: a submission service takes mail from its users only (RFC 6409 §4.3)."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "auth.required"


def decide(facts: MailFacts, settings: CheckSettings) -> Verdict | None:
    """A login, certificate, grant or relay network, for mail to our own recipients too."""
    if facts.session.may_relay_by is not None:
        return None
    if facts.session.grant_unknown:
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), facts.session.grant_unknown)
    return Verdict(NAME, Reply(530, "5.7.0", "Authentication required: log in before you send"),
                   "MAIL from a peer without login, certificate, grant or relay network")  # fmt: skip


CHECK = Check(
    NAME,
    "on submission MAIL needs a login, certificate, grant or relay network",
    (Step(Stage.MAIL, decide, reads=("session.client_ip",)),),
    dict.fromkeys(("submission", "submissions"), "enforce"),
)
