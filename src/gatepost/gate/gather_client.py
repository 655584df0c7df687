"""Gatherers of the connection: tables, bans, and the counters of `client.connections` and `client.rate`.

All that is asked of `standing` about a new connection is one tally, made by whichever of these facts is needed first.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.gate.bans import VERSION, Bans
from gatepost.gate.later import is_later, then
from gatepost.mail.network import holder_of, prefix_of
from gatepost.policy.checks import client_banned, client_connections, client_rate
from gatepost.policy.facts import ArrivalWaits, ConnectFacts, ConnectionCounts, Listing, Unavailable
from gatepost.standing.port import Charge, Enter, Level, Operation, Peek, Rate, Result, StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

NOT_LISTED: Final = Listing()


class Arrival(msgspec.Struct, frozen=True):
    """What one tally told of a new connection; None for what was not asked."""

    version: bytes | None = None
    connections: ConnectionCounts | None = None
    waits: ArrivalWaits | None = None


def access(session: GateSession, _facts: ConnectFacts) -> Any:
    """What the operator's tables say of the peer; its name is looked up only where that can matter."""
    tables, ip = session.parts.access, session.peer.ip
    if tables is None or not ip:
        return NOT_LISTED
    return tables.find(ip)


def ban(session: GateSession, _facts: ConnectFacts) -> Any:
    """The ban that the peer is under. `trusted` peers are never, nor is a program of this machine."""
    bans = session.parts.bans
    if session.facts.trusted or not isinstance(bans, Bans):
        return None

    def found(arrival: Arrival | Unavailable) -> Any:
        if isinstance(arrival, Unavailable):
            return arrival
        try:
            result = bans.find(session.peer.ip, arrival.version, session.parts.clock.unix())
        except StandingError as error:
            return Unavailable(str(error))
        return _guarded(result) if is_later(result) else result

    return then(_arrival(session), found)


def connections(session: GateSession, _facts: ConnectFacts) -> Any:
    """How many connections there are with this one."""
    return then(_arrival(session), lambda arrival: arrival if _is_unknown(arrival) else arrival.connections)


def arrivals(session: GateSession, _facts: ConnectFacts) -> Any:
    """How the rates of new connections stand, this one counted where it is within them."""
    if session.facts.trusted:
        return ArrivalWaits(0.0, 0.0)
    return then(_arrival(session), lambda arrival: arrival if _is_unknown(arrival) else arrival.waits)


def _is_unknown(arrival: Arrival | Unavailable) -> bool:
    return isinstance(arrival, Unavailable)


def _arrival(session: GateSession) -> Any:
    """The `Arrival` of this connection (or Unavailable): from the first fact that needs it on, it is counted."""
    known = session.arrival
    if known is not None:
        return known
    operations = _operations(session)

    def told(results: list[Result]) -> Arrival:
        session.arrival = arrival = _read(operations, results)
        return arrival

    try:
        result = then(session.parts.standing.tally(operations, session.parts.clock.unix()), told)
    except StandingError as error:
        session.arrival = unknown = Unavailable(str(error))
        return unknown
    return _guarded(result) if is_later(result) else result


def _operations(session: GateSession) -> list[Operation]:
    """What is asked and counted, as far as the checks of this service want it; with `only_asks` nothing is counted."""
    policy, service, ip = session.parts.policy, session.facts.service, session.peer.ip
    operations: list[Operation] = []
    is_limited = ip and not session.facts.trusted
    if is_limited and policy.mode(client_banned.NAME, service) != "off":
        operations.append(VERSION)
    if policy.mode(client_connections.NAME, service) != "off" and not session.only_asks:
        operations += [Enter(key) for key in session.counted_keys()]
    if is_limited and policy.mode(client_rate.NAME, service) != "off":
        settings = policy.settings_of(client_rate.CHECK)
        assert isinstance(settings, client_rate.Settings)
        for key, quota in (
            (f"arrive:ip:{holder_of(ip)}", settings.per_address),
            (f"arrive:net:{prefix_of(ip)}", settings.per_prefix),
        ):
            rate = Rate(quota.units, quota.period)
            operations.append(Peek(key, rate) if session.only_asks else Charge(key, rate, together=True))
    return operations


def _read(operations: list[Operation], results: list[Result]) -> Arrival:
    version: bytes | None = None
    counts: list[int] = []
    waits: list[float] = []
    for operation, result in zip(operations, results, strict=True):
        if operation is VERSION:
            assert not isinstance(result, Level | int)
            version = result
        elif isinstance(result, Level):
            waits.append(result.wait)
        elif isinstance(result, int):
            counts.append(result)
    return Arrival(
        version,
        ConnectionCounts(counts[0], counts[-2], counts[-1]) if counts else ConnectionCounts(0, 0, 0),
        ArrivalWaits(*waits) if waits else ArrivalWaits(0.0, 0.0),
    )


async def _guarded(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except StandingError as error:
        return Unavailable(str(error))
