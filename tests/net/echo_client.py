"""Starts the server of `echo_server`, and talks to it, for the tests of processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gatepost.net.control import ask

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30.0
LOOPBACK = "127.0.0.1"


def eventually(holds: Callable[[], Any]) -> Any:
    """What `holds` says, as soon as that is true."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < until, f"this never came to hold: {holds}"
        time.sleep(0.02)
    return found


class Server:
    """A running server. places: address by key; port 0 for any. command: what starts it, for another than the usual."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        self.folder = folder
        self._settings: dict[str, Any] = {"places": {"a": f"{LOOPBACK}:0"}, "workers": 2, "version": "one"}
        self._talks: list[Talk] = []
        self.write(**settings)
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command or [sys.executable, "-m", "tests.net.echo_server", "serve", str(folder)],
                cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=log, stderr=log, pass_fds=pass_fds,
            )  # fmt: skip

    def forget(self) -> None:
        """Close what is open here."""
        for talk in self._talks:
            talk.close()

    def write(self, **settings: Any) -> None:
        """What a leader reads when it starts."""
        self._settings |= settings
        (self.folder / "settings.json").write_text(json.dumps(self._settings))

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def told(self) -> list[str]:
        """What workers were told to record."""
        with suppress(FileNotFoundError):
            return (self.folder / "told").read_text().splitlines()
        return []

    def ask(self, **request: Any) -> dict[str, Any]:
        return ask(self.folder / "supervisor.sock", request, 40.0)

    def reload(self) -> dict[str, Any]:
        return self.ask(do="reload")

    def status(self) -> dict[str, Any]:
        return self.ask(do="status")

    def workers(self) -> dict[str, int]:
        found: dict[str, int] = self.status()["workers"]
        return found

    def connect(self, key: str = "a") -> Talk:
        host, _, port = self.status()["listeners"][key].rpartition(":")
        talk = Talk(socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS))
        self._talks.append(talk)
        return talk

    def is_up(self) -> bool:
        assert self.process.poll() is None, f"the server has ended: {self.said()}"
        with suppress(OSError):
            return all(self.workers().values()) and bool(self.workers())
        return False

    def exit_status(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


class Talk:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = sock.makefile("rb")

    def say(self, line: str) -> str:
        """The answer, "" when the connection is over."""
        with suppress(OSError):
            self.send(line)
        return self.hear()

    def send(self, line: str) -> None:
        self._sock.sendall(f"{line}\n".encode())

    def hear(self) -> str:
        try:
            return self._lines.readline().decode().strip()
        except OSError:
            return ""

    def who(self) -> tuple[str, int, int]:
        """Version, number and process of the worker."""
        version, number, process = self.say("who").split()
        return version, int(number), int(process)

    def close(self) -> None:
        self._lines.close()
        self._sock.close()


def is_alive(pid: int) -> bool:
    """Whether the process runs: one that only waits to be waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@contextmanager
def serving(folder: Path, environment: Mapping[str, str] | None = None, **settings: Any) -> Iterator[Server]:
    """A server that serves; whatever is left of it at the end is ended."""
    server = Server(folder, environment, **settings)
    pids: list[int] = []
    try:
        eventually(server.is_up)
        yield server
    finally:
        with suppress(OSError):
            status = server.status()
            pids = [status["leader"], *status["draining"], *status["workers"].values()]
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        for pid in filter(is_alive, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.forget()
