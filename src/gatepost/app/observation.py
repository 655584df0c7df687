"""What a worker shows of the whole server: `/metrics`, `/healthz`, and the days of the record that are over. The same
listener takes the logins that other servers announce."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from typing import Final

import structlog

from gatepost.admin.exposition import Gauges
from gatepost.admin.grants import GrantsApi
from gatepost.admin.health import AdminParts, HealthReport, admin_app
from gatepost.admin.serving import serve_admin
from gatepost.app.troubles import Troubles
from gatepost.audit.metrics import RecordingMetrics, living
from gatepost.audit.retention import tidy
from gatepost.config import Config
from gatepost.gate.announced import Announcements
from gatepost.net.listener import host_and_port
from gatepost.ports.clock import Clock
from gatepost.spool.port import SpoolError
from gatepost.store.data_folder import DataFolder
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

log = structlog.get_logger()

TIDY_SECONDS: Final = 3600.0


class Observation:
    """Readers of the record and of the stores; they keep no truth of their own."""

    def __init__(
        self, config: Config, data: DataFolder, recorder: RecordingMetrics, clock: Clock, troubles: Troubles
    ) -> None:
        self._config = config
        self._data = data
        self._recorder = recorder
        self._clock = clock
        self._tidied_at = clock.monotonic()
        self._troubles = troubles

    async def serve(self, sock: socket.socket, tls: ssl.SSLContext | None, announcements: Announcements) -> None:
        """The admin listener, until cancelled."""
        token = self._config.grants_token
        addresses = [host_and_port(each.address)[0] for each in self._config.listeners if each.service == "admin"]
        parts = AdminParts(
            counts=self._recorder.total,
            gauges=self._gauges,
            health=self._health,
            names=(self._config.hostname, *addresses),
            trusted=self._config.trusted,
            token=self._config.metrics_token,
            grants=GrantsApi(token, announcements.take, announcements.refused) if token else None,
        )
        await serve_admin(sock, admin_app(parts), tls)

    async def keep(self) -> None:
        """Called every few seconds: counts go where a scrape finds them, and once an hour the record is tidied."""
        self._recorder.flush()
        if self._clock.monotonic() - self._tidied_at < TIDY_SECONDS:
            return
        self._tidied_at = self._clock.monotonic()
        keep, now = self._config.audit.keep, self._clock.unix()
        done = await asyncio.to_thread(tidy, self._data.audit, keep, now, self._recorder)
        for problem in done.problems:
            log.warning("record not tidied", problem=problem)

    def _gauges(self) -> Gauges:
        counts = SqliteSpoolReader(self._data.root).counts()
        gauges: dict[tuple[str, ...], float] = {
            ("gatepost_workers",): len(living(self._data.run / "metrics")),
            ("gatepost_disk_free_octets",): shutil.disk_usage(self._data.root).free,
        }
        for state, number in counts.items():
            if state != "entries":
                gauges["gatepost_queue_recipients", state] = number
        return gauges

    async def _health(self) -> HealthReport:
        problems: list[str] = []
        queue: dict[str, int] = {}
        try:
            queue = await asyncio.to_thread(SqliteSpoolReader(self._data.root).counts)
        except SpoolError as error:
            problems.append(str(error))
        free = shutil.disk_usage(self._data.root).free
        if free < self._config.spool.free_limit_octets:
            problems.append(f"{free} octets are free on the disk of {self._data.root}: nothing is accepted")
        problems += self._troubles.problems
        workers = living(self._data.run / "metrics")
        return HealthReport(workers, queue, free, not self._recorder.is_failing, tuple(problems))
