"""`recipient.count`: recipients per message (RFC 5321 §4.5.3.1.8: at least 100)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, SUBMISSION, RcptFacts, Service, Stage
from gatepost.policy.verdict import Verdict

NAME = "recipient.count"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """limit: from strangers, 100 or more. submission: from users, whose mail programs do not split."""

    limit: Annotated[int, msgspec.Meta(ge=100)] = 100
    submission: int = 1000

    def of(self, service: Service) -> int:
        return max(self.limit, self.submission) if service in SUBMISSION else self.limit


def decide(facts: RcptFacts, settings: Settings) -> Verdict | None:
    limit = settings.of(facts.session.service)
    if facts.accepted < limit:
        return None
    return Verdict(NAME, Reply(452, "4.5.3", f"Too many recipients: send to {limit} at a time"),
                   f"{facts.accepted} recipients accepted, {limit} are allowed")  # fmt: skip


CHECK = Check(
    NAME,
    "recipients per message",
    (Step(Stage.RCPT, decide, reads=("accepted",)),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
