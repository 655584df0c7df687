"""`sender.rate`: how much one sender may send: an account, or a peer without one by address, network and domain.

At MAIL and RCPT the counters are only read: what would not fit is refused before its content travels. The whole
message is counted in one step at its end, when no other check has refused it, so parallel sessions get no more than
the limit, and nothing is counted twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from gatepost.mail.network import prefix_of
from gatepost.mail.reply import Reply
from gatepost.mail.units import AddressText, Quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, MessageFacts, RcptFacts, SessionFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.limits import (
    Allowance,
    Charged,
    Cost,
    Limit,
    LimitLevel,
    OwnAllowance,
    Shortage,
    limits_of,
    reason,
    refusal,
    shortage,
    spare_shortage,
)
from gatepost.policy.verdict import Verdict

NAME = "sender.rate"
HELD_TEXT = (
    "Message kept but not sent, your account is over its limit; it leaves when you log in from where you usually do, "
    "or when the postmaster releases it"
)


class Settings(CheckSettings, frozen=True, kw_only=True):
    """account: of every account; accounts: of single ones, where it differs. address, prefix (/24 or /64), domain (of
    the reverse-path): of peers that act for no account. action: what is over the limit of an account is deferred,
    rejected, or held in the spool until the account proves itself."""

    account: Allowance = Allowance(
        messages=(Quota(200, 3600.0), Quota(1000, 86400.0)), recipients=(Quota(500, 3600.0),)
    )
    accounts: Mapping[AddressText, OwnAllowance] = {}
    address: Allowance = Allowance()
    prefix: Allowance = Allowance()
    domain: Allowance = Allowance()
    action: Literal["defer", "reject", "hold"] = "defer"


def account_limits(settings: Settings, account: str) -> tuple[Limit, ...]:
    """The limits of one account."""
    own = settings.accounts.get(account)
    return limits_of(settings.account if own is None else own.over(settings.account), "account", account)


def sender_limits(settings: Settings, session: SessionFacts, domain: str) -> tuple[Limit, ...]:
    """The limits that count for this peer. domain: of the reverse-path, "" for the null path.

    Behind the address of a `trusted` peer are others, so it has no limit of its own; its senders' domains have.
    """
    if session.account:
        return account_limits(settings, session.account)
    found: tuple[Limit, ...] = ()
    if session.client_ip and not session.trusted:
        found += limits_of(settings.address, "address", session.client_ip)
        found += limits_of(settings.prefix, "prefix", prefix_of(session.client_ip))
    return found + limits_of(settings.domain, "domain", domain) if domain else found


def at_mail(facts: MailFacts, settings: Settings) -> Verdict | None:
    """One message with one recipient, and the size that was announced."""
    return _before(facts.allowances, Cost(octets=facts.size or 0), 1, facts.session, settings)


def at_rcpt(facts: RcptFacts, settings: Settings) -> Verdict | None:
    """This recipient beside those before it; what is more than one message may have can go in another.

    It runs before the checks that tell whether there is such a recipient, so that nobody learns that for free.
    """
    unseen = facts.unseen
    if isinstance(unseen, Unavailable):
        return _unavailable(unseen)
    assert isinstance(unseen, tuple)  # the engine gathered it: `needs` names it
    new = {subject: facts.pending.new.get(subject, 0) + 1 for subject in unseen}
    cost = Cost(messages=0, recipients=facts.accepted + 1, new=new)
    return _before(facts.allowances, cost, facts.pending.refused + 1, facts.session, settings)


def at_end(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """The message as it was counted."""
    charged = facts.charged
    if isinstance(charged, Unavailable):
        return _unavailable(charged)
    assert isinstance(charged, Charged)  # as above
    if charged.fits:
        return None
    short = shortage(charged.levels, cost_of(facts))
    if short is None:  # it fits now, and did not when it was counted: a clock, or a refund in between
        return Verdict(NAME, Reply(451, "4.7.1", "Too many messages at once, try again"), "no room when it was counted")
    if settings.action == "hold" and facts.session.account and charged.spare_fits:
        return Verdict(NAME, Reply(250, "2.0.0", HELD_TEXT), reason(short), action="hold")
    return _refused(short, settings)


def cost_of(facts: MessageFacts) -> Cost:
    """What the whole message counts."""
    return Cost(recipients=len(facts.recipients), octets=facts.octets, new=facts.new)


def _before(found: Any, cost: Cost, attempts: int, session: SessionFacts, settings: Settings) -> Verdict | None:
    """What would be refused at the end is refused now; what will be held is let through, unless it fits at no time.

    attempts: of recipients, which may fail and then count against the spare allowance: without any left of it nothing
    more can be tried.
    """
    if isinstance(found, Unavailable):
        return _unavailable(found)
    levels: tuple[LimitLevel, ...] = found
    if not levels:
        return None
    short = shortage(levels, cost, splits=True)
    if short is not None and settings.action == "hold" and session.account and not math.isinf(short.wait):
        short = None
    short = short or spare_shortage(levels, Cost(recipients=attempts))
    return None if short is None else _refused(short, settings)


def _refused(short: Shortage, settings: Settings) -> Verdict:
    is_final = settings.action == "reject" and short.level.limit.subject == "account" and not short.spare
    code, esc = (550, "5.7.1") if is_final else (451, "4.7.1")
    return Verdict(NAME, refusal(short, code=code, esc=esc), reason(short))


def _unavailable(fact: Unavailable) -> Verdict:
    """Without its counters an account is not unlimited: a stolen one would be the first to use it."""
    return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), fact.error)


CHECK = Check(
    NAME,
    "messages, recipients, octets and new recipients per account, address, network and sender domain",
    (
        Step(Stage.MAIL, at_mail, needs=("allowances",), reads=("session.login", "reverse_path", "allowances")),
        Step(Stage.RCPT, at_rcpt, needs=("allowances", "unseen"), reads=("accepted", "allowances")),
        Step(Stage.MESSAGE, at_end, needs=("charged",), reads=("session.login", "charged"), last=True),
    ),
    dict.fromkeys(("mx", "submission", "submissions"), "enforce"),
    Settings(),
)
