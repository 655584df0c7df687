"""The life of a worker: its parts are started, drained and closed, and its house is kept."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
import structlog

from gatepost.admin.public import PublicParts, public_app
from gatepost.admin.public_serving import serve_public
from gatepost.app.assembly import Assembly
from gatepost.audit.event import RecordError
from gatepost.config import Config
from gatepost.gate.shedding import DESCRIPTORS
from gatepost.intake.session import SmtpSession
from gatepost.intake.settings import ListenerSettings
from gatepost.mail.network import is_loopback
from gatepost.net.connection import Connection, DriverFactory, TlsForPeers
from gatepost.net.descriptors import Descriptors, guarded
from gatepost.net.listener import UNIX, Listener, Served, host_and_port, serve
from gatepost.net.tls import ServerTls
from gatepost.pickup.session import Pop3Session
from gatepost.policy.checks.client_connections import FULL
from gatepost.protocol.pop3.replies import from_smtp
from gatepost.store.data_folder import DataFolder

log = structlog.get_logger()

LOGINS: Final = frozenset(("submission", "submissions", "pop3", "pop3s"))
"""Where users log in, and may be asked for a certificate."""
HOUSEKEEPING_SECONDS: Final = 10.0  # sweeping what has ended, adopting spools that nobody holds
DRAIN_TURN_SECONDS: Final = 0.05
BECOMES_A_SESSION: Final = 3
"""Turns of the loop, for a connection that was just accepted. uvloop needs one; plain asyncio's own server drops it."""
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
        self._parts = Assembly(config, data, number)
        self._sockets = sockets
        self._tls = tls
        self._served: list[Served] = []
        self._descriptors = Descriptors()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_draining = False
        self._drained_by = self._patient_until = float("inf")

    async def start(self) -> None:
        """Delivery runs, commands are heard, connections are accepted. Raises ListenError, AccessError, OSError."""
        self._parts.event("server", {"what": "worker started"})
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._parts.delivery.run()), loop.create_task(self._keep_house())]
        await self._parts.control.start()
        await self._parts.door.open()
        self._tasks.append(loop.create_task(self._parts.watching.run(), name=WATCHING))
        tls = TlsForPeers(self._tls.context, self._tls.end_point_for) if self._tls else None
        asking = tls
        if self._tls is not None and self._tls.asking_context is not None:
            asking = TlsForPeers(self._tls.asking_context, self._tls.end_point_for, asks=True)
        for listener, sock in self._sockets.items():
            make = self._driver_of(listener)
            if make is not None:
                make = guarded(make, self._descriptors, partial(self._crowded, listener.service))
            if listener.service == "admin":
                context = None if self._is_on_loopback(listener) or tls is None else tls.context
                self._tasks.append(
                    loop.create_task(self._parts.observation.serve(sock, context, self._parts.announcements))
                )
            elif listener.service == "web":
                # Behind a unix socket is a web server of ours, which has spoken TLS already.
                context = None if listener.address.startswith(UNIX) or tls is None else tls.context
                public = public_app(PublicParts(self._parts.keys, self._parts.config.domains))
                self._tasks.append(loop.create_task(serve_public(sock, public, context)))
            elif make is not None:
                speaks = asking if listener.service in LOGINS else tls
                self._served.append(await serve(sock, listener, make, speaks, self._parts.config.trusted))

    def _crowded(self, service: str) -> bytes:
        """What a peer hears for whom no file descriptor is left; it is counted."""
        reply = msgspec.structs.replace(FULL, id=self._parts.door.shedding.shed(DESCRIPTORS))
        return from_smtp(reply).encode() if service in ("pop3", "pop3s") else reply.encode()

    def _driver_of(self, listener: Listener) -> DriverFactory | None:
        """What makes the session of a connection; None for what is served by others (`admin`, `web`)."""
        if listener.service in ("pop3", "pop3s"):
            return lambda wire: Pop3Session(wire, self._parts.pickup)
        if listener.service in ("mx", "submission", "submissions", "lmtp"):
            settings = ListenerSettings(xclient=listener.xclient)
            return lambda wire: SmtpSession(wire, self._parts.intake, settings)
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
        for _ in range(BECOMES_A_SESSION):
            await asyncio.sleep(0)
        self.hurry(seconds, patience)
        told: set[Connection] = set()
        while (connections := self._connections()) and self._parts.clock.monotonic() < self._drained_by:
            if self._parts.clock.monotonic() >= self._patient_until:
                for connection in set(connections) - told:
                    told.add(connection)
                    connection.shut_down()
            await asyncio.sleep(DRAIN_TURN_SECONDS)
        for connection in self._connections():
            connection.abort()
        await asyncio.sleep(0)  # those record their end
        await self._parts.delivery.stop(max(0.0, self._drained_by - self._parts.clock.monotonic()))
        await self._close()

    def hurry(self, seconds: float, patience: float = 0.0) -> None:
        """The limits of the drain that is under way, counted from now; they only ever become shorter."""
        now = self._parts.clock.monotonic()
        self._drained_by = min(self._drained_by, now + seconds)
        self._patient_until = min(self._patient_until, now + patience)
        self._parts.delivery.hurry(seconds)

    def tell(self, kind: str, what: str, problem: str) -> None:
        """What the processes around this one want on the record. kind: "server" or "alert"."""
        self._parts.event(kind, {"what": what, **({"problem": problem} if problem else {})})

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._parts.door.close()
        for asking in (self._parts.probes, self._parts.callouts, self._parts.hosts):
            await asking.close()
        await self._parts.seal_work.close()
        if self._parts.autocrypt is not None:
            await self._parts.autocrypt.close()
        await self._parts.control.close()
        self._parts.gate.departures.close()
        await self._parts.spool.close()
        self._parts.maildrops.close()
        self._parts.accounts.close()
        self._parts.keys.close()
        self._parts.standing.close()
        self._parts.threads.shutdown(wait=False)
        stopped = partial(self._parts.event, "server", {"what": "worker stopped"})
        for last in (stopped, self._parts.recorder.flush, self._parts.writer.close):
            try:
                last()
            except (RecordError, OSError) as error:  # a disk that takes nothing any more is no reason not to end
                log.error("the end is not on the record", error=str(error))

    async def _keep_house(self) -> None:
        """What is due now and then, and may be late."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS * random.uniform(0.8, 1.2))
            for work in (
                self._parts.observation.keep,
                self._look_at_descriptors,
                self._parts.troubles.look,
                self._sweep,
                self._adopt,
                self._renew_certificates,
                self._parts.door.keep,
                self._review_grants,
            ):
                try:
                    await work()
                except OSError as error:  # a full disk, say: for the operator, and no defect
                    log.error("housekeeping failed", work=work.__name__, error=str(error))
                except Exception:
                    log.exception("housekeeping failed", work=work.__name__)

    async def _look_at_descriptors(self) -> None:
        self._descriptors.look()

    async def _sweep(self) -> None:
        await self._parts.standing.sweep(self._parts.clock.unix())

    async def _review_grants(self) -> None:
        if self._parts.gate.grants is not None:
            await self._parts.gate.grants.review()

    async def _renew_certificates(self) -> None:
        if self._tls is None or not self._tls.changed():
            return
        problems = self._tls.reload()
        for problem in problems:
            log.error("certificate", problem=problem)
            self._parts.event("alert", {"what": "certificate", "problem": problem})
        if not problems:
            self._parts.event("server", {"what": "certificates loaded anew"})

    async def _adopt(self) -> None:
        if self._is_draining:
            return  # whoever comes after us takes them
        for name in await self._parts.spool.adopt():
            self._parts.event("server", {"what": "spool adopted", "spool": name})
            self._parts.delivery.notify()
