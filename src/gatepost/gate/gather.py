"""Gatherers: each brings one fact that a check named in `needs`, at once or as an awaitable.

What cannot be had becomes `Unavailable`, never an exception: the check that reads it defers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gatepost.accounts.model import Account, Resolution
from gatepost.accounts.port import AccountsError
from gatepost.gate import (
    gather_attempts,
    gather_authors,
    gather_client,
    gather_commands,
    gather_dkim,
    gather_dns,
    gather_harvest,
    gather_rates,
    gather_recipient,
    gather_sealed,
    gather_sealing,
    gather_spf,
    shared,
)
from gatepost.gate.callouts import callout
from gatepost.gate.holds import account_hold
from gatepost.gate.later import is_later, then
from gatepost.gate.probes import probe
from gatepost.policy.facts import MailFacts, RcptFacts
from gatepost.policy.findings import Unavailable
from gatepost.standing.port import StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

_NAMES: Final = ("alias", "catch-all", "role")  # that may stand for one account
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


def resolution(session: GateSession, facts: RcptFacts) -> Gathered:
    """What the forward-path is here."""
    if facts.syntax is not None:
        return "foreign"  # there is no path to look at, and its refusal needs none
    try:
        return _fact(session.parts.directory.resolve(facts.forward_path), lambda found: _kind(session, facts, found))
    except AccountsError as error:
        return Unavailable(str(error))


def _kind(session: GateSession, facts: RcptFacts, found: Resolution) -> Gathered:
    session.resolved = facts.forward_path, found
    if found.account is not None:
        return _to_own_key(session, facts, found.kind, found.account)
    if found.kind == "list":
        shared.note(session, facts.forward_path)
    if found.kind not in _NAMES:
        return found.kind
    reader = session.parts.directory.sole_reader(facts.forward_path)
    return then(reader, lambda account: _to_own_key(session, facts, found.kind, account))


def _to_own_key(session: GateSession, facts: RcptFacts, kind: str, account: Account | None) -> str | Unavailable:
    """`kind`; where all mail for this recipient is of one account that wants it encrypted, that is noted."""
    if account is None:
        shared.note(session, facts.forward_path)
        return kind
    if account.seal is None:
        return kind
    # It must not lie here in clear, and a peer that waits gives its owner time.
    if account.seal.until is not None and account.seal.until <= session.parts.clock.unix():
        return Unavailable(
            f"the key that {account.address} wants its mail encrypted to has expired; it needs a new one"
        )
    session.own_keys[str(facts.forward_path)] = account.address, account.seal.material
    return kind


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
    "attempts": gather_attempts.attempts,
    "resolution": resolution,
    "sender_allowed": sender_allowed,
    "allowances": gather_rates.allowances,
    "unseen": gather_rates.unseen,
    "recipient_levels": gather_rates.recipient_levels,
    "rooms": gather_recipient.rooms,
    "list_standing": gather_recipient.list_standing,
    "charged": gather_rates.charged,
    "account_hold": account_hold,
    "levels": gather_commands.command_levels,
    "scope": gather_commands.list_scope,
    "harvest": gather_harvest.harvest,
    "sender_dns": gather_dns.sender_dns,
    "recipient_dns": gather_dns.recipient_dns,
    "probe": probe,
    "callout": callout,
    "sender_is_ours": gather_authors.sender_is_ours,
    "from_": gather_authors.from_,
    "spf": gather_spf.spf,
    "spf_excuse": gather_spf.excuse,
    "dkim": gather_dkim.dkim,
    "sealed": gather_sealed.sealed,
    "seal": gather_sealing.seal,
}
"""By the name of the field of the stage's facts."""
