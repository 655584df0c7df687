"""The honest client beside an attack, and what is measured of a server that is under one."""

from __future__ import annotations

import itertools
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.server import ADA, HOST, Server

HONEST: Final = "127.8.0.7"
ROOT: Final = Path(__file__).parents[2]
NOBODY_TRUSTED: Final = "trusted = []\n"
STANDS_SECONDS: Final = 60.0
BODY: Final = b"From: bob@example.net\r\nTo: ada@example.org\r\nSubject: hello\r\n\r\n" + b"x" * 70 + b"\r\n"
OPENING: Final = (b"EHLO client.example.net\r\n", b"MAIL FROM:<bob@example.net>\r\n", f"RCPT TO:<{ADA}>\r\n".encode())
LEAST_BOUND_SECONDS: Final = 0.1
VISITS: Final = 120
VISITS_OF_ONE: Final = 40  # `client.rate` lets an address send twice as many in a minute
_NETWORKS: Final = itertools.count()  # the control outlives a measurement, and counts on


class Peer:
    """One bare SMTP connection. source: the address it comes from."""

    def __init__(self, server: Server, source: str = HONEST, service: str = "mx", timeout: float = 30.0) -> None:
        self.sock = socket.create_connection((HOST, server.port(service)), timeout, source_address=(source, 0))
        self._rest = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def reply(self) -> bytes:
        """The next whole reply; b"" when the server has closed."""
        while True:
            lines = self._rest.split(b"\r\n")
            for place, line in enumerate(lines[:-1]):
                if line[3:4] != b"-":
                    self._rest = b"\r\n".join(lines[place + 1 :])
                    return b"\r\n".join(lines[: place + 1])
            octets = self.sock.recv(65536)
            if not octets:
                return b""
            self._rest += octets

    def say(self, octets: bytes) -> bytes:
        """The reply to `octets`."""
        self.sock.sendall(octets)
        return self.reply()

    def open(self) -> None:
        """Up to an accepted recipient."""
        assert self.reply().startswith(b"220")
        for line in OPENING:
            reply = self.say(line)
            assert reply.startswith(b"250"), reply

    def data(self, content: bytes) -> bytes:
        """The answer to a whole message."""
        assert self.say(b"DATA\r\n").startswith(b"354")
        return self.say(content + b".\r\n")


def visit(server: Server, source: str = HONEST) -> float:
    """Seconds that one message takes, from the connection to its 250."""
    began = time.monotonic()
    with Peer(server, source) as peer:
        peer.open()
        reply = peer.data(BODY)
        assert reply.startswith(b"250"), reply
        return time.monotonic() - began


def assert_unhurried(server: Server, control: Server) -> None:
    """The bound that an honest client is promised, now, in one measurement.

    The machine is shared, and may be slow at any moment for other reasons. So the time that the server could have run
    and got no core does not count, and each message is followed by one to `control`, a server like this one that nobody
    attacks: what slows both is not the attack.
    """
    (worker,), (other,) = server.workers(), control.workers()
    attacked, unloaded = [], []
    for _ in range(VISITS // VISITS_OF_ONE):
        source = f"127.8.{next(_NETWORKS) % 256}.7"
        for _ in range(VISITS_OF_ONE):
            attacked.append(unhindered(server, worker, source))
            unloaded.append(unhindered(control, other, source))
    bound = max(4 * p95(unloaded), LEAST_BOUND_SECONDS)
    told = f"p95 {p95(attacked) * 1000:.1f} ms under attack, {p95(unloaded) * 1000:.1f} ms beside it without"
    print(told)
    assert p95(attacked) < bound, told


def unhindered(server: Server, worker: int, source: str) -> float:
    """Seconds that one message takes, without those that the worker's loop waited for a core."""
    before = without_a_core(worker)
    taken = visit(server, source)
    return taken - (without_a_core(worker) - before)


def without_a_core(process: int) -> float:
    """Seconds that the main thread of a process could have run and did not; 0 where the kernel does not count it."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


def p95(taken: Sequence[float]) -> float:
    """The value that one of twenty is above."""
    return sorted(taken)[int(len(taken) * 0.95)]


@contextmanager
def attack(kind: str, server: Server, number: int, service: str = "mx") -> Iterator[dict[str, int]]:
    """An attack that stands while the block runs; afterwards the value holds what the attackers saw."""
    raise_file_limit()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.overload.attackers", kind, str(server.port(service)), str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    seen: dict[str, int] = {}
    try:
        assert process.stdout.readline() == "ready\n"
        yield seen
        told, _ = process.communicate("", STANDS_SECONDS)
        seen.update(json.loads(told))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def raise_file_limit() -> None:
    """As many sockets as this user may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident_octets(server: Server) -> int:
    """Memory of its workers that is theirs alone."""
    found = 0
    for pid in server.workers():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                found += int(line.split()[1]) * 1024
    return found


def open_files(server: Server) -> int:
    """Descriptors of its workers."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in server.workers())
