"""A private server for `gatepost bench`: the same program and checks on the same disk, with nothing delivered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from gatepost.app.benchmark.measured import Accept
from gatepost.net.control import ask
from gatepost.net.supervisor import CONTROL_NAME
from gatepost.store.data_folder import DataFolder

START_SECONDS: Final = 60.0
TURN_SECONDS: Final = 0.05
WARM_UP_SECONDS: Final = 1.0
RECIPIENT: Final = "bench@bench.invalid"
MANY: Final = 1_000_000_000
TICKS: Final = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """It could not be measured; the message says why."""


class PrivateServer:
    """folder: empty, on the disk to be measured; it is the caller's to remove. workers: as in the installation."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self._file = folder / "gatepost.toml"
        self._data = DataFolder(folder / "data")
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it serves. Raises BenchError."""
        self._file.write_text(_configuration(self._workers), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "gatepost", "--config", str(self._file)]
        added = subprocess.run(
            [*command, "account", "add", RECIPIENT, "--password-stdin"],
            input=b"a password that nobody needs", capture_output=True, check=False,
        )  # fmt: skip
        if added.returncode:
            raise BenchError(f"the private server has no account: {added.stderr.decode(errors='replace').strip()}")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*command, "serve"], stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > until:
                raise BenchError(f"the private server does not start: {self._said()}")
            time.sleep(TURN_SECONDS)

    def measure(self, sessions: int, seconds: float) -> Accept:
        """What a load of `sessions` sees, and the CPU that it costs. Raises BenchError."""
        self._load(sessions, WARM_UP_SECONDS)
        before = self._cpu_seconds()
        found = self._load(sessions, seconds)
        cpu = self._cpu_seconds() - before
        if not found.messages:
            raise BenchError(f"no message was taken: {found.first_failure or 'nothing was said'}")
        lasted = found.messages / found.per_second
        return msgspec.structs.replace(
            found, cpu_ms=cpu * 1000 / found.messages, busy=cpu / lasted / self._workers
        )  # fmt: skip

    def stop(self) -> None:
        """It has ended."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _load(self, sessions: int, seconds: float) -> Accept:
        words = ["-P", "-m", "gatepost.app.benchmark.load", str(self._port()), str(sessions), str(seconds), RECIPIENT]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"the load could not be made: {done.stderr.strip()[-500:]}")
        return msgspec.json.decode(done.stdout, type=Accept)

    def _status(self) -> dict[str, object]:
        found: dict[str, object] = ask(self._data.run / CONTROL_NAME, {"do": "status"})
        return found

    def _port(self) -> int:
        listeners = self._status()["listeners"]
        assert isinstance(listeners, dict)  # the supervisor's own answer
        return int(next(bound for name, bound in listeners.items() if name.endswith(" mx")).rpartition(":")[2])

    def _serves(self) -> bool:
        with suppress(OSError, ValueError):
            workers = self._status()["workers"]
            return isinstance(workers, dict) and len(workers) == self._workers and all(workers.values())
        return False

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace").strip()[-500:] or "it says nothing"

    def _cpu_seconds(self) -> float:
        """Of all processes below the supervisor, and of itself."""
        assert self._process is not None
        parents: dict[int, list[int]] = {}
        spent: dict[int, float] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                pid = int(stat.parent.name)
                parents.setdefault(int(fields[1]), []).append(pid)
                spent[pid] = (int(fields[11]) + int(fields[12])) / TICKS
        found, look = 0.0, [self._process.pid]
        while look:
            pid = look.pop()
            found += spent.get(pid, 0.0)
            look += parents.get(pid, [])
        return found


def _configuration(workers: int) -> str:
    """A stranger's mail through the default checks. Only the numbers of the limits are lifted, as one client that
    brings thousands of messages is what they are there to stop."""
    return f"""\
hostname = "bench.invalid"
data = "data"
trusted = []
postmaster = "{RECIPIENT}"
workers = {workers}
[[listen]]
address = "127.0.0.1:0"
service = "mx"
[domain."bench.invalid"]
[delivery]
paused = true
[policy."client.connections"]
total = {MANY}
per_address = {MANY}
per_prefix = {MANY}
[policy."client.rate"]
per_address = "{MANY}/1m"
per_prefix = "{MANY}/1m"
"""
