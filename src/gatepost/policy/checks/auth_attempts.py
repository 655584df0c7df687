"""`auth.attempts`: guessing passwords is slow, and soon over, however it is spread."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import DurationOrNone, Quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, AuthFacts, Stage
from gatepost.policy.findings import AttemptLevels, Unavailable
from gatepost.policy.verdict import Verdict

NAME = "auth.attempts"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """per_account: failures against one login name from one network. per_prefix: failures from one /24 or /64,
    whatever the name. names: different names that one /24 or /64 fails with. spread: failures against one name from
    all networks together that it has not logged in from. per_session: failures before the connection ends. delay: how
    long a login over `per_account` waits that may not be refused. ban: of a peer whose network is over a limit; zero
    for none."""

    per_account: Quota = Quota(10, 900.0)
    per_prefix: Quota = Quota(30, 900.0)
    names: Quota = Quota(20, 86400.0)
    spread: Quota = Quota(100, 86400.0)
    per_session: int = 3
    delay: DurationOrNone = 5.0
    ban: DurationOrNone = 3600.0


def decide(facts: AuthFacts, settings: Settings) -> Verdict | None:
    """Refuses before a password is hashed: a hash costs us more than a guess costs them.

    A network from which the account logged in lately, and a `trusted` one (a web mail brings everybody's guesses), are
    never locked out by somebody else's failures: over the limit for the name their logins wait instead. What they
    fail in one session still ends it. A network from which any account logged in lately is not banned.
    """
    if facts.failures_in_session >= settings.per_session:
        return Verdict(NAME, Reply(421, "4.7.0", "Too many failed logins, goodbye"),
                       f"{facts.failures_in_session} failed logins in this session", close=True)  # fmt: skip
    levels = facts.attempts
    if isinstance(levels, Unavailable):
        return Verdict(NAME, Reply(454, "4.7.0", "Temporary authentication failure, try again later"), levels.error)
    assert isinstance(levels, AttemptLevels)  # the engine gathered it: `needs` names it
    refusal = Reply(421, "4.7.0", "Too many failed logins from your network, try again later")
    if facts.session.trusted or levels.known_good:
        if levels.account_wait <= 0:
            return None
        return Verdict(NAME, refusal, f"{levels.failures} failed logins of this name; it may try, slowly",
                       action="slow", wait=settings.delay)  # fmt: skip
    over = {
        "this name from this network": levels.account_wait,
        "this network": levels.prefix_wait,
        "different names from this network": levels.names_wait,
        "this name from all networks that it has not logged in from": levels.spread_wait,
    }
    what, wait = max(over.items(), key=lambda item: item[1])
    if wait <= 0:
        return None
    is_network = max(levels.prefix_wait, levels.names_wait) > 0
    return Verdict(NAME, refusal, f"over the limit of failed logins of {what} for {wait:.0f} more seconds",
                   close=True, ban=settings.ban if is_network and not levels.good_network else 0.0)  # fmt: skip


CHECK = Check(
    NAME,
    "failed logins per account, network and session, slow ones too: refuse before hashing",
    (Step(Stage.AUTH, decide, needs=("attempts",), reads=("session.client_ip", "failures_in_session", "attempts")),),
    dict.fromkeys(SERVICES, "enforce"),
    Settings(),
)
