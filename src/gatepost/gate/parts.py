"""What every session shares, joined once per worker by the wiring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gatepost.accounts.authentication import Authenticator
from gatepost.accounts.directory import Directory
from gatepost.audit.event import Recorder
from gatepost.gate.access import AccessTables
from gatepost.gate.callouts import Callouts
from gatepost.gate.departures import Departures
from gatepost.gate.flood import Floods
from gatepost.gate.gateway import Gateways
from gatepost.gate.grants import Grants
from gatepost.gate.probes import Probes
from gatepost.gate.room import MaildropRoom
from gatepost.gate.sealing import Sealer
from gatepost.gate.shedding import Shedding
from gatepost.gate.turns import Turns
from gatepost.mail.network import NetworkSet
from gatepost.policy.engine import Policy
from gatepost.ports.clock import Clock, Ids
from gatepost.ports.resolver import Resolver
from gatepost.seal.work import SealWork
from gatepost.standing.port import StandingStore

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession


class BanLayer(Protocol):
    """Who may keep a peer out for a while (`gate.bans`)."""

    async def lay(self, network: str, seconds: float, reason: str, event_id: str) -> bool:
        """Whether the ban stands: not on `trusted`, gateways and where administrators log in from. network: an
        address or a prefix. event_id: of the event that tells why. Raises StandingError."""
        ...


@dataclass(frozen=True)
class GateParts:
    """The gate's tools.

    bans: None where nobody is to be banned (a question what would be decided). access: None where there are no tables.
    trusted: never banned, may use XCLIENT and PROXY; no right to relay. relay_networks: may relay without a login.
    room: of maildrops that have a quota; None where there are none. release_held: lets go what is held of an account
    for its limits and came from a network (a /24 or /64), and tells the entries' IDs.
    grants: of POP-before-SMTP; None where there are none.
    resolver: None where domains are not looked up. is_routed: whether a person, not the DNS, says where mail for a
    domain of others goes. probes, callouts: None where no other host is asked.
    seal_work: looks into messages for encryption, and seals; None where nobody has to. sealer: knows what is to
    be sealed.
    present: the sessions that are there, of which a ban may end some. turns: theirs, where peers send without end.
    floods, shedding: sum up what is refused; None where nothing is (a question what would be decided).
    secret: keys the hashes of what must be recognised but not read (login names of unknown accounts).
    """

    hostname: str
    policy: Policy
    directory: Directory
    authenticator: Authenticator
    standing: StandingStore
    departures: Departures
    recorder: Recorder
    clock: Clock
    ids: Ids
    secret: bytes
    trusted: NetworkSet
    relay_networks: NetworkSet
    bans: BanLayer | None = None
    access: AccessTables | None = None
    gateways: Gateways | None = None
    floods: Floods | None = None
    shedding: Shedding | None = None
    present: set[GateSession] = field(default_factory=set)
    turns: Turns = field(default_factory=Turns)
    grants: Grants | None = None
    room: MaildropRoom | None = None
    release_held: Callable[[str, str], Awaitable[list[str]]] | None = None
    resolver: Resolver | None = None
    is_routed: Callable[[str], bool] = lambda _: False
    probes: Probes | None = None
    callouts: Callouts | None = None
    seal_work: SealWork | None = None
    sealer: Sealer | None = None
