"""POP-before-SMTP inside sessions: a POP3 login that may make a grant, and the grant that counts for a message.

A peer at an address with live grants is still a stranger. Only a MAIL under an address of a granted account makes it
that account, and only until the transaction is over: whoever else is behind the address stays what it was. Not here:
making, finding and ending grants (`gate.grants`).
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from gatepost.accounts.addresses import key_of, same_or_detail
from gatepost.accounts.model import Account
from gatepost.accounts.port import AccountsError
from gatepost.audit.event import RecordError
from gatepost.gate.grants import Grants, why_over
from gatepost.gate.later import is_later, then
from gatepost.mail.address import Path
from gatepost.mail.network import holder_of
from gatepost.policy.checks.tls_required import has_privacy
from gatepost.standing.grants import Grant
from gatepost.standing.port import StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

log = structlog.get_logger()

SERVICES: Final = frozenset({"mx", "submission", "submissions"})
FRESH_SECONDS: Final = 1.0  # a session that sends many messages looks again so often: a grant may have been revoked


class Granted(msgspec.Struct):
    """What one session knows of the grants at its peer's address. live: the latest login first. error: why that cannot
    be known, "" when it is. looked_at: by the monotonic clock. chosen: the one that counts for the open transaction."""

    live: tuple[Grant, ...] = ()
    error: str = ""
    looked_at: float = 0.0
    chosen: Grant | None = None


# --- the login over POP3 -------------------------------------------------------------------------------------------


async def grant_after_login(session: GateSession, name: str, credential: str) -> None:
    """`name` has logged in well over POP3: make or prolong its grant, where that is configured and nothing speaks
    against it; either is on the record. credential: the app password, "" for the account's own. Raises RecordError."""
    grants = _grants_for(session)
    if grants is None:
        return
    event_of = partial(session.event, "grant")
    facts = session.facts
    try:
        account: Account | None = await _had(session.parts.directory.account(name))
        if account is not None:
            await grants.logged_in(
                session.peer.ip,
                account,
                credential,
                by=facts.service,
                is_private=has_privacy(facts),
                event_of=event_of,
            )
    except (AccountsError, StandingError) as error:
        log.error("no grant after a login", account=name, error=str(error))
        details = {"what": "refused", "address": holder_of(session.peer.ip), "why": str(error), "by": facts.service}
        session.record(event_of(id=session.parts.ids.new(), details=details))


def _grants_for(session: GateSession) -> Grants | None:
    """None where grants do not count: switched off, another network, or a proxy that could not name its client."""
    grants, peer = session.parts.grants, session.peer
    if grants is None or not grants.covers(peer.ip) or peer.direct == peer.ip:
        return None
    return grants


# --- the session over SMTP -----------------------------------------------------------------------------------------


def look(session: GateSession) -> Any:
    """Learn which accounts are granted at the peer's address: None, now or as an awaitable. One look-up, made when the
    session begins."""
    if session.facts.service not in SERVICES:
        return None
    grants = _grants_for(session)
    return None if grants is None else _look(session, grants)


def _look(session: GateSession, grants: Grants) -> Any:
    def learned(live: tuple[Grant, ...]) -> None:
        session.granted = Granted(live, looked_at=session.parts.clock.monotonic())
        names = tuple(grant.account for grant in live)
        if names != session.facts.granted:
            session.know(granted=names)

    try:
        result = then(grants.find(session.peer.ip), learned)
    except StandingError as error:
        _unknown(session, error)
        return None
    return _look_later(session, result) if is_later(result) else None


async def _look_later(session: GateSession, result: Awaitable[None]) -> None:
    try:
        await result
    except StandingError as error:
        _unknown(session, error)


def _unknown(session: GateSession, error: StandingError) -> None:
    session.granted = Granted(error=str(error), looked_at=session.parts.clock.monotonic())


def choose(session: GateSession, reverse_path: Path) -> Any:
    """Let a grant count for the transaction that MAIL begins, if the reverse-path is one of a granted account: the
    session's facts say so then. None, now or as an awaitable."""
    release(session)
    facts = session.facts
    if session.granted is None or facts.login or facts.certificate or facts.network_may_relay:
        return None
    grants = session.parts.grants
    assert grants is not None  # who looked had them
    return _choose(session, grants, reverse_path)


async def _choose(session: GateSession, grants: Grants, path: Path) -> None:
    known = session.granted
    assert known is not None  # the caller looked
    if known.error or session.parts.clock.monotonic() - known.looked_at > FRESH_SECONDS:
        await _had(_look(session, grants))
        known = session.granted or known
    if known.error:
        session.know(grant_unknown=known.error)
        return
    now = session.parts.clock.unix()
    fitting: list[Grant] = []
    standing: list[Grant] = []
    try:
        for grant in known.live:
            account = await _account_of(session, grants, grant) if grant.until > now else None
            if account is None:
                continue
            standing.append(grant)
            if not path.is_null and await _had(session.parts.directory.may_send_as(account, path)):
                fitting.append(grant)
    except AccountsError as error:
        session.know(grant_unknown=str(error))
        return
    known.live = tuple(standing)
    if fitting:
        known.chosen = next((grant for grant in fitting if _is_own(grant, path)), fitting[0])
        session.know(grant=known.chosen.account)


async def _account_of(session: GateSession, grants: Grants, grant: Grant) -> Account | None:
    """The account of a grant, as it is now; None, and the grant is over, where it is not what it was."""
    account: Account | None = await _had(session.parts.directory.account(grant.account))
    why = why_over(account, grant)
    if not why:
        return account
    if not session.only_asks:
        try:
            await grants.end(holder_of(session.peer.ip), grant, why)
        except (StandingError, RecordError) as error:
            log.error("a grant is not ended; it does not count all the same", grant=grant.id, error=str(error))
    return None


def _is_own(grant: Grant, path: Path) -> bool:
    """The address of the account itself; several may have the same alias."""
    return same_or_detail(key_of(path), grant.account)


def release(session: GateSession) -> None:
    """The transaction is over: the peer is a stranger again."""
    known = session.granted
    if known is not None and (known.chosen is not None or session.facts.grant_unknown):
        known.chosen = None
        session.know(grant="", grant_unknown="")


def note_use(session: GateSession, message: str, reverse_path: Path, *, accepted: bool) -> None:
    """Put on the record that a grant counts for a message, or that the sender is none that is granted here.

    accepted: MAIL was. Raises RecordError.
    """
    known = session.granted
    if known is None or not known.live or session.only_asks:
        return
    grant, address = known.chosen, holder_of(session.peer.ip)
    details: dict[str, Any]
    if grant is None:
        facts = session.facts
        if facts.login or facts.certificate or facts.network_may_relay:
            return
        details = {"what": "not used", "address": address, "accounts": [each.account for each in known.live],
                   "why": "the sender is no address of these accounts"}  # fmt: skip
    elif not accepted:
        return
    else:
        details = {"what": "used", "address": address, "grant": grant.id, "until": grant.until}
    session.record(session.event(
        "grant", id=session.parts.ids.new(), message=message, sender=str(reverse_path), details=details
    ))  # fmt: skip


async def _had(value: Any) -> Any:
    return await value if is_later(value) else value
