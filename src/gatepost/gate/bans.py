"""Bans: laid by detectors and by hand, lifted, looked up at each connection. They live in `standing`, table "ban".

A ban is kept under its network in normal form. To look one up, the network of each prefix length that occurs among the
bans is asked for; which lengths occur is known from one pass over the table, repeated only when a length is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

import msgspec

from gatepost.audit.event import Event, Recorder
from gatepost.gate.later import is_later, then
from gatepost.mail.network import Network, NetworkSet, holder_of, parse_ip
from gatepost.mail.network_text import parse_network
from gatepost.policy.findings import Ban
from gatepost.ports.clock import Clock, Ids
from gatepost.standing.port import Charge, Note, Noted, Operation, Rate, StandingStore

TABLE: Final = "ban"
GOOD: Final = "good"
VERSION: Final = Noted("ban:version")
"""To be asked for in the tally of a connection: its answer goes to `Bans.find`."""
LAID: Final = Noted("ban:laid")
"""Changes with every ban that is laid: whoever sees another answer than before has sessions to look at."""
KEPT_SECONDS: Final = 100 * 365 * 86400.0  # the version outlives every ban
ADMIN_SECONDS: Final = 86400.0  # for how long an administrator's address cannot be banned
SHORTEST: Final = {4: 8, 6: 16}  # a ban on more than that would shut out a part of the Internet
ONCE_AN_HOUR: Final = Rate(1, 3600.0)
_UNKNOWN: Final = b"?"  # no version: the table has not been looked at

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Ban).decode


def ban_network(text: str) -> str:
    """What a ban on `text` covers, in normal form: an IPv4 address or network; of IPv6 a /64 or more.

    Raises ValueError that says what is wrong: no network, host bits set, too much of the Internet.
    """
    network = parse_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen > 64:
        network = network.supernet(new_prefix=64)
    shortest = SHORTEST[network.version]
    if network.prefixlen < shortest:
        raise ValueError(f"{text} is too large a part of the Internet; the largest network to ban is a /{shortest}")
    return _shown(network)


def admin_key(ip: str) -> str:
    """Where it is remembered that an administrator logged in from the address."""
    return f"admin:{holder_of(ip)}"


def gateway_key(ip: str) -> str:
    """Where it is remembered that the address is a proxy or gateway in front of us."""
    return f"gateway:{holder_of(ip)}"


class Bans:
    """The bans that this process knows how to find. A `gate.parts.BanLayer`; the facts themselves are in `standing`."""

    def __init__(
        self, standing: StandingStore, recorder: Recorder | None, clock: Clock, ids: Ids, trusted: NetworkSet
    ) -> None:
        """recorder: None where bans are only looked at."""
        self._standing = standing
        self._recorder = recorder
        self._clock = clock
        self._ids = ids
        self._trusted = trusted
        self._version: bytes | None = _UNKNOWN
        self._lengths: dict[int, tuple[int, ...]] = {4: (), 6: ()}

    # --- laying and lifting --------------------------------------------------------------------------------------

    async def lay(self, network: str, seconds: float, reason: str, event_id: str, by: str = "") -> bool:
        """Whether the ban stands, durable and on the record. A detector neither shortens one on the same network nor
        lays it anew while half of it is left: a peer's sessions all end in the same ban.

        network: an address or network. event_id: of the event that tells why, "" for none. by: the person who lays
        it, who may also shorten one. Raises ValueError for what `ban_network` refuses, StandingError, RecordError.
        """
        network = ban_network(network)
        now = self._clock.unix()
        spared = await self.spared(network)
        if spared:
            # What a busy gateway brings about all day is told once an hour.
            (told,) = await _had(self._standing.tally([Charge(f"ban:spared:{network}", ONCE_AN_HOUR)], now))
            if told.allowed:
                self._record("not laid", network, {"reason": reason, "spared": spared, "event": event_id, "by": by})
            return False
        ban = Ban(network, reason, now + seconds, event_id, by, now)
        before = await _had(self._standing.recall(TABLE, network, now))
        if before is not None and not by and _decode(before).until >= now + seconds / 2:
            return True
        await self._standing.remember(TABLE, network, _encode(ban), ban.until)
        parsed = parse_network(network)
        version = self._ids.new().encode()
        notes: list[Operation] = [Note(LAID.key, version, now + KEPT_SECONDS)]
        is_new_length = parsed.prefixlen not in self._lengths[parsed.version]
        if is_new_length:
            # Whoever sees another version looks at the table, which holds this ban already.
            notes.append(Note(VERSION.key, version, now + KEPT_SECONDS))
        await _had(self._standing.tally(notes, now))
        if is_new_length:
            self._look(version, now)
        self._record("laid", network, {"reason": reason, "until": ban.until, "event": event_id, "by": by})
        return True

    async def lift(self, network: str, by: str = "") -> bool:
        """Whether there was such a ban; it is gone, durably, and on the record. Raises ValueError, StandingError,
        RecordError."""
        network = ban_network(network)
        if not await self._standing.forget(TABLE, network):
            return False
        self._record("lifted", network, {"by": by})
        return True

    async def spared(self, network: str) -> str:
        """Why `network` cannot be banned, "" when it can. Raises StandingError."""
        parsed = parse_network(network)
        if self._trusted.holds(parsed):
            return f"{network} is in `trusted`"
        if parsed.prefixlen != (32 if parsed.version == 4 else 64):
            return ""  # what must be spared inside is spared when it connects
        return await _had(self._spared(str(parsed.network_address), self._clock.unix())) or ""

    def _record(self, what: str, network: str, details: dict[str, Any]) -> None:
        assert self._recorder is not None  # whoever lays or lifts has one
        told = {name: value for name, value in details.items() if value}
        self._recorder.record(Event("ban", id=self._ids.new(), details={"what": what, "network": network, **told}))

    # --- looking up ----------------------------------------------------------------------------------------------

    def all(self) -> list[Ban]:
        """Those that have not ended, by network. May block for a while; raises StandingError."""
        found = self._standing.recall_all(TABLE, self._clock.unix())
        return sorted((_decode(fact.value) for fact in found), key=lambda ban: _order(parse_network(ban.network)))

    def find(self, ip: str, version: bytes | None, now: float) -> Any:
        """The ban on `ip`, None for none, or an awaitable of that. version: what `VERSION` answered a moment ago.

        Raises StandingError.
        """
        if version != self._version:
            self._look(version, now)
        if ":" in ip:
            lengths = self._lengths[6]
        else:
            lengths = self._lengths[4]
        if not lengths:
            return None
        number = parse_ip(ip)
        bits = number.max_prefixlen
        value = int(number)
        whole = IPv4Network if number.version == 4 else IPv6Network
        keys = [
            _shown(whole((value >> (bits - length) << (bits - length), length))) if length < bits else str(number)
            for length in lengths
        ]
        return then(_first(self._standing, keys, now, 0), lambda found: self._found(ip, found, now))

    def _found(self, ip: str, found: bytes | None, now: float) -> Any:
        if found is None:
            return None
        return then(self._spared(ip, now), lambda spared: None if spared else _decode(found))

    def _spared(self, ip: str, now: float) -> Any:
        """Why the address is never banned, "" where it may be; or an awaitable of that."""
        standing = self._standing

        def about_admin(found: bytes | None) -> Any:
            if found is not None:
                return f"an administrator logged in from {ip} within the last day"
            return then(standing.recall(GOOD, gateway_key(ip), now), about_gateway)

        def about_gateway(found: bytes | None) -> str:
            return "" if found is None else f"{ip} is a proxy or gateway in front of this server"

        return then(standing.recall(GOOD, admin_key(ip), now), about_admin)

    def _look(self, version: bytes | None, now: float) -> None:
        """Learn which prefix lengths occur."""
        networks = [parse_network(fact.key) for fact in self._standing.recall_all(TABLE, now)]
        for family in (4, 6):
            lengths = {network.prefixlen for network in networks if network.version == family}
            self._lengths[family] = tuple(sorted(lengths, reverse=True))
        self._version = version


async def remember_admin(standing: StandingStore, ip: str, account: str, now: float) -> None:
    """An administrator logged in from `ip`, which cannot be banned for a day. Raises StandingError."""
    await standing.remember(GOOD, admin_key(ip), account.encode(), now + ADMIN_SECONDS)


def _first(standing: StandingStore, keys: Sequence[str], now: float, at: int) -> Any:
    """The first fact that is there, None for none; or an awaitable of that."""
    if at == len(keys):
        return None
    found = standing.recall(TABLE, keys[at], now)
    return then(found, lambda value: _first(standing, keys, now, at + 1) if value is None else value)


async def _had(value: Any) -> Any:
    return await value if is_later(value) else value


def _shown(network: Network) -> str:
    """ "192.0.2.7", "192.0.2.0/24", "2001:db8::/64"."""
    return str(network.network_address) if network.version == 4 and network.prefixlen == 32 else str(network)


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
