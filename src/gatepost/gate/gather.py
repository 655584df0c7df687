"""Gatherers: each brings one fact that a check named in `needs`, at once or as an awaitable.

What cannot be had becomes `Unavailable`, never an exception: the check that reads it defers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gatepost.accounts.model import Account, Resolution
from gatepost.accounts.port import AccountsError
from gatepost.gate import gather_authors, gather_client, gather_commands, gather_harvest, gather_rates, gather_recipient
from gatepost.gate.later import is_later, then
from gatepost.mail.network import prefix_of
from gatepost.policy.checks import auth_attempts
from gatepost.policy.facts import AttemptLevels, AuthFacts, MailFacts, RcptFacts, Unavailable
from gatepost.standing.port import Charge, Level, Operation, Peek, Rate, Result, StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

# One answer for `T | Awaitable[T]`: the fact itself, or the awaitable of it.
Gathered = Any


def _fact(value: Any, use: Callable[[Any], Any]) -> Gathered:
    """`use(value)`, at once or later; what a store could not say then is `Unavailable`."""
    result = then(value, use)
    return _guarded(result) if is_later(result) else result


async def _guarded(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except (AccountsError, StandingError) as error:
        return Unavailable(str(error))


def attempt_keys(session: GateSession, name: str) -> tuple[tuple[str, Rate], ...]:
    """The rates that a failed login counts against: the name as seen from the peer's network, then the network."""
    settings = session.parts.policy.settings_of(auth_attempts.CHECK)
    assert isinstance(settings, auth_attempts.Settings)
    network = prefix_of(session.peer.ip) if session.peer.ip else "unix"
    per_prefix = (f"auth:net:{network}", Rate(settings.per_prefix.units, settings.per_prefix.period))
    if not name:
        return (per_prefix,)
    per_account = (f"auth:name:{name.lower()}|{network}", Rate(settings.per_account.units, settings.per_account.period))
    return per_account, per_prefix


def attempts(session: GateSession, facts: AuthFacts) -> Gathered:
    """How the failed logins of this name and network stand; nothing is counted yet."""
    operations = [Peek(key, rate) for key, rate in attempt_keys(session, facts.name)]
    parts = session.parts
    known = False
    if facts.name and session.peer.ip:
        good = parts.standing.recall("good", good_key(facts.name, session.peer.ip), parts.clock.unix())
        known = isinstance(good, bytes)
    try:
        levels = parts.standing.tally(operations, parts.clock.unix())
    except StandingError as error:
        return Unavailable(str(error))
    return _fact(levels, lambda found: _attempt_levels(found, bool(facts.name), known))


def _attempt_levels(results: list[Result], has_name: bool, known_good: bool) -> AttemptLevels:
    levels = [result for result in results if isinstance(result, Level)]
    return AttemptLevels(
        account_wait=levels[0].wait if has_name else 0.0,
        prefix_wait=levels[-1].wait,
        failures=round(levels[0].used),
        known_good=known_good,
    )


def failed_attempt(session: GateSession, name: str) -> list[Operation]:
    """What a failed login counts."""
    return [Charge(key, rate) for key, rate in attempt_keys(session, name)]


def good_key(name: str, ip: str) -> str:
    """Where a login of `name` from the network of `ip` that went well is remembered."""
    return f"login:{name.lower()}|{prefix_of(ip)}"


def resolution(session: GateSession, facts: RcptFacts) -> Gathered:
    """What the forward-path is here."""
    if facts.syntax is not None:
        return "foreign"  # there is no path to look at, and its refusal needs none
    try:
        return _fact(session.parts.directory.resolve(facts.forward_path), _kind)
    except AccountsError as error:
        return Unavailable(str(error))


def _kind(found: Resolution) -> str:
    return found.kind


def sender_allowed(session: GateSession, facts: MailFacts) -> Gathered:
    """Whether the account that the peer acts for may use the reverse-path."""
    name = facts.session.account
    if not name:
        return True
    parts = session.parts
    if session.peer.user:
        return gather_authors.local_user_may_use(session, facts.reverse_path)
    try:
        account = parts.directory.account(name)
        return _fact(account, lambda found: _may_send(session, found, facts))
    except AccountsError as error:
        return Unavailable(str(error))


def _may_send(session: GateSession, account: Account | None, facts: MailFacts) -> Gathered:
    if account is None:
        return False  # removed since the login
    return session.parts.directory.may_send_as(account, facts.reverse_path)


GATHERERS: Final[Mapping[str, Callable[[Any, Any], Gathered]]] = {
    "access": gather_client.access,
    "ban": gather_client.ban,
    "connections": gather_client.connections,
    "arrivals": gather_client.arrivals,
    "attempts": attempts,
    "resolution": resolution,
    "sender_allowed": sender_allowed,
    "allowances": gather_rates.allowances,
    "unseen": gather_rates.unseen,
    "recipient_levels": gather_rates.recipient_levels,
    "rooms": gather_recipient.rooms,
    "list_standing": gather_recipient.list_standing,
    "charged": gather_rates.charged,
    "levels": gather_commands.command_levels,
    "scope": gather_commands.list_scope,
    "harvest": gather_harvest.harvest,
    "sender_is_ours": gather_authors.sender_is_ours,
    "from_": gather_authors.from_,
}
"""By the name of the field of the stage's facts."""
