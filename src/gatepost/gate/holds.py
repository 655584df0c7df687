"""Accounts that are held: what they send is kept and not sent, unless it comes from where the account is at home.

Laid by detectors and by hand, lifted by hand. A hold lives in `standing`, table "good", beside the networks that the
account uses (`gate.proof`): its owner goes on sending from home, and notices nothing; whoever else has the password
fills the queue. Not here: what a held message is answered (`policy.checks.sender_held`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.audit.event import Event, Recorder
from gatepost.gate.later import had, is_later, then
from gatepost.gate.proof import KNOWN_FOR, home_key, network_of
from gatepost.policy.facts import MessageFacts
from gatepost.policy.findings import AccountHold
from gatepost.ports.clock import Clock, Ids
from gatepost.standing.port import StandingStore

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

HELD_SECONDS: Final = 30 * 86400.0  # as long as the networks are remembered that tell who is at home, or shorter

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(AccountHold).decode


def hold_key(account: str) -> str:
    """Where it is remembered that an account is held."""
    return f"hold:{account}"


class Holds:
    """Lays and lifts holds. Methods raise StandingError, RecordError."""

    def __init__(self, standing: StandingStore, recorder: Recorder, clock: Clock, ids: Ids) -> None:
        self._standing = standing
        self._recorder = recorder
        self._clock = clock
        self._ids = ids

    async def lay(self, account: str, reason: str, event_id: str, by: str = "") -> bool:
        """Whether the account was not held before; it is now, durably and on the record. event_id: of the event that
        tells why, "" for none. by: the person, "" for a detector."""
        if await self.find(account) is not None:
            return False
        now = self._clock.unix()
        hold = AccountHold(account, reason, now, event_id, by)
        await self._standing.remember("good", hold_key(account), _encode(hold), now + HELD_SECONDS)
        self._record("account held", account, {"reason": reason, "event": event_id, "by": by})
        return True

    async def lift(self, account: str, by: str = "") -> bool:
        """Whether it was held; it is not any more. What is in the queue stays there."""
        if not await self._standing.forget("good", hold_key(account)):
            return False
        self._record("account released", account, {"by": by})
        return True

    async def find(self, account: str) -> AccountHold | None:
        """The hold on the account, None for none."""
        return await find_hold(self._standing, account, self._clock.unix())

    def _record(self, what: str, account: str, details: dict[str, str]) -> None:
        told = {name: value for name, value in details.items() if value}
        event = Event("ban", id=self._ids.new(), login=account, details={"what": what, "account": account, **told})
        self._recorder.record(event)


def frozen_event(account: str, entries: Sequence[str]) -> Event:
    """That these messages, which were in the queue already, are frozen with their account."""
    details = {"what": "queued messages held", "account": account, "messages": list(entries[:100]),
               "count": len(entries)}  # fmt: skip
    return Event("server", login=account, details=details)


async def find_hold(standing: StandingStore, account: str, now: float) -> AccountHold | None:
    """The hold on an account, None for none. Raises StandingError."""
    value: Any = standing.recall("good", hold_key(account), now)
    packed: bytes | None = await value if is_later(value) else value
    return None if packed is None else _decode(packed)


def account_hold(session: GateSession, facts: MessageFacts) -> Any:
    """The gatherer: the hold on the account that the peer acts for, None where there is none, or where the account has
    been at home for a day or more when it was laid."""
    account = facts.session.account
    if not account:
        return None
    standing, now = session.parts.standing, session.parts.clock.unix()

    def found(packed: bytes | None) -> Any:
        if packed is None:
            return None
        hold = _decode(packed)
        network = network_of(session)
        if not network:
            return hold
        home = standing.recall("good", home_key(account, network), now)
        return then(home, lambda value: None if _is_home(value, hold) else hold)

    return had(lambda: standing.recall("good", hold_key(account), now), found)


def _is_home(value: bytes | None, hold: AccountHold) -> bool:
    """value: when the account first logged in from there, and when that was last noted."""
    return value is not None and float(value.split()[0]) <= hold.since - KNOWN_FOR
