"""Gatherers of `sender.rate` and `recipient.rate`: how the counters stand, and the one step in which they count.

MAIL and RCPT read, the end of the message counts (`gate.ledger` says what a transaction counts that ends otherwise).
Whoever only asks what would be decided calls `charged` with `count=False`: the same facts, and nothing is counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.accounts.addresses import key_of
from gatepost.accounts.model import Resolution
from gatepost.gate.gather_recipient import resolution_of
from gatepost.gate.later import had, is_later, then
from gatepost.mail.address import AddressError, Path
from gatepost.policy.checks import recipient_rate, sender_rate
from gatepost.policy.engine import Policy
from gatepost.policy.facts import SERVICES, MailFacts, MessageFacts, RcptFacts, SessionFacts
from gatepost.policy.limits import Allowance, Charged, Cost, Limit, LimitLevel
from gatepost.standing.port import Charge, Level, Operation, Peek, Rate, Refund, Result, StandingStore

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

SEEN_SECONDS: Final = 180 * 86400.0  # so long a recipient is known to a sender; half a year, as address books grow


class Rates(msgspec.Struct, frozen=True):
    """The settings of both checks, and the services where each runs. limits_strangers: who acts for no account has
    some limit."""

    sender: sender_rate.Settings
    sender_runs: frozenset[str]
    limits_strangers: bool
    recipient: recipient_rate.Settings
    recipient_runs: frozenset[str]


@lru_cache(maxsize=8)
def rates_of(policy: Policy) -> Rates:
    """What `policy` says about rates; made once, as a look at every check is too much for each message."""
    sender = policy.settings_of(sender_rate.CHECK)
    recipient = policy.settings_of(recipient_rate.CHECK)
    assert isinstance(sender, sender_rate.Settings)
    assert isinstance(recipient, recipient_rate.Settings)
    return Rates(
        sender,
        frozenset(name for name in SERVICES if sender_rate.CHECK.mode_for(name, sender) != "off"),
        any(allowance != Allowance() for allowance in (sender.address, sender.prefix, sender.domain)),
        recipient,
        frozenset(name for name in SERVICES if recipient_rate.CHECK.mode_for(name, recipient) != "off"),
    )


def rate(limit: Limit) -> Rate:
    """The rate of its counters."""
    return Rate(limit.quota.units, limit.quota.period)


def limits_of_sender(rates: Rates, session: SessionFacts, reverse_path: Path) -> tuple[Limit, ...]:
    """The limits that count for this peer and reverse-path."""
    if not rates.limits_strangers and not session.account:
        return ()
    return sender_rate.sender_limits(rates.sender, session, _domain(reverse_path))


def read_levels(
    standing: StandingStore, limits: Sequence[Limit], now: float
) -> tuple[LimitLevel, ...] | Awaitable[tuple[LimitLevel, ...]]:
    """How `limits` stand, in their order; nothing is counted. Raises StandingError."""
    if not limits:
        return ()
    operations = [Peek(limit.key, rate(limit), 0) for limit in limits]
    operations += [Peek(limit.spare_key, rate(limit), 0) for limit in limits]
    levels: tuple[LimitLevel, ...] | Awaitable[tuple[LimitLevel, ...]] = then(
        standing.tally(operations, now), lambda results: _levels(limits, results)
    )
    return levels


def _levels(limits: Sequence[Limit], results: Sequence[Result]) -> tuple[LimitLevel, ...]:
    """results: of the allowances, then of the spare ones where those were asked for."""
    used = [result.used for result in results if isinstance(result, Level)]
    spare = used[len(limits) :] or [0.0] * len(limits)
    return tuple(LimitLevel(*level) for level in zip(limits, used, spare, strict=False))


# --- at MAIL and RCPT ----------------------------------------------------------------------------------------------


def allowances(session: GateSession, facts: MailFacts | RcptFacts) -> Any:
    """How the limits of this sender stand."""
    parts = session.parts
    limits = limits_of_sender(rates_of(parts.policy), facts.session, facts.reverse_path)
    return had(lambda: read_levels(parts.standing, limits, parts.clock.unix()), _itself) if limits else ()


def unseen(session: GateSession, facts: RcptFacts) -> Any:
    """The subjects that have a limit of new recipients and never wrote to this one."""
    parts = session.parts
    limits = limits_of_sender(rates_of(parts.policy), facts.session, facts.reverse_path)
    asked = {limit.subject: limit.of for limit in limits if limit.unit == "new_recipients"}
    if not asked:
        return ()
    recipient, now = key_or_text(facts.forward_path), parts.clock.unix()
    ask = [parts.standing.recall("good", seen_key(*each, recipient), now) for each in asked.items()]
    return had(lambda: _all(ask), lambda found: tuple(s for s, seen in zip(asked, found, strict=True) if seen is None))


def seen_key(subject: str, of: str, recipient: str) -> str:
    """Where it is remembered that a sender wrote to a recipient."""
    return f"wrote:{subject}:{of}|{recipient}"


def recipient_levels(session: GateSession, facts: RcptFacts) -> Any:
    """What this recipient may still get: by the address that it is here, so that a detail is nobody else."""
    parts = session.parts
    settings = rates_of(parts.policy).recipient
    if not settings.messages:
        return ()

    def read(found: Resolution) -> Any:
        has_key = found.kind in ("account", "alias", "list", "role")
        recipient = found.address if has_key else key_or_text(facts.forward_path)
        limits = recipient_rate.recipient_limits(settings, recipient)
        return read_levels(parts.standing, limits, parts.clock.unix())

    return had(lambda: resolution_of(session, facts.forward_path), read)


def key_or_text(path: Path) -> str:
    """The key of a recipient; as it is written where it has none."""
    try:
        return key_of(path)
    except AddressError:
        return str(path)


# --- at the end of the message -------------------------------------------------------------------------------------


def charged(session: GateSession, facts: MessageFacts, *, count: bool = True) -> Any:
    """The counters with this message in them: those of the sender all or none, each recipient's by itself.

    Everything is one step. Only a message that will be held, and a recipient's count for one that is not taken, make
    a second one. count: False reads and counts nothing.
    """
    parts = session.parts
    rates = rates_of(parts.policy)
    service = facts.session.service
    limits: tuple[Limit, ...] = ()
    if service in rates.sender_runs:
        limits = limits_of_sender(rates, facts.session, facts.reverse_path)
    recipients = facts.recipient_limits if service in rates.recipient_runs else ()
    if not limits and not recipients:
        return Charged()
    cost = sender_rate.cost_of(facts)
    operations = _operations(limits, cost, spare=False, count=count)
    operations += [(Charge if count else Peek)(limit.key, rate(limit)) for limit in recipients]

    def counted(results: list[Result]) -> Any:
        found = [result for result in results if isinstance(result, Level)]
        own, others = found[: len(limits)], found[len(limits) :]
        full = [LimitLevel(limit, level.used) for limit, level in zip(recipients, others, strict=True)
                if not level.allowed]  # fmt: skip
        outcome = Charged(_levels(limits, own), all(level.allowed for level in own), full=tuple(full))
        if outcome.fits or rates.sender.action != "hold" or not facts.session.account:
            return outcome
        spare = parts.standing.tally(_operations(limits, cost, spare=True, count=count), parts.clock.unix())
        return then(spare, lambda levels: msgspec.structs.replace(outcome, spare_fits=all_allowed(levels)))

    return had(lambda: parts.standing.tally(operations, parts.clock.unix()), counted)


def _operations(limits: Sequence[Limit], cost: Cost, *, spare: bool, count: bool) -> list[Operation]:
    """What a message does to `limits`: it counts against all of them or none."""
    keys = [limit.spare_key if spare else limit.key for limit in limits]
    return [
        Charge(key, rate(limit), cost.of(limit), together=True) if count else Peek(key, rate(limit), cost.of(limit))
        for key, limit in zip(keys, limits, strict=True)
    ]


def taken_back(facts: MessageFacts) -> list[Operation]:
    """What undoes `charged`, for a message that was not taken after all."""
    found = facts.charged
    if not isinstance(found, Charged):
        return []
    cost = sender_rate.cost_of(facts)
    operations: list[Operation] = []
    if found.fits or found.spare_fits:
        for limit in (level.limit for level in found.levels):
            key = limit.key if found.fits else limit.spare_key
            operations.append(Refund(key, rate(limit), cost.of(limit)))
    full = {level.limit for level in found.full}
    operations += [Refund(limit.key, rate(limit)) for limit in facts.recipient_limits if limit not in full]
    return operations


def all_allowed(results: Sequence[Result]) -> bool:
    return all(result.allowed for result in results if isinstance(result, Level))


def _domain(path: Path) -> str:
    try:
        return path.ascii_domain if path.domain else ""
    except AddressError:
        return path.domain


def _itself(value: Any) -> Any:
    return value


def _all(values: list[Any]) -> Any:
    """The values, awaited where one of them is still to come."""
    return _all_later(values) if any(is_later(value) for value in values) else values


async def _all_later(values: list[Any]) -> list[Any]:
    return [await value if is_later(value) else value for value in values]
