"""Gatherers of the connection: tables, bans, and the counters of `client.connections` and `client.rate`.

All that is asked of `standing` about a new connection is one tally, made by whichever of these facts is needed first.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.gate.bans import VERSION, Bans
from gatepost.gate.later import is_later, then
from gatepost.mail.network import prefix_of
from gatepost.policy.checks import client_banned, client_connections, client_rate
from gatepost.policy.engine import Policy
from gatepost.policy.facts import ConnectFacts, Service
from gatepost.policy.findings import ArrivalWaits, Ban, ConnectionCounts, Listing, Unavailable
from gatepost.standing.port import Charge, Enter, Level, Noted, Operation, Peek, Rate, Result, StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

NOT_LISTED: Final = Listing()
NOT_COUNTED: Final = ConnectionCounts(0, 0, 0)
NO_WAITS: Final = ArrivalWaits(0.0, 0.0)
TLS_IS_OPTIONAL: Final = frozenset({"mx", "lmtp"})
"""Where a peer that cannot do TLS sends its mail in clear."""


class Plan(msgspec.Struct, frozen=True):
    """What is asked of `standing` about a connection to one service, by the modes of the checks that read it.

    rates: of an address and of a network, None where `client.rate` is off.
    """

    asks_bans: bool
    counts: bool
    rates: tuple[Rate, Rate] | None


class Arrival(msgspec.Struct, frozen=True):
    """What one tally told of a new connection. version: of the bans. tls_failed: a handshake with the peer did not
    succeed lately, None where that was not asked."""

    version: bytes | None = None
    connections: ConnectionCounts = NOT_COUNTED
    waits: ArrivalWaits = NO_WAITS
    tls_failed: bool | None = None


def first_facts(session: GateSession) -> Any:
    """The facts with which the decision begins (or an awaitable of them): all of them where the tables are empty, so
    that every fact is needed for certain; else those that the tables make superfluous are not gathered."""
    tables = session.parts.access
    if tables is not None and not tables.is_open:
        return ConnectFacts(session=session.facts)

    def known(arrival: Arrival | Unavailable) -> Any:
        return then(_ban(session, arrival), lambda found: _all_facts(session, arrival, found))

    return then(_arrival(session), known)


def _all_facts(session: GateSession, arrival: Arrival | Unavailable, ban: Ban | Unavailable | None) -> ConnectFacts:
    facts = session.facts
    if isinstance(arrival, Unavailable):
        return ConnectFacts(session=facts, access=NOT_LISTED, ban=ban, connections=arrival, arrivals=arrival)
    return ConnectFacts(
        session=facts, access=NOT_LISTED, ban=ban, connections=arrival.connections, arrivals=arrival.waits
    )


def access(session: GateSession, _facts: ConnectFacts) -> Any:
    """What the operator's tables say of the peer; its name is looked up only where that can matter."""
    tables, ip = session.parts.access, session.peer.ip
    if tables is None or not ip:
        return NOT_LISTED
    return tables.find(ip)


def ban(session: GateSession, _facts: ConnectFacts) -> Any:
    """The ban that the peer is under. `trusted` peers are never, nor is a program of this machine."""
    if session.facts.trusted:
        return None
    return then(_arrival(session), lambda arrival: _ban(session, arrival))


def connections(session: GateSession, _facts: ConnectFacts) -> Any:
    """How many connections there are with this one."""
    return then(_arrival(session), lambda it: it if isinstance(it, Unavailable) else it.connections)


def arrivals(session: GateSession, _facts: ConnectFacts) -> Any:
    """How the rates of new connections stand, this one counted where it is within them."""
    return then(_arrival(session), lambda it: it if isinstance(it, Unavailable) else it.waits)


def _ban(session: GateSession, arrival: Arrival | Unavailable) -> Any:
    bans = session.parts.bans
    if session.facts.trusted or not isinstance(bans, Bans):
        return None
    if isinstance(arrival, Unavailable):
        return arrival
    try:
        found = bans.find(session.peer.ip, arrival.version, session.parts.clock.unix())
    except StandingError as error:
        return Unavailable(str(error))
    return _guarded(found) if is_later(found) else found


def _arrival(session: GateSession) -> Any:
    """The `Arrival` of this connection (or Unavailable): from the first fact that needs it on, it is counted."""
    known = session.arrival
    if known is not None:
        return known
    left = [] if session.only_asks else session.parts.departures.take()
    operations = _operations(session)

    def told(results: list[Result]) -> Arrival:
        session.arrival = arrival = _read(operations, results[len(left) :])
        return arrival

    try:
        result = then(session.parts.standing.tally(left + operations, session.parts.clock.unix()), told)
    except StandingError as error:
        session.arrival = unknown = Unavailable(str(error))
        return unknown
    return _guarded(result) if is_later(result) else result


@lru_cache(maxsize=64)
def _plan(policy: Policy, service: Service) -> Plan:
    settings = policy.settings_of(client_rate.CHECK)
    assert isinstance(settings, client_rate.Settings)
    rates = tuple(Rate(quota.units, quota.period) for quota in (settings.per_address, settings.per_prefix))
    return Plan(
        policy.mode(client_banned.NAME, service) != "off",
        policy.mode(client_connections.NAME, service) != "off",
        (rates[0], rates[1]) if policy.mode(client_rate.NAME, service) != "off" else None,
    )


def _operations(session: GateSession) -> list[Operation]:
    """What is asked and counted; with `only_asks` nothing is counted. `trusted` peers and programs of this machine are
    under no ban and no rate."""
    plan, ip = _plan(session.parts.policy, session.facts.service), session.peer.ip
    operations: list[Operation] = []
    if plan.counts and not session.only_asks:
        operations += [Enter(key) for key in session.counted_keys()]
    if ip and not session.facts.trusted:
        operations += _of_stranger(plan, ip, session.facts.service in TLS_IS_OPTIONAL, session.only_asks)
    return operations


@lru_cache(maxsize=4096)
def _of_stranger(plan: Plan, ip: str, may_start_tls: bool, only_asks: bool) -> tuple[Operation, ...]:
    operations: list[Operation] = []
    if plan.asks_bans:
        operations.append(VERSION)
    if may_start_tls:
        operations.append(Noted(tls_failed_key(ip)))
    if plan.rates is not None:
        keys = f"arrive:ip:{ip}", f"arrive:net:{prefix_of(ip)}"
        for key, rate in zip(keys, plan.rates, strict=True):
            operations.append(Peek(key, rate) if only_asks else Charge(key, rate, 1, True))
    return tuple(operations)


def _read(operations: list[Operation], results: list[Result]) -> Arrival:
    version: bytes | None = None
    tls_failed: bool | None = None
    counts: list[int] = []
    waits: list[float] = []
    for operation, result in zip(operations, results, strict=True):
        if operation is VERSION:
            assert not isinstance(result, Level | int)
            version = result
        elif type(operation) is Noted:
            tls_failed = result is not None
        elif isinstance(result, Level):
            waits.append(result.wait)
        elif isinstance(result, int):
            counts.append(result)
    return Arrival(
        version,
        ConnectionCounts(counts[0], counts[-2], counts[-1]) if counts else NOT_COUNTED,
        ArrivalWaits(*waits) if waits else NO_WAITS,
        tls_failed,
    )


def tls_failed_key(ip: str) -> str:
    """Where it is noted that a TLS handshake with the peer did not succeed."""
    return f"tls:failed:{ip}"


async def _guarded(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except StandingError as error:
        return Unavailable(str(error))
