"""`expn.scope`: who may see lists sees those that concern it, and no other."""

from __future__ import annotations

from typing import Literal

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, CommandFacts, Stage
from gatepost.policy.findings import ListScope, Unavailable
from gatepost.policy.verdict import Verdict

NAME = "expn.scope"
Tie = Literal["domain", "member", "owner", "anyone"]


class Settings(CheckSettings, frozen=True, kw_only=True):
    """see: what lets an account see an alias or list: it is of the account's own domain, the account is a member (or
    a target of the alias), or an owner; `anyone`: every peer that may use EXPN, also one without an account."""

    see: tuple[Tie, ...] = ("domain", "member", "owner")


def decide(facts: CommandFacts, settings: Settings) -> Verdict | None:
    """The refusal is the same for a list that is not there: whoever may not see a domain's lists learns none."""
    if facts.verb != "EXPN" or "anyone" in settings.see:
        return None
    scope = facts.scope
    if isinstance(scope, Unavailable):
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), scope.error)
    assert isinstance(scope, ListScope)  # the engine gathered it: `needs` names it
    if any(getattr(scope, tie) for tie in settings.see):
        return None
    return Verdict(NAME, Reply(550, "5.7.1", "You may not see that list"),
                   "the list is none of the account's own domain, and the account is neither member nor owner"
                   if scope.exists else "no such list, and it would not be the account's to see")  # fmt: skip


CHECK = Check(
    NAME,
    "an authorised peer expands lists of its domain, and those it is a member or owner of",
    (Step(Stage.COMMAND, decide, needs=("scope",), reads=("text", "session.login", "scope")),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
