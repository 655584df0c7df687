"""`recipient.list`: who may post to a mailing list of ours."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, RcptFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.verdict import Verdict

NAME = "recipient.list"


def decide(facts: RcptFacts, settings: CheckSettings) -> Verdict | None:
    """Members, owners or anyone, as the list says; owners always.

    The null path passes: what comes under it is a notification, and goes to the owners instead of the members
    (`accounts.directory`).
    """
    standing = facts.list_standing
    if isinstance(standing, Unavailable):
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), standing.error)
    if not standing or standing.post == "anyone" or facts.reverse_path.is_null or standing.is_owner:
        return None
    if standing.post == "members" and standing.is_member:
        return None
    advice = "post from the address that is on it" if standing.post == "members" else "ask one of them to post it"
    return Verdict(NAME, Reply(550, "5.7.2", f"Only {standing.post} may post to this list; {advice}"),
                   f"{facts.reverse_path} is none of the {standing.post} of {standing.address}")  # fmt: skip


CHECK = Check(
    NAME,
    "who may post to a list: its members, its owners or anyone",
    (Step(Stage.RCPT, decide, needs=("list_standing",), reads=("reverse_path", "list_standing")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
)
