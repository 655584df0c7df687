"""`command.allowed`: which commands whom; VRFY and EXPN tell nothing to strangers (RFC 5321 §3.5.3, §7.3)."""

from __future__ import annotations

from typing import Literal

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, AuthFacts, CommandFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "command.allowed"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """auth_on_mx: offer AUTH on `mx` too (old devices that cannot use another port). disabled: commands nobody may
    use."""

    auth_on_mx: bool = False
    disabled: tuple[Literal["AUTH", "EXPN", "HELP", "VRFY"], ...] = ()


def single(facts: CommandFacts, settings: Settings) -> Verdict | None:
    """VRFY: 252 to everybody who may not know, whatever the name. EXPN: for authorised peers only."""
    verb, session = facts.verb, facts.session
    if verb in settings.disabled and verb not in ("VRFY", "EXPN"):
        return Verdict(NAME, Reply(502, "5.5.1", "Command not implemented"), f"{verb} is switched off")
    authorised = session.may_relay_by is not None and verb not in settings.disabled
    if verb == "VRFY" and not authorised:
        return Verdict(NAME, Reply(252, "2.0.0", "Cannot VRFY, but will take mail for a user of this server"),
                       "VRFY from a peer that may not know", action="reject")  # fmt: skip
    if verb == "EXPN" and not authorised:
        return Verdict(NAME, Reply(550, "5.7.1", "Access denied: log in to expand lists"),
                       "EXPN from a peer that may not know")  # fmt: skip
    return None


def auth(facts: AuthFacts, settings: Settings) -> Verdict | None:
    """No AUTH on mx: nobody submits there, so a login there is a guess."""
    if "AUTH" in settings.disabled or (facts.session.service in ("mx", "lmtp") and not settings.auth_on_mx):
        return Verdict(NAME, Reply(502, "5.5.1", "AUTH is not offered here; use the submission port"),
                       f"AUTH on {facts.session.service}")  # fmt: skip
    return None


CHECK = Check(
    NAME,
    "which commands whom: no AUTH on mx, VRFY and EXPN for authorised peers only",
    (
        Step(Stage.AUTH, auth, reads=("session.service",)),
        Step(Stage.COMMAND, single, reads=("verb", "session.client_ip")),
    ),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
