"""What one worker is made of: every part built and joined, and what parts tell that have nobody else to tell it to.

Not here: the life of a worker (`app.worker`).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import structlog

from gatepost.accounts.authentication import AT_ONCE, Authenticator
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account
from gatepost.app.alert_ways import PostmasterMail, couriers
from gatepost.app.faults import faults_of
from gatepost.app.observation import Observation
from gatepost.app.troubles import Troubles
from gatepost.app.watching import Watching
from gatepost.audit import metrics
from gatepost.audit.detectors.engine import Detectors
from gatepost.audit.event import Event
from gatepost.audit.writer import AuditWriter
from gatepost.config import Config
from gatepost.delivery.assembly import assemble, assemble_hosts, assemble_passage
from gatepost.delivery.loop import DeliveryLoop
from gatepost.delivery.sealed_maildrops import SealedMaildrops
from gatepost.gate.announced import Announcements
from gatepost.gate.callouts import Callouts
from gatepost.gate.departures import Departures
from gatepost.gate.door import Door
from gatepost.gate.grants import Grants
from gatepost.gate.holds import Holds
from gatepost.gate.parts import GateParts
from gatepost.gate.probes import Probes
from gatepost.gate.room import MaildropRoom
from gatepost.gate.sealing import Sealer
from gatepost.intake.autocrypt import Autocrypt
from gatepost.intake.content import HeldHeaders
from gatepost.intake.parts import IntakeParts
from gatepost.mail.address import Path
from gatepost.net.clock import SystemClock, SystemIds
from gatepost.net.connector import StreamConnector
from gatepost.net.control import ControlServer, ask
from gatepost.net.dns.resolver import DnsResolver
from gatepost.net.fetch import HttpsFetcher
from gatepost.net.interfaces import own_endpoints
from gatepost.pickup.parts import PickupParts
from gatepost.pickup.settings import PickupSettings
from gatepost.policy.checks import recipient_count, recipient_exists, sender_callout, sender_rate
from gatepost.policy.engine import Policy
from gatepost.policy.facts import SERVICES
from gatepost.policy.registry import CHECKS
from gatepost.seal.discovery import LOOKED_UP, Discovery
from gatepost.seal.settings import METHODS
from gatepost.seal.work import SealWork
from gatepost.spool.control import CHANGE, Handler, change_handler
from gatepost.store.data_folder import DataFolder
from gatepost.store.lmdb.standing import LmdbStanding
from gatepost.store.maildir.store import MaildirStore
from gatepost.store.sqlite.accounts import SqliteAccounts
from gatepost.store.sqlite.keys import SqliteKeys
from gatepost.store.sqlite.spool_held import freeze, release_held
from gatepost.store.sqlite.spool_set import SpoolSet

log = structlog.get_logger()


class Assembly:
    """Its parts, for the worker that runs them. Made after the fork, in the worker's event loop.

    Raises RecordError, SpoolError and others for a store that cannot be opened.
    """

    def __init__(self, config: Config, data: DataFolder, number: int) -> None:
        self.config = config
        self.data = data
        self.clock = SystemClock()
        self._unreadable: set[str] = set()
        self.ids = SystemIds()
        faults = faults_of(os.environ)
        self.writer = AuditWriter(data.audit, config.hostname, number, self.clock, self.ids, faults=faults)
        metrics.fold(data.run / "metrics")
        self.recorder = metrics.RecordingMetrics(self.writer, data.run / "metrics")
        self.standing = LmdbStanding(data.standing, self._alert, faults=faults)
        self.accounts = SqliteAccounts(data.accounts)
        self.maildrops = MaildirStore(
            data.maildrops, host=config.hostname, clock=self.clock, quota=self._quota_of, faults=faults
        )
        control = data.run / f"worker-{number}.sock"
        self.spool = SpoolSet.open(
            data.root,
            config.spool,
            self.clock,
            prefer=str(number),
            socket=str(control),
            on_damage=self._entry_damaged,
            on_unreadable=self.spool_unreadable,
            faults=faults,
        )
        self.threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self.resolver = DnsResolver(config.dns, self.clock)
        self.keys = SqliteKeys(data.keys, on_fault=partial(self._alert_about, "the keys cannot be read"))
        self.seal_work = SealWork()
        self.troubles = Troubles(data.root, config.spool.free_limit_octets, self.resolver, self.clock, self.event)
        self.observation = Observation(config, data, self.recorder, self.clock, self.troubles)
        self.policy = Policy(CHECKS, config.policy)
        self.connector = StreamConnector()
        own = own_endpoints(config.listeners, frozenset({"mx"}))
        self.sending = msgspec.structs.replace(config.delivery, own=own)
        self.hosts = assemble_hosts(self.sending, self.resolver, self.connector, self.clock, random.random)
        self.probes, self.callouts = self._build_questions()
        self.sealer = self._build_sealer()
        self.door = self._build_door()
        self.gate = self._build_gate(data.secret())
        self.delivery = self._build_delivery()
        keeps_keys = "autocrypt" in config.discovery.discovery
        report = partial(self._alert_about, "autocrypt")
        self.autocrypt = Autocrypt(self.keys, self.clock, report) if keeps_keys else None
        self.control = ControlServer(control, self._control_handlers(), self._control_failed)
        self.intake = self._build_intake()
        self.watching = self._build_watching()
        self.pickup = PickupParts(gate=self.gate, maildrops=self.maildrops, settings=PickupSettings())

    # --- building ------------------------------------------------------------------------------------------------

    def _build_door(self) -> Door:
        return Door(
            self.policy,
            self.standing,
            self.recorder,
            self.clock,
            self.ids,
            trusted=self.config.trusted,
            resolver=self.resolver,
            report=self._alert_about,
        )

    def _build_gate(self, secret: bytes) -> GateParts:
        config = self.config
        directory = Directory(config.domains, self.accounts, config.hostname, config.postmaster)
        grants = self._build_grants(directory)
        self.announcements = Announcements(grants, directory, self.recorder, self.ids, self.door.floods)
        return GateParts(
            hostname=config.hostname,
            policy=self.policy,
            directory=directory,
            authenticator=Authenticator(self.accounts, self.threads, self.clock, secret),
            standing=self.standing,
            departures=Departures(self.standing, self.clock),
            recorder=self.recorder,
            clock=self.clock,
            ids=self.ids,
            secret=secret,
            trusted=config.trusted,
            relay_networks=config.relay_networks,
            bans=self.door.bans,
            access=self.door.access,
            gateways=self.door.gateways,
            floods=self.door.floods,
            shedding=self.door.shedding,
            present=self.door.expelling.present,
            grants=grants,
            room=MaildropRoom(self.maildrops, self.clock),
            release_held=self._release_held,
            resolver=self.resolver,
            is_routed=self.sending.chooses,
            probes=self.probes,
            callouts=self.callouts,
            seal_work=self.seal_work,
            sealer=self.sealer,
        )

    def _build_sealer(self) -> Sealer:
        fetcher = HttpsFetcher(self.resolver, own=own_endpoints(self.config.listeners))
        settings, known = self.config.discovery, [method for method in METHODS if method not in LOOKED_UP]
        at_hand = msgspec.structs.replace(settings, discovery=tuple(m for m in settings.discovery if m in known))
        finders = [
            Discovery(self.keys, self.clock, self.resolver, fetcher, each, self.keys) for each in (settings, at_hand)
        ]
        return Sealer(
            self.config.sealing, finders[0], self.seal_work, self.clock, at_hand=finders[1],
            is_ours=self._is_ours,
        )  # fmt: skip

    def _is_ours(self, path: Path) -> bool:
        return self.gate.directory.is_ours(path)

    def _build_questions(self) -> tuple[Probes, Callouts]:
        probing, calling = (self.policy.settings_of(one.CHECK) for one in (recipient_exists, sender_callout))
        assert isinstance(probing, recipient_exists.Settings)
        assert isinstance(calling, sender_callout.Settings)
        hosts, standing, clock = self.hosts, self.standing, self.clock
        report = partial(self._alert_about, recipient_exists.NAME)
        return Probes(hosts, standing, clock, probing, report), Callouts(hosts, standing, clock, calling)

    def _build_grants(self, directory: Directory) -> Grants:
        is_gateway = self.door.gateways.knows
        return Grants(self.config.grants, self.standing, directory, self.recorder, self.clock, self.ids, is_gateway)

    def _build_delivery(self) -> DeliveryLoop:
        return assemble(
            self.sending,
            spool=self.spool,
            addresses=self.gate.directory,
            maildrops=SealedMaildrops(self.maildrops, self.gate.directory, self.sealer),
            resolver=self.resolver,
            connector=self.connector,
            recorder=self.recorder,
            clock=self.clock,
            ids=self.ids,
            draw=random.random,
        )

    def _build_intake(self) -> IntakeParts:
        policy = self.gate.policy
        count = policy.settings_of(recipient_count.CHECK)
        assert isinstance(count, recipient_count.Settings)
        return IntakeParts(
            gate=self.gate,
            spool=self.spool,
            settings=self.config.intake,
            notify=self.delivery.notify,
            report=self.troubles.message_not_kept,
            recipient_limits={service: count.of(service) for service in SERVICES},
            headers=HeldHeaders(self.config.spool.memory_octets),
            autocrypt=self.autocrypt,
            passage=assemble_passage(
                self.sending,
                self.hosts,
                self.delivery.pool,
                spool=self.spool,
                addresses=self.gate.directory,
                resolver=self.resolver,
                clock=self.clock,
                ids=self.ids,
                draw=random.random,
            ),
        )

    def _build_watching(self) -> Watching:
        config, clock, ids = self.config, self.clock, self.ids
        write = PostmasterMail(
            config.hostname, config.postmaster, self.gate.directory, self.spool, self.recorder, clock, ids,
            self.delivery.notify,
        )  # fmt: skip
        return Watching(
            self.data,
            Detectors(config.detectors, config.trusted),
            couriers(config.hostname, config.alerts, write, self.resolver),
            self.recorder,
            self.door.bans,
            Holds(self.standing, self.recorder, clock, ids),
            clock,
            self._freeze,
        )

    # --- commands ------------------------------------------------------------------------------------------------

    def _control_handlers(self) -> Mapping[str, Handler]:
        return {CHANGE: change_handler(self.spool, self.clock.unix, self.delivery.notify)}

    async def _freeze(self, account: str) -> list[str]:
        """What an account that is held has in the queue, in this worker's spool and those of others."""
        frozen = partial(freeze, self.data.root, account, self.clock.unix(), ask)
        return await asyncio.get_running_loop().run_in_executor(None, frozen)

    async def _release_held(self, account: str, network: str) -> list[str]:
        """What is held of an account that has proved itself, in this worker's spool and those of others."""
        release = partial(release_held, self.data.root, account, network, sender_rate.NAME, self.clock.unix(), ask)
        released = await asyncio.get_running_loop().run_in_executor(None, release)
        self.delivery.notify()
        return released

    def _control_failed(self, what: str, error: Exception) -> None:
        log.error("a command could not be answered", command=what, error=str(error))

    # --- what the stores tell ------------------------------------------------------------------------------------

    def _quota_of(self, account: str) -> int | None:
        found = self.accounts.find(account)
        return found.quota if isinstance(found, Account) else None

    def _alert(self, text: str) -> None:
        self._alert_about("standing", text)

    def _alert_about(self, what: str, problem: str) -> None:
        log.error(what, problem=problem)
        self.event("alert", {"what": what, "problem": problem})

    def spool_unreadable(self, problem: str) -> None:
        """A whole spool cannot be used; told once, though it is looked at every few seconds."""
        if problem not in self._unreadable:
            self._unreadable.add(problem)
            self._alert_about("a spool cannot be read", problem)

    def _entry_damaged(self, entry_id: str, reason: str) -> None:
        log.error("spool entry set aside", entry=entry_id, reason=reason)
        self.event("alert", {"what": "spool entry set aside", "entry": entry_id, "reason": reason})

    def event(self, kind: Any, details: dict[str, Any]) -> None:
        """Put it on the record. Raises RecordError."""
        self.recorder.record(Event(kind, details=details))
