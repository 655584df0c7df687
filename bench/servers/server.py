"""What the bench needs of a server, and the addresses that all of them are set up for.

`ada@example.org` has a Maildir, mail for `example.net` goes to the sink, and nobody may relay to `example.com`.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal

import msgspec

from bench.processes import end, wait_until

Purpose = Literal["hold", "deliver", "relay", "idle", "tls", "login"]
"""What a server is set up for. hold: made durable and kept in the queue; idle: connections that say nothing."""
HOST: Final = "127.0.0.1"
LOCAL: Final = "ada@example.org"
REMOTE: Final = "eve@example.net"
FOREIGN: Final = "mallory@example.com"
PASSWORD: Final = "a long password for ada"
_PORTS: Final = range(20_000, 32_000)


class Place(msgspec.Struct, frozen=True):
    """folder: of this server alone. sink: the port that mail for others goes to. certificate, key: of its TLS.
    resolver: a DNS server that knows the client's domain, "127.0.0.1:PORT"."""

    folder: Path
    purpose: Purpose
    sink: int
    certificate: Path
    key: Path
    resolver: str


class Server:
    """One server. `start` and `stop` once each."""

    name: ClassVar[str]
    about: ClassVar[str]
    purposes: ClassVar[frozenset[Purpose]]

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port = free_port()

    @classmethod
    def version(cls) -> str | None:
        """What is installed here; None if it is not."""
        raise NotImplementedError

    @property
    def root(self) -> int:
        """The process whose tree is the server."""
        raise NotImplementedError

    @property
    def roots(self) -> Sequence[int]:
        """The same where there are several trees, because it needs a second program."""
        return [self.root]

    @property
    def maildir(self) -> Path:
        """Where ada's mail arrives."""
        raise NotImplementedError

    def start(self) -> None:
        """Returns when it answers. Raises TimeoutError or OSError."""
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def logged(self) -> str:
        """The end of what it has said, for whoever must find out why it does not work."""
        return ""

    def answers(self) -> bool:
        with socket.socket() as sock:
            sock.settimeout(2.0)
            try:
                sock.connect((HOST, self.port))
                return sock.recv(3) == b"220"
            except OSError:
                return False

    def delivered(self) -> int:
        """How many messages ada has now."""
        try:
            with os.scandir(self.maildir / "new") as entries:
                return sum(1 for _ in entries)
        except FileNotFoundError:
            return 0

    def empty(self) -> None:
        """Ada has read her mail."""
        if (self.maildir / "new").is_dir():
            with os.scandir(self.maildir / "new") as entries:
                for entry in entries:
                    os.unlink(entry.path)


class ProgramServer(Server):
    """One that is a single program in the foreground, which keeps its messages wherever it likes below its folder."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = place.folder / "log"

    @property
    def root(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def maildir(self) -> Path:
        return self.place.folder

    def run(self, command: Sequence[str]) -> None:
        """Starts it, and returns when it answers. Raises OSError when it ends instead, TimeoutError."""
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: process.poll() is not None or self.answers(), self.name)
        if not self.answers():
            raise OSError(f"{self.name} does not start:\n{self.logged()}")

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def logged(self) -> str:
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""


def free_port() -> int:
    """A TCP port that nobody listens on, below those that clients get."""
    for port in random.sample(_PORTS, 50):
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def find_program(name: str) -> str | None:
    """Where a program is; daemons live in sbin, which the PATH of a plain user lacks."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]))
