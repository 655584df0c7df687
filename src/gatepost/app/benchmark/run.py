"""The measurements of `gatepost bench`, one after the other, so that none disturbs another."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gatepost.app.benchmark.disk import disk_of, login
from gatepost.app.benchmark.measured import Accept, Measured
from gatepost.app.benchmark.names import latencies
from gatepost.app.benchmark.server import PrivateServer
from gatepost.config.model import Config
from gatepost.net.privileges import allow_many_files
from gatepost.policy.checks import client_connections


def bench(config: Config, sessions: int, seconds: float, say: Callable[[str], None]) -> Measured:
    """What this installation can do. say: tells a person how far it is. The data folder must be there and ours; what
    is written into it is removed. Raises BenchError, OSError."""
    files = allow_many_files()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=config.data))
    try:
        say("the disk")
        disk = disk_of(folder, seconds / 2)
        say("passwords")
        password = login(config.workers)
        say(f"a private server, {sessions} sessions for {seconds:g} seconds")
        accept = _accept(folder / "server", config.workers, sessions, seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say("the DNS")
    dns = asyncio.run(latencies(config.dns, next(iter(config.domains), config.hostname)))
    checked = config.policy.get(client_connections.NAME)
    limits = checked if isinstance(checked, client_connections.Settings) else client_connections.Settings()
    cores = len(os.sched_getaffinity(0))
    return Measured(cores, config.workers, files, limits.total, disk, accept, password, tuple(dns))


def _accept(folder: Path, workers: int, sessions: int, seconds: float) -> Accept:
    folder.mkdir()
    server = PrivateServer(folder, workers)
    try:
        server.start()
        return server.measure(sessions, seconds)
    finally:
        server.stop()
