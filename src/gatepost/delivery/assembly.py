"""The parts of delivery, joined over ports: for the wiring, and for tests that want the whole."""

from __future__ import annotations

from collections.abc import Callable

from gatepost.audit.event import BatchRecorder
from gatepost.delivery.expansion import Expansion
from gatepost.delivery.local import Addresses, LocalDelivery
from gatepost.delivery.loop import DeliveryLoop
from gatepost.delivery.next_hop import NextHop, Timeouts
from gatepost.delivery.notices import Notices
from gatepost.delivery.outbound import OutboundSession
from gatepost.delivery.passage import Message, Passage
from gatepost.delivery.pool import Pool, PoolSettings
from gatepost.delivery.probe import HostClient
from gatepost.delivery.remote import RemoteDelivery
from gatepost.delivery.routing import Router
from gatepost.delivery.settings import DeliverySettings
from gatepost.delivery.settling import Settler
from gatepost.maildrop.port import MaildropStore
from gatepost.ports.clock import Clock, Ids
from gatepost.ports.connect import Connector
from gatepost.ports.resolver import Resolver
from gatepost.spool.port import SpoolStore


def pool_settings(settings: DeliverySettings) -> PoolSettings:
    """What the pool is told. A quarter of all workers may wait for places at one address, never more."""
    return PoolSettings(
        per_address=settings.per_address,
        waiting_per_address=max(1, settings.total // 4),
        per_connection=settings.per_connection,
        idle=settings.idle,
        source=settings.source,
    )


def assemble(
    settings: DeliverySettings,
    *,
    spool: SpoolStore,
    addresses: Addresses,
    maildrops: MaildropStore,
    resolver: Resolver,
    connector: Connector,
    recorder: BatchRecorder,
    clock: Clock,
    ids: Ids,
    draw: Callable[[], float],
    timeouts: Timeouts | None = None,
) -> DeliveryLoop:
    """A delivery loop, ready to `run`. draw: 0 <= x < 1, each time another (`random.random`)."""

    async def open_session(hop: NextHop) -> OutboundSession:
        return await OutboundSession.open(connector, hop, settings.hostname, clock, timeouts)

    hostname = settings.hostname
    pool = Pool(
        open_session,
        pool_settings(settings),
        clock,
    )
    router = Router(settings, resolver, draw)
    expansion = Expansion(hostname, spool, ids, clock)
    notices = Notices(hostname, addresses, spool, ids, clock, settings.full_dsn_octets)
    return DeliveryLoop(
        settings,
        spool,
        LocalDelivery(hostname, addresses, maildrops, spool, expansion, clock),
        RemoteDelivery(router, pool, spool, clock, draw),
        Settler(hostname, spool, notices, recorder, clock, settings.schedule),
        pool,
        clock,
    )


def assemble_hosts(
    settings: DeliverySettings, resolver: Resolver, connector: Connector, clock: Clock, draw: Callable[[], float]
) -> HostClient:
    """Who asks other hosts what they would take (`gate.asking.MailHosts`)."""
    return HostClient(
        Router(settings, resolver, draw), connector, settings.hostname, clock, draw, source=settings.source
    )


def assemble_passage(
    settings: DeliverySettings,
    hosts: HostClient,
    pool: Pool,
    *,
    spool: SpoolStore,
    addresses: Addresses,
    resolver: Resolver,
    clock: Clock,
    ids: Ids,
    draw: Callable[[], float],
) -> Passage:
    """Who passes messages on before they are accepted (`intake.cut_through.Passage`). pool: of the delivery loop."""

    def notices(message: Message) -> Notices:
        return Notices(settings.hostname, addresses, message, ids, clock, settings.full_dsn_octets)

    return Passage(hosts, Router(settings, resolver, draw), pool, spool, notices, clock, draw)
