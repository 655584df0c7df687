"""POP-before-SMTP grants: made by a login, found by address, ended, each with its event. They live in `standing`, table
"grant": one fact for each address (IPv6: each /64), changed only as it was read, so that workers undo nothing of each
other.

The rules are in `standing.grants`. Not here: which grant counts for a message (`gate.granted`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec

from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account
from gatepost.accounts.port import AccountsError
from gatepost.audit.event import Event, Recorder
from gatepost.gate.later import is_later, then
from gatepost.mail.network import NetworkSet, holder_of
from gatepost.ports.clock import Clock, Ids
from gatepost.standing.grants import (
    NOTHING,
    OVER,
    Ended,
    Grant,
    GrantSettings,
    Held,
    Outcome,
    SeenLogin,
    after_login,
    without,
)
from gatepost.standing.port import StandingError, StandingStore

TABLE: Final = "grant"
ATTEMPTS: Final = 20  # another worker comes between one reading and writing, not between twenty

GONE: Final = "the account is gone"
CHANGED: Final = "a password of the account was changed or ended"
REVOKED: Final = "revoked"
SWITCHED_OFF: Final = "POP-before-SMTP was switched off"
OUTSIDE: Final = "the address is in none of `networks` any more"
GATEWAY: Final = "a proxy or gateway has the address, and others stand behind it"

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Held).decode

EventOf = Callable[..., Event]
"""Makes an event of kind "grant" with these fields, of the session that it belongs to."""


class Grants:
    """The grants of this server, as one process makes and finds them.

    Methods raise StandingError where the memory cannot be had, RecordError where the record cannot be written.
    """

    def __init__(
        self,
        settings: GrantSettings,
        standing: StandingStore,
        directory: Directory,
        recorder: Recorder | None,
        clock: Clock,
        ids: Ids,
        is_gateway: Callable[[str], Any] = lambda _: False,
    ) -> None:
        """recorder: None where grants are only looked at. is_gateway: whether an address is that of a proxy or gateway
        in front of us; at once or as an awaitable."""
        self.settings = settings
        self._networks = NetworkSet(settings.networks)
        self._standing = standing
        self._directory = directory
        self._recorder = recorder
        self._clock = clock
        self._ids = ids
        self._is_gateway = is_gateway

    # --- looking up ----------------------------------------------------------------------------------------------

    def covers(self, ip: str) -> bool:
        """Whether grants are made and count at this address at all."""
        return self.settings.enabled and ip in self._networks

    def find(self, ip: str) -> Any:
        """The live grants of an address that `covers` says yes to, the latest login first; or an awaitable of that.

        A gateway's address has none.
        """
        now = self._clock.unix()

        def found(packed: bytes | None) -> Any:
            live = _held(packed).live(now)
            if not live:
                return ()
            return then(self._is_gateway(ip), lambda is_gateway: () if is_gateway else live)

        return then(self._standing.recall(TABLE, holder_of(ip), now), found)

    def all(self) -> list[tuple[str, Grant]]:
        """(address, grant) of every live one, by address. May block for a while."""
        now = self._clock.unix()
        facts = self._standing.recall_all(TABLE, now)
        return [(fact.key, grant) for fact in facts for grant in _held(fact.value).live(now)]

    # --- making --------------------------------------------------------------------------------------------------

    async def logged_in(
        self, ip: str, account: Account, credential: str | None, *, by: str, is_private: bool, event_of: EventOf
    ) -> Outcome | None:
        """What a good login from `ip` did; None where grants are not made. Durable and on the record.

        credential: the app password, "" for the account's own password, None if another server has checked it. by: the
        service. is_private: it was encrypted, or came from this machine.
        """
        if not self.covers(ip):
            return None
        login = SeenLogin(
            account.address,
            self._ids.new(),
            by,
            is_private,
            bool(await _had(self._is_gateway(ip))),
            credential,
            proof_of(account, credential),
            _end_of(account, credential),
        )
        holder = holder_of(ip)
        outcome = await self._change(holder, lambda held, now: after_login(held, login, now, self.settings))
        self._record_ends(holder, outcome.ended)
        if outcome.grant is None:
            details = {"what": "refused", "address": holder, "why": outcome.refused, "by": by}
            self._record(event_of(id=self._ids.new(), details=details))
            return outcome
        try:
            self._record_made(holder, outcome.grant, event_of, is_new=outcome.is_new)
        except BaseException:
            await self.end(holder, outcome.grant, "it could not be recorded", is_recorded=False)
            raise
        return outcome

    def _record_made(self, holder: str, grant: Grant, event_of: EventOf, *, is_new: bool) -> None:
        details = {"what": "made" if is_new else "prolonged", "address": holder, "until": grant.until, "by": grant.by}
        if grant.credential:
            details["app_password"] = grant.credential
        if not is_new:
            details["grant"] = grant.id
        self._record(event_of(id=grant.id if is_new else self._ids.new(), details=details))

    # --- ending --------------------------------------------------------------------------------------------------

    async def end(self, holder: str, grant: Grant, why: str, *, is_recorded: bool = True) -> None:
        """End one grant, if it is still as it was read."""
        await self._end_where(holder, lambda each: why if each == grant else "", is_recorded=is_recorded)

    async def revoke(self, which: str, by: str) -> list[tuple[str, Grant]]:
        """(address, grant) of those that it ended: all of the account, or all at the address, that `which` names.

        which: "ada@example.org", "192.0.2.7", "2001:db8::/64" (as `holder_of` writes it). by: the person.
        """
        revoked: list[tuple[str, Grant]] = []
        for holder in {holder: None for holder, grant in self.all() if which in (holder, grant.account)}:
            why = partial(_revoked, which, holder, self._clock.unix())
            revoked += [(holder, each.grant) for each in await self._end_where(holder, why, by)]
        return revoked

    async def review(self) -> None:
        """End what is over, and put each end on the record once; to be called every few seconds by each worker."""
        for fact in self._standing.recall_all(TABLE, self._clock.unix()):
            await self._review(fact.key, _held(fact.value).grants)

    async def _review(self, holder: str, grants: tuple[Grant, ...]) -> None:
        reasons = {grant: await self._why_over(holder, grant) for grant in grants}
        if any(reasons.values()):
            await self._end_where(holder, lambda grant: reasons.get(grant, ""))

    async def _end_where(
        self, holder: str, why: Callable[[Grant], str], by: str = "", *, is_recorded: bool = True
    ) -> tuple[Ended, ...]:
        outcome = await self._change(holder, lambda held, _: _ended(held, why))
        if is_recorded:
            self._record_ends(holder, outcome.ended, by)
        return outcome.ended

    async def _why_over(self, holder: str, grant: Grant) -> str:
        """Why a grant does not count any more, "" while it does."""
        ip = holder.partition("/")[0]
        if grant.until <= self._clock.unix():
            return OVER
        if not self.settings.enabled:
            return SWITCHED_OFF
        if "/" not in holder and ip not in self._networks:
            return OUTSIDE
        if await _had(self._is_gateway(ip)):
            return GATEWAY
        try:
            return why_over(await _had(self._directory.account(grant.account)), grant)
        except AccountsError:
            return ""  # nobody can say now; whoever uses it is asked again

    def _record_ends(self, holder: str, ended: tuple[Ended, ...], by: str = "") -> None:
        for each in ended:
            details = {"what": "ended", "address": holder, "why": each.why, "grant": each.grant.id}
            if by:
                details["by"] = by
            event = Event("grant", id=self._ids.new(), login=each.grant.account, details=details)
            self._record(event)

    def _record(self, event: Event) -> None:
        assert self._recorder is not None  # whoever changes something has one
        self._recorder.record(event)

    # --- the fact ------------------------------------------------------------------------------------------------

    async def _change(self, holder: str, change: Callable[[Held, float], Outcome]) -> Outcome:
        """What `change` made of what is held at the address, once that is durable."""
        standing = self._standing
        for _ in range(ATTEMPTS):
            now = self._clock.unix()
            before: bytes | None = await _had(standing.recall(TABLE, holder, now))
            held = _held(before)
            outcome = change(held, now)
            if outcome.held == held:
                return outcome
            until = outcome.held.kept_until(now, self.settings)
            if await standing.replace(TABLE, holder, before, _encode(outcome.held), until, now):
                return outcome
        raise StandingError(f"grants of {holder} change all the time; look who logs in from there so often")


def _ended(held: Held, why: Callable[[Grant], str]) -> Outcome:
    left, ended = without(held, why)
    return Outcome(left, ended=ended)


def _revoked(which: str, holder: str, now: float, grant: Grant) -> str:
    return REVOKED if grant.until > now and which in (holder, grant.account) else ""


def _held(packed: bytes | None) -> Held:
    if packed is None:
        return NOTHING
    try:
        return _decode(packed)
    except msgspec.DecodeError:  # of another version; whoever it was logs in again
        return NOTHING


def why_over(account: Account | None, grant: Grant) -> str:
    """Why the account as it is now ends its grant, "" while it does not."""
    if account is None:
        return GONE
    return "" if proof_of(account, grant.credential) == grant.proof else CHANGED


def proof_of(account: Account, credential: str | None) -> str:
    """A digest of the passwords that a login stands on: the account's own, and the app password that was used; all of
    them where it is not known which. A new one, even of the same text, gives another."""
    relevant = [each.argon2 for each in account.credentials if credential is None or each.name in ("", credential)]
    digest = hashlib.blake2b(digest_size=16)
    for part in (str(account.created), *sorted(relevant)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _end_of(account: Account, credential: str | None) -> float | None:
    """When the app password ends that was used."""
    return next((each.ends for each in account.credentials if credential and each.name == credential), None)


async def _had(value: Any | Awaitable[Any]) -> Any:
    return await value if is_later(value) else value
