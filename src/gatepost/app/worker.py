"""The wiring of a worker: its parts are built and joined here, started, drained and closed."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from gatepost.accounts.authentication import AT_ONCE, Authenticator
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account
from gatepost.app.alert_ways import PostmasterMail, couriers
from gatepost.app.observation import Observation
from gatepost.app.watching import Watching
from gatepost.audit import metrics
from gatepost.audit.detectors.engine import Detectors
from gatepost.audit.event import Event
from gatepost.audit.writer import AuditWriter
from gatepost.config import Config
from gatepost.delivery.assembly import assemble, assemble_hosts, assemble_passage
from gatepost.delivery.loop import DeliveryLoop
from gatepost.gate.announced import Announcements
from gatepost.gate.callouts import Callouts
from gatepost.gate.door import Door
from gatepost.gate.grants import Grants
from gatepost.gate.holds import Holds
from gatepost.gate.parts import GateParts
from gatepost.gate.probes import Probes
from gatepost.gate.room import MaildropRoom
from gatepost.intake.parts import IntakeParts
from gatepost.intake.session import SmtpSession
from gatepost.intake.settings import ListenerSettings
from gatepost.mail.network import is_loopback
from gatepost.net.clock import SystemClock, SystemIds
from gatepost.net.connection import Connection, TlsForPeers
from gatepost.net.connector import StreamConnector
from gatepost.net.control import ControlServer, ask
from gatepost.net.dns.resolver import DnsResolver
from gatepost.net.interfaces import own_endpoints
from gatepost.net.listener import UNIX, Listener, Served, host_and_port, serve
from gatepost.net.tls import ServerTls
from gatepost.pickup.parts import PickupParts
from gatepost.pickup.session import Pop3Session
from gatepost.pickup.settings import PickupSettings
from gatepost.policy.checks import recipient_count, recipient_exists, sender_callout, sender_rate
from gatepost.policy.engine import Policy
from gatepost.policy.facts import SERVICES
from gatepost.policy.registry import CHECKS
from gatepost.ports.wire import SessionDriver, Wire
from gatepost.spool.control import CHANGE, Handler, change_handler
from gatepost.store.data_folder import DataFolder
from gatepost.store.lmdb.standing import LmdbStanding
from gatepost.store.maildir.store import MaildirStore
from gatepost.store.sqlite.accounts import SqliteAccounts
from gatepost.store.sqlite.spool_held import release_held
from gatepost.store.sqlite.spool_set import SpoolSet

log = structlog.get_logger()

LOGINS: Final = frozenset(("submission", "submissions", "pop3", "pop3s"))
"""Where users log in, and may be asked for a certificate."""
HOUSEKEEPING_SECONDS: Final = 10.0  # sweeping what has ended, adopting spools that nobody holds
DRAIN_TURN_SECONDS: Final = 0.05
WATCHING: Final = "watching"


class Worker:
    """One worker process: everything for the connections that it accepted. Made after the fork, in its event loop.

    tls: made before the fork, so that tickets hold across workers; None without any listener that speaks TLS.
    """

    def __init__(
        self,
        config: Config,
        data: DataFolder,
        number: int,
        sockets: Mapping[Listener, socket.socket],
        tls: ServerTls | None,
    ) -> None:
        self._config = config
        self._data = data
        self._sockets = sockets
        self._tls = tls
        self._clock = SystemClock()
        self._ids = SystemIds()
        self._served: list[Served] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_draining = False
        self._drained_by = self._patient_until = float("inf")
        self._writer = AuditWriter(data.audit, config.hostname, number, self._clock, self._ids)
        metrics.fold(data.run / "metrics")
        self._recorder = metrics.RecordingMetrics(self._writer, data.run / "metrics")
        self._observation = Observation(config, data, self._recorder, self._clock)
        self._standing = LmdbStanding(data.standing, self._alert)
        self._accounts = SqliteAccounts(data.accounts)
        self._maildrops = MaildirStore(data.maildrops, host=config.hostname, clock=self._clock, quota=self._quota_of)
        control = data.run / f"worker-{number}.sock"
        self._spool = SpoolSet.open(
            data.root,
            config.spool,
            self._clock,
            prefer=str(number),
            socket=str(control),
            on_damage=self._entry_damaged,
        )
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._resolver = DnsResolver(config.dns, self._clock)
        self._policy = Policy(CHECKS, config.policy)
        self._connector = StreamConnector()
        own = own_endpoints(config.listeners, frozenset({"mx"}))
        self._sending = msgspec.structs.replace(config.delivery, own=own)
        self._hosts = assemble_hosts(self._sending, self._resolver, self._connector, self._clock, random.random)
        self._probes, self._callouts = self._build_questions()
        self._door = self._build_door()
        self._gate = self._build_gate(data.secret())
        self._delivery = self._build_delivery()
        self._control = ControlServer(control, self._control_handlers(), self._control_failed)
        self._intake = self._build_intake()
        self._watching = self._build_watching()
        self._pickup = PickupParts(gate=self._gate, maildrops=self._maildrops, settings=PickupSettings())

    # --- building ------------------------------------------------------------------------------------------------

    def _build_door(self) -> Door:
        return Door(
            self._policy,
            self._standing,
            self._recorder,
            self._clock,
            self._ids,
            trusted=self._config.trusted,
            resolver=self._resolver,
            report=self._alert_about,
        )

    def _build_gate(self, secret: bytes) -> GateParts:
        config = self._config
        directory = Directory(config.domains, self._accounts, config.hostname, config.postmaster)
        grants = self._build_grants(directory)
        self._announcements = Announcements(grants, directory, self._recorder, self._ids)
        return GateParts(
            hostname=config.hostname,
            policy=self._policy,
            directory=directory,
            authenticator=Authenticator(self._accounts, self._threads, self._clock, secret),
            standing=self._standing,
            recorder=self._recorder,
            clock=self._clock,
            ids=self._ids,
            secret=secret,
            trusted=config.trusted,
            relay_networks=config.relay_networks,
            bans=self._door.bans,
            access=self._door.access,
            gateways=self._door.gateways,
            floods=self._door.floods,
            grants=grants,
            room=MaildropRoom(self._maildrops, self._clock),
            release_held=self._release_held,
            resolver=self._resolver,
            is_routed=self._sending.chooses,
            probes=self._probes,
            callouts=self._callouts,
        )

    def _build_questions(self) -> tuple[Probes, Callouts]:
        probing, calling = (self._policy.settings_of(one.CHECK) for one in (recipient_exists, sender_callout))
        assert isinstance(probing, recipient_exists.Settings)
        assert isinstance(calling, sender_callout.Settings)
        hosts, standing, clock = self._hosts, self._standing, self._clock
        report = partial(self._alert_about, recipient_exists.NAME)
        return Probes(hosts, standing, clock, probing, report), Callouts(hosts, standing, clock, calling)

    def _build_grants(self, directory: Directory) -> Grants:
        is_gateway = self._door.gateways.knows
        return Grants(
            self._config.grants, self._standing, directory, self._recorder, self._clock, self._ids, is_gateway
        )

    def _build_delivery(self) -> DeliveryLoop:
        return assemble(
            self._sending,
            spool=self._spool,
            addresses=self._gate.directory,
            maildrops=self._maildrops,
            resolver=self._resolver,
            connector=self._connector,
            recorder=self._recorder,
            clock=self._clock,
            ids=self._ids,
            draw=random.random,
        )

    def _build_intake(self) -> IntakeParts:
        policy = self._gate.policy
        count = policy.settings_of(recipient_count.CHECK)
        assert isinstance(count, recipient_count.Settings)
        return IntakeParts(
            gate=self._gate,
            spool=self._spool,
            settings=self._config.intake,
            notify=self._delivery.notify,
            recipient_limits={service: count.of(service) for service in SERVICES},
            passage=assemble_passage(
                self._sending,
                self._hosts,
                self._delivery.pool,
                spool=self._spool,
                addresses=self._gate.directory,
                resolver=self._resolver,
                clock=self._clock,
                ids=self._ids,
                draw=random.random,
            ),
        )

    def _build_watching(self) -> Watching:
        config, clock, ids = self._config, self._clock, self._ids
        write = PostmasterMail(
            config.hostname, config.postmaster, self._gate.directory, self._spool, self._recorder, clock, ids,
            self._delivery.notify,
        )  # fmt: skip
        return Watching(
            self._data,
            Detectors(config.detectors, config.trusted),
            couriers(config.hostname, config.alerts, write, self._resolver),
            self._recorder,
            self._door.bans,
            Holds(self._standing, self._recorder, clock, ids),
            clock,
        )

    # --- running -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Delivery runs, commands are heard, connections are accepted. Raises ListenError, AccessError, OSError."""
        self._event("server", {"what": "worker started"})
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._delivery.run()), loop.create_task(self._keep_house())]
        await self._control.start()
        await self._door.open()
        self._tasks.append(loop.create_task(self._watching.run(), name=WATCHING))
        tls = TlsForPeers(self._tls.context, self._tls.end_point_for) if self._tls else None
        asking = tls
        if self._tls is not None and self._tls.asking_context is not None:
            asking = TlsForPeers(self._tls.asking_context, self._tls.end_point_for, asks=True)
        for listener, sock in self._sockets.items():
            make = self._driver_of(listener)
            if listener.service == "admin":
                context = None if self._is_on_loopback(listener) or tls is None else tls.context
                self._tasks.append(loop.create_task(self._observation.serve(sock, context, self._announcements)))
            elif make is not None:
                speaks = asking if listener.service in LOGINS else tls
                self._served.append(await serve(sock, listener, make, speaks, self._config.trusted))

    def _driver_of(self, listener: Listener) -> Callable[[Wire], SessionDriver] | None:
        """What makes the session of a connection; None for what is served by others (`admin`)."""
        if listener.service in ("pop3", "pop3s"):
            return lambda wire: Pop3Session(wire, self._pickup)
        if listener.service in ("mx", "submission", "submissions", "lmtp"):
            settings = ListenerSettings(xclient=listener.xclient)
            return lambda wire: SmtpSession(wire, self._intake, settings)
        return None

    @staticmethod
    def _is_on_loopback(listener: Listener) -> bool:
        return listener.address.startswith(UNIX) or is_loopback(host_and_port(listener.address)[0])

    def _connections(self) -> list[Connection]:
        return [connection for served in self._served for connection in served.connections]

    async def drain(self, seconds: float, patience: float = 0.0) -> None:
        """No new connections. For `patience` seconds sessions go on undisturbed, then each ends after its transaction;
        delivery goes on as long as they do, then ends after its attempts. After `seconds`, what is left is cut off.
        Then the stores are closed."""
        self._is_draining = True
        for task in self._tasks:
            if task.get_name() == WATCHING:
                task.cancel()  # whoever comes after us watches
        for served in self._served:
            served.stop()
        await asyncio.sleep(0)  # a connection that was just accepted becomes a session first
        self.hurry(seconds, patience)
        told: set[Connection] = set()
        while (connections := self._connections()) and self._clock.monotonic() < self._drained_by:
            if self._clock.monotonic() >= self._patient_until:
                for connection in set(connections) - told:
                    told.add(connection)
                    connection.shut_down()
            await asyncio.sleep(DRAIN_TURN_SECONDS)
        for connection in self._connections():
            connection.abort()
        await asyncio.sleep(0)  # those record their end
        await self._delivery.stop(max(0.0, self._drained_by - self._clock.monotonic()))
        await self._close()

    def hurry(self, seconds: float, patience: float = 0.0) -> None:
        """The limits of the drain that is under way, counted from now; they only ever become shorter."""
        now = self._clock.monotonic()
        self._drained_by = min(self._drained_by, now + seconds)
        self._patient_until = min(self._patient_until, now + patience)

    def tell(self, kind: str, what: str, problem: str) -> None:
        """What the processes around this one want on the record. kind: "server" or "alert"."""
        self._event(kind, {"what": what, **({"problem": problem} if problem else {})})

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._door.close()
        for asking in (self._probes, self._callouts, self._hosts):
            await asking.close()
        await self._control.close()
        await self._spool.close()
        self._maildrops.close()
        self._accounts.close()
        self._standing.close()
        self._threads.shutdown(wait=False)
        self._event("server", {"what": "worker stopped"})
        self._recorder.flush()
        self._writer.close()

    async def _keep_house(self) -> None:
        """What is due now and then, and may be late."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS * random.uniform(0.8, 1.2))
            for work in (
                self._observation.keep,
                self._sweep,
                self._adopt,
                self._renew_certificates,
                self._door.keep,
                self._review_grants,
            ):
                try:
                    await work()
                except OSError as error:  # a full disk, say: for the operator, and no defect
                    log.error("housekeeping failed", work=work.__name__, error=str(error))
                except Exception:
                    log.exception("housekeeping failed", work=work.__name__)

    async def _sweep(self) -> None:
        await self._standing.sweep(self._clock.unix())

    async def _review_grants(self) -> None:
        if self._gate.grants is not None:
            await self._gate.grants.review()

    async def _renew_certificates(self) -> None:
        if self._tls is None or not self._tls.changed():
            return
        problems = self._tls.reload()
        for problem in problems:
            log.error("certificate", problem=problem)
            self._event("alert", {"what": "certificate", "problem": problem})
        if not problems:
            self._event("server", {"what": "certificates loaded anew"})

    async def _adopt(self) -> None:
        if self._is_draining:
            return  # whoever comes after us takes them
        for name in await self._spool.adopt():
            self._event("server", {"what": "spool adopted", "spool": name})
            self._delivery.notify()

    # --- commands ------------------------------------------------------------------------------------------------

    def _control_handlers(self) -> Mapping[str, Handler]:
        return {CHANGE: change_handler(self._spool, self._clock.unix, self._delivery.notify)}

    async def _release_held(self, account: str, network: str) -> list[str]:
        """What is held of an account that has proved itself, in this worker's spool and those of others."""
        release = partial(release_held, self._data.root, account, network, sender_rate.NAME, self._clock.unix(), ask)
        released = await asyncio.get_running_loop().run_in_executor(None, release)
        self._delivery.notify()
        return released

    def _control_failed(self, what: str, error: Exception) -> None:
        log.error("a command could not be answered", command=what, error=str(error))

    # --- what the stores tell ------------------------------------------------------------------------------------

    def _quota_of(self, account: str) -> int | None:
        found = self._accounts.find(account)
        return found.quota if isinstance(found, Account) else None

    def _alert(self, text: str) -> None:
        self._alert_about("standing", text)

    def _alert_about(self, what: str, problem: str) -> None:
        log.error(what, problem=problem)
        self._event("alert", {"what": what, "problem": problem})

    def _entry_damaged(self, entry_id: str, reason: str) -> None:
        log.error("spool entry set aside", entry=entry_id, reason=reason)
        self._event("alert", {"what": "spool entry set aside", "entry": entry_id, "reason": reason})

    def _event(self, kind: Any, details: dict[str, Any]) -> None:
        self._recorder.record(Event(kind, details=details))
