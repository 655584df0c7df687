"""`auth.attempts`: guessing passwords is slow, and soon over."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import Quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, AttemptLevels, AuthFacts, Stage, Unavailable
from gatepost.policy.verdict import Verdict

NAME = "auth.attempts"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """per_account: failures against one login name from one network. per_prefix: failures from one /24 or /64,
    whatever the name. per_session: failures before the connection ends."""

    per_account: Quota = Quota(10, 900.0)
    per_prefix: Quota = Quota(30, 900.0)
    per_session: int = 3


def decide(facts: AuthFacts, settings: Settings) -> Verdict | None:
    """Refuses before a password is hashed: a hash costs us more than a guess costs them.

    Trusted peers and peers that logged in well lately are never locked out by somebody else's failures; what they
    fail in one session still ends it.
    """
    if facts.failures_in_session >= settings.per_session:
        return Verdict(NAME, Reply(421, "4.7.0", "Too many failed logins, goodbye"),
                       f"{facts.failures_in_session} failed logins in this session", close=True)  # fmt: skip
    levels = facts.attempts
    if isinstance(levels, Unavailable):
        return Verdict(NAME, Reply(454, "4.7.0", "Temporary authentication failure, try again later"), levels.error)
    assert isinstance(levels, AttemptLevels)  # the engine gathered it: `needs` names it
    wait = max(levels.account_wait, levels.prefix_wait)
    if wait <= 0 or facts.session.trusted or levels.known_good:
        return None
    return Verdict(NAME, Reply(421, "4.7.0", "Too many failed logins from your network, try again later"),
                   f"over the limit of failed logins for {wait:.0f} more seconds", close=True)  # fmt: skip


CHECK = Check(
    NAME,
    "failed logins per account, network and session: refuse before hashing",
    (Step(Stage.AUTH, decide, needs=("attempts",), reads=("session.client_ip", "failures_in_session", "attempts")),),
    dict.fromkeys(SERVICES, "enforce"),
    Settings(),
)
