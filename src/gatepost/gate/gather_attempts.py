"""What `auth.attempts` counts. A login is counted as a failure before its password is looked at, and taken back when it
went well: so those that run side by side cannot get past a limit together.

Names are kept as keyed hashes: people type passwords where a name should stand.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.accounts.authentication import login_key
from gatepost.gate.later import had, is_later, then
from gatepost.mail.network import prefix_of
from gatepost.mail.units import Quota
from gatepost.policy.checks import auth_attempts
from gatepost.policy.facts import AuthFacts
from gatepost.policy.findings import AttemptLevels
from gatepost.standing.port import Charge, Level, Note, Noted, Operation, Peek, Rate, Refund, Result

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

NOTHING_COUNTED: Final = AttemptLevels(0.0, 0.0, 0)


class Counted(msgspec.Struct, frozen=True):
    """What the attempt of this session counted.

    charges: that were taken. names: that of different names. seen: where it is noted that the network failed with this
    one, so that it counts once. failures: of the name from the network, this attempt included.
    """

    charges: tuple[Charge, ...]
    names: Charge
    seen: str
    was_seen: bool
    failures: int


def attempts(session: GateSession, facts: AuthFacts) -> Any:
    """How the failed logins of this name and network stand, this attempt counted as one. Before the name is known
    nobody is asked: it may be that of a peer who is not to be locked out."""
    name = facts.name
    if not name:
        return NOTHING_COUNTED
    return had(lambda: known(session, name), lambda found: _count(session, name, *found))


def known(session: GateSession, name: str) -> Any:
    """Whether `name`, and whether anybody, logged in from the peer's network lately."""
    standing, ip, now = session.parts.standing, session.peer.ip, session.parts.clock.unix()
    if not ip:
        return (False, False)
    answers = [standing.recall("good", key, now) for key in (good_key(name, ip), network_key(ip))]
    if any(is_later(each) for each in answers):
        return _known_later(answers)
    return tuple(each is not None for each in answers)


async def _known_later(answers: Sequence[Any]) -> tuple[bool, ...]:
    return tuple([(await each if is_later(each) else each) is not None for each in answers])


def _count(session: GateSession, name: str, is_known: bool, good_network: bool) -> Any:
    settings = session.parts.policy.settings_of(auth_attempts.CHECK)
    assert isinstance(settings, auth_attempts.Settings)
    network = prefix_of(session.peer.ip) if session.peer.ip else "unix"
    who = _hidden(session, name)
    seen = f"auth:seen:{who}|{network}"
    account = _charge(f"auth:name:{who}|{network}", settings.per_account)
    prefix = _charge(f"auth:net:{network}", settings.per_prefix)
    names = _charge(f"auth:names:{network}", settings.names)
    spread = _charge(f"auth:spread:{who}", settings.spread)
    standing, now = session.parts.standing, session.parts.clock.unix()

    def noted(results: list[Result]) -> Any:
        was_seen = results[0] is not None
        charges = [account, prefix, *([] if is_known else [spread]), *([] if was_seen else [names])]
        if session.only_asks:
            return then(standing.tally([_peek(each) for each in charges], now), lambda found: told(charges, found))
        return then(standing.tally(charges, now), lambda found: counted(charges, found, was_seen))

    def counted(charges: list[Charge], results: list[Result], was_seen: bool) -> Any:
        levels = told(charges, results)
        allowed = zip(charges, results, strict=True)
        taken = tuple(charge for charge, level in allowed if isinstance(level, Level) and level.allowed)
        session.attempt = Counted(taken, names, seen, was_seen, levels.failures + 1)
        if names not in taken:
            return levels
        note = Note(seen, b"", now + settings.names.period)
        return then(standing.tally([note], now), lambda _: levels)

    def told(charges: list[Charge], results: list[Result]) -> AttemptLevels:
        levels = {charge.key: level for charge, level in zip(charges, results, strict=True)}
        at = _level(levels, account)
        return AttemptLevels(
            account_wait=at.wait,
            prefix_wait=_level(levels, prefix).wait,
            failures=round(at.used - (at.allowed and not session.only_asks)),
            known_good=is_known,
            names_wait=_level(levels, names).wait,
            spread_wait=_level(levels, spread).wait,
            good_network=good_network,
        )

    return then(standing.tally([Noted(seen)], now), noted)


_WITHIN: Final = Level(True, 0.0, 0.0)  # of a rate that this attempt does not count against


def _level(levels: dict[str, Result], charge: Charge) -> Level:
    level = levels.get(charge.key, _WITHIN)
    assert isinstance(level, Level)
    return level


def stays_counted(session: GateSession) -> int:
    """The attempt failed, or was not even tried. How often its name has failed from the network, 0 if not known."""
    counted, session.attempt = session.attempt, None
    return counted.failures if counted is not None else 0


def taken_back(session: GateSession, *, succeeded: bool) -> list[Operation]:
    """What takes the attempt back: it went well, or nobody could say whether it would have. A name that logs in was
    no guess, so earlier failures of it in this network are none of its different names either."""
    counted, session.attempt = session.attempt, None
    if counted is None:
        return []
    names = counted.names
    operations: list[Operation] = [Refund(each.key, each.rate, each.cost) for each in counted.charges if each != names]
    was_charged = names in counted.charges
    if was_charged or (counted.was_seen and succeeded):
        operations += [Refund(names.key, names.rate, names.cost), Note(counted.seen, b"", 0.0)]
    return operations


def good_key(name: str, ip: str) -> str:
    """Where a login of `name` from the network of `ip` that went well is remembered."""
    return f"login:{login_key(name)}|{prefix_of(ip)}"


def network_key(ip: str) -> str:
    """Where it is remembered that some account logged in from the network of `ip`."""
    return f"login:|{prefix_of(ip)}"


def _hidden(session: GateSession, name: str) -> str:
    octets = b"attempt\0" + login_key(name).encode("utf-8", "surrogatepass")
    return hmac.digest(session.parts.secret, octets, "sha256").hex()[:32]


def _charge(key: str, quota: Quota) -> Charge:
    return Charge(key, Rate(quota.units, quota.period))


def _peek(charge: Charge) -> Peek:
    return Peek(charge.key, charge.rate, charge.cost)
