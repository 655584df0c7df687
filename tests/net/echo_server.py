"""A server of its own for the tests of processes: it echoes lines, and does what the line says.

    python -m tests.net.echo_server serve FOLDER     a supervisor, until a signal
    python -m tests.net.echo_server lead FOLDER N    its leader

FOLDER/settings.json: {"places": {key: address}, "workers": 2, "broken": "", "worker_fails": false, "version": "a",
"starts_in": 0}.
Lines: "who" answers version, number and process; "die" ends the worker, "hang" says so and stops its event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatepost.net.leader import CannotServe, serve_generation
from gatepost.net.leader_seat import LeaderLimits
from gatepost.net.listening import Sockets
from gatepost.net.notify_systemd import Notify, passed_sockets
from gatepost.net.process_link import Drain
from gatepost.net.supervised import StartError
from gatepost.net.supervisor import Supervisor, SupervisorLimits

LEADER_LIMITS = LeaderLimits(silent=4.0, starting=20.0, closing=2.0, alive=0.2)
LIMITS = SupervisorLimits(starting=30.0, silent=5.0, turn=0.1, stop=Drain(3.0), hand_over=Drain(20.0, patience=15.0))


def settings(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "settings.json").read_text())
    return found


class EchoGeneration:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = settings(folder)
        if self._settings.get("broken"):
            raise CannotServe(self._settings["broken"])

    @property
    def services(self) -> Mapping[str, str]:
        return dict.fromkeys(self.places, "echo")

    @property
    def places(self) -> Mapping[str, str]:
        places: dict[str, str] = self._settings["places"]
        return places

    @property
    def workers(self) -> int:
        return int(self._settings["workers"])

    def work(self, number: int, sockets: Mapping[str, socket.socket]) -> EchoBody:
        if self._settings.get("worker_fails"):
            raise OSError(f"worker {number} has no luck")
        return EchoBody(self._folder, self._settings.get("version", ""), number, sockets)

    def look(self) -> None:
        pass


class EchoBody:
    def __init__(self, folder: Path, version: str, number: int, sockets: Mapping[str, socket.socket]) -> None:
        self._folder = folder
        self._about = f"{version} {number} {os.getpid()}"
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._sessions: set[asyncio.StreamWriter] = set()
        self._patience_ends = self._ends = float("inf")

    async def start(self) -> None:
        await asyncio.sleep(float(settings(self._folder).get("starts_in", 0)))
        for sock in self._sockets.values():
            self._servers.append(await asyncio.start_server(self._session, sock=sock))

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sessions.add(writer)
        try:
            while line := (await reader.readline()).decode().strip():
                if line == "die":
                    os._exit(3)
                if line == "hang":
                    writer.write(b"hanging\n")
                    time.sleep(600)  # noqa: ASYNC251 - that is what hanging means
                writer.write(f"{self._about if line == 'who' else line}\n".encode())
        except OSError:
            pass
        finally:
            self._sessions.discard(writer)
            writer.close()

    async def drain(self, seconds: float, patience: float) -> None:
        for server in self._servers:
            server.close()
        for _ in range(5):  # from an accepted connection to the first step of its task, in which it is counted
            await asyncio.sleep(0)
        self.hurry(seconds, patience)
        loop = asyncio.get_running_loop()
        while self._sessions and loop.time() < self._ends:
            if loop.time() >= self._patience_ends:
                for writer in self._sessions:
                    writer.write(b"bye\n")
                    writer.close()
                break
            await asyncio.sleep(0.02)

    def hurry(self, seconds: float, patience: float) -> None:
        now = asyncio.get_running_loop().time()
        self._ends = min(self._ends, now + seconds)
        self._patience_ends = min(self._patience_ends, now + patience)

    def tell(self, kind: str, what: str, problem: str) -> None:
        with (self._folder / "told").open("a") as file:
            file.write(f"{kind}|{what}|{problem}\n")


def serve(folder: Path) -> int:
    passed = passed_sockets()
    notify = Notify()
    sockets = Sockets()
    sockets.open(settings(folder)["places"], passed)

    async def live() -> int:
        command = (sys.executable, "-m", "tests.net.echo_server", "lead", str(folder))
        supervisor = Supervisor(command, sockets, folder, notify, about={"config": "settings.json"}, limits=LIMITS)
        return await supervisor.run()

    try:
        return asyncio.run(live())
    except StartError as error:
        print(error, file=sys.stderr)
        return 1


def lead(folder: Path, descriptor: int) -> int:
    channel = socket.socket(fileno=descriptor)
    return serve_generation(channel, lambda: EchoGeneration(folder), LEADER_LIMITS)


if __name__ == "__main__":
    what, where, *more = sys.argv[1:]
    sys.exit(serve(Path(where)) if what == "serve" else lead(Path(where), int(more[0])))
