"""A whole server for the tests of this folder: `gatepost serve`, as a user starts it, on free ports of loopback."""

from __future__ import annotations

import os
import poplib
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gatepost.net.control import ask

ADA = "ada@example.org"
PASSWORD = "a long password for ada"
PATIENCE_SECONDS = 60.0
CONFIG = """\
hostname = "mx.example.org"
data = "data"
postmaster = "ada@example.org"
workers = 2
[domain."example.org"]
[policy."sender.domain"]
mode = "off"
[[listen]]
address = "127.0.0.1:0"
service = "mx"
[[listen]]
address = "127.0.0.1:0"
service = "submission"
[[listen]]
address = "127.0.0.1:0"
service = "pop3"
"""


def eventually(holds: Callable[[], Any]) -> Any:
    """What `holds` says, as soon as that is true."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < until, f"this never came to hold: {holds}"
        time.sleep(0.05)
    return found


def gatepost(
    folder: Path, *words: str, stdin: str = "", program: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """One command, with the configuration in `folder`."""
    return subprocess.run(
        [*(program or (sys.executable, "-m", "gatepost")), "--config", str(folder / "gatepost.toml"), *words],
        input=stdin, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


class Running:
    """A server that runs. folder: of gatepost.toml; the data folder is in it."""

    def __init__(self, folder: Path, program: Sequence[str] = ()) -> None:
        self.folder = folder
        self.data = folder / "data"
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*(program or (sys.executable, "-m", "gatepost")), "--config", str(folder / "gatepost.toml"), "serve"],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONDEVMODE": ""},
            )

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def status(self) -> dict[str, Any]:
        return ask(self.data / "run" / "supervisor.sock", {"do": "status"})

    def is_up(self) -> bool:
        assert self.process.poll() is None, f"the server has ended: {self.said()}"
        with suppress(OSError):
            status = self.status()
            return bool(status["workers"]) and all(status["workers"].values())
        return False

    def port(self, service: str) -> int:
        return int(self.status()["listeners"][f"127.0.0.1:0 {service}"].rpartition(":")[2])

    def smtp(self, service: str = "mx") -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port(service), timeout=PATIENCE_SECONDS)
        client.ehlo("client.example.net")
        return client

    def messages(self) -> list[bytes]:
        """What ada's maildrop holds."""
        client = poplib.POP3("127.0.0.1", self.port("pop3"), timeout=PATIENCE_SECONDS)
        client.user(ADA)
        client.pass_(PASSWORD)
        found = [b"\r\n".join(client.retr(number + 1)[1]) for number in range(len(client.list()[1]))]
        client.quit()
        return found

    def stop(self) -> int:
        """The exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def running(
    folder: Path, *, is_new: bool = True, program: Sequence[str] = (), config: str = CONFIG
) -> Iterator[Running]:
    """A server with one account, until the block ends."""
    folder.mkdir(exist_ok=True)
    if is_new:
        (folder / "gatepost.toml").write_text(config)
    server = Running(folder, program)
    try:
        eventually(server.is_up)
        if is_new:
            added = gatepost(folder, "account", "add", ADA, "--password-stdin", stdin=PASSWORD, program=program)
            assert added.returncode == 0, added.stderr
        yield server
    finally:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
