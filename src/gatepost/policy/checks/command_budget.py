"""`command.budget`: who talks without sending mail is sent away."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gatepost.mail.reply import Reply
from gatepost.mail.units import Quota, show_quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, CommandFacts, Stage
from gatepost.policy.findings import CommandLevels
from gatepost.policy.verdict import Verdict

NAME = "command.budget"
LEAST_IDLE: Final = 20
"""No setting is lower, so below it nobody needs to ask: an honest greeting with TLS and a login has six commands."""


class Settings(CheckSettings, frozen=True, kw_only=True):
    """idle: commands in a row without a recipient that is accepted. unknown: commands that do not exist, from one
    address or /64. lookups: VRFY and EXPN, of one account, or from one address or /64 without an account."""

    idle: Annotated[int, msgspec.Meta(ge=LEAST_IDLE)] = 100
    unknown: Quota = Quota(30, 3600.0)
    lookups: Quota = Quota(60, 3600.0)


def decide(facts: CommandFacts, settings: Settings) -> Verdict | None:
    """Over a budget: 421, and the connection ends. Without counters only the session's own count is there."""
    if facts.idle > settings.idle:
        return _over(
            "Too many commands without mail, goodbye",
            f"{facts.idle} commands in a row brought no accepted recipient, {settings.idle} are allowed",
        )
    levels = facts.levels
    if not isinstance(levels, CommandLevels) or levels.wait <= 0:
        return None
    if levels.counted == "lookups":
        return _over(
            "Too many VRFY and EXPN commands, try again later", f"over {show_quota(settings.lookups)} look-ups"
        )
    return _over("Too many unknown commands, goodbye", f"over {show_quota(settings.unknown)} unknown commands")


def _over(text: str, reason: str) -> Verdict:
    return Verdict(NAME, Reply(421, "4.7.0", text), reason, close=True)


CHECK = Check(
    NAME,
    "commands without mail, unknown commands, VRFY and EXPN: how many",
    (Step(Stage.COMMAND, decide, needs=("levels",), reads=("verb", "idle", "levels")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
