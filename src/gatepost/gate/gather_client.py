"""Gatherers of the connection: tables, bans, and the counters of `client.connections` and `client.rate`.

All that is asked of `standing` about a new connection is one tally, made by whichever of these facts is needed first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
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
from gatepost.standing.port import Charge, Enter, Noted, Operation, Peek, Rate, Result, StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

NOT_LISTED: Final = Listing()
NOT_COUNTED: Final = ConnectionCounts(0, 0, 0)
NO_WAITS: Final = ArrivalWaits(0.0, 0.0)
TLS_IS_OPTIONAL: Final = frozenset({"mx", "lmtp"})
"""Where a peer that cannot do TLS sends its mail in clear."""


class Plan(msgspec.Struct, frozen=True):
    """What is asked of `standing` about a connection to one service, by the modes of the checks that read it.

    asks_tls: whether a TLS handshake with the peer failed. rates: of an address and of a network, None where
    `client.rate` is off.
    """

    asks_bans: bool
    asks_tls: bool
    counts: bool
    rates: tuple[Rate, Rate] | None


class Asked(msgspec.Struct, frozen=True):
    """What one tally is to tell of a new connection: how many there are at once for each of `counted`, the version of
    the bans, whether a TLS handshake failed, and how the rates stand, in this order."""

    operations: tuple[Operation, ...]
    counted: tuple[str, ...]
    asks_bans: bool
    asks_tls: bool

    def read(self, results: Sequence[Any]) -> Arrival:
        """The results of `operations`."""
        at = len(self.counted)
        counts = results[:at]
        version: bytes | None = None
        tls_failed: bool | None = None
        if self.asks_bans:
            version = results[at]
            at += 1
        if self.asks_tls:
            tls_failed = results[at] is not None
            at += 1
        waits = [level.wait for level in results[at:]]
        return Arrival(
            version,
            ConnectionCounts(counts[0], counts[-2], counts[-1]) if counts else NOT_COUNTED,
            ArrivalWaits(*waits) if waits else NO_WAITS,
            tls_failed,
        )


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
    facts, only_asks = session.facts, session.only_asks
    left = [] if only_asks else session.parts.departures.take()
    asked = _asked(_plan(session.parts.policy, facts.service), session.peer.ip, facts.trusted, only_asks)
    session.counted = asked.counted

    def told(results: list[Result]) -> Arrival:
        session.arrival = arrival = asked.read(results[len(left) :])
        return arrival

    try:
        result = then(session.parts.standing.tally([*left, *asked.operations], session.parts.clock.unix()), told)
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
        service in TLS_IS_OPTIONAL,
        policy.mode(client_connections.NAME, service) != "off",
        (rates[0], rates[1]) if policy.mode(client_rate.NAME, service) != "off" else None,
    )


@lru_cache(maxsize=4096)
def _asked(plan: Plan, ip: str, is_trusted: bool, only_asks: bool) -> Asked:
    """With `only_asks` nothing is counted. `trusted` peers and programs of this machine are under no ban and no
    rate."""
    counted: tuple[str, ...] = ()
    if plan.counts and not only_asks:
        counted = (f"conn:ip:{ip}", f"conn:net:{prefix_of(ip)}", "conn:all") if ip else ("conn:unix", "conn:all")
    operations: list[Operation] = [Enter(key) for key in counted]
    is_stranger = bool(ip) and not is_trusted
    asks_bans, asks_tls = is_stranger and plan.asks_bans, is_stranger and plan.asks_tls
    if asks_bans:
        operations.append(VERSION)
    if asks_tls:
        operations.append(Noted(tls_failed_key(ip)))
    if is_stranger and plan.rates is not None:
        keys = f"arrive:ip:{ip}", f"arrive:net:{prefix_of(ip)}"
        for key, rate in zip(keys, plan.rates, strict=True):
            operations.append(Peek(key, rate) if only_asks else Charge(key, rate, 1, True))
    return Asked(tuple(operations), counted, asks_bans, asks_tls)


def tls_failed_key(ip: str) -> str:
    """Where it is noted that a TLS handshake with the peer did not succeed."""
    return f"tls:failed:{ip}"


async def _guarded(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except StandingError as error:
        return Unavailable(str(error))
