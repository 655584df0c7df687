"""A real server under load is stopped at every named point of its durable writes and killed there: a worker, the
supervisor, or everything. 50 rounds here; `make crash` makes 5000 (ROUNDS=... for another number), by several servers
beside each other (SERVERS=...), since a round is mostly waiting: for a process that comes by, and for one that starts.

After each kill it is read from the spools which entries the killed ones had not settled: only those may be delivered
once more.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from tests.crash.load import Clients, Harvest
from tests.support.server import ADA, HOST, SECRET, Server

from gatepost.app.faults import VARIABLE
from gatepost.ports.faults import POINTS
from gatepost.store.sqlite.connection import connect
from gatepost.store.sqlite.spool_layout import Layout, holder_of, spools_of
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

ROUNDS: Final = int(os.environ.get("ROUNDS", "50"))
SERVERS: Final = int(os.environ.get("SERVERS", "1"))
SEED: Final = int(os.environ.get("SEED", "1"))
# A start takes as long as many kills of a worker. 16 and the number of points have no common divisor: each meets each.
VICTIMS: Final = (*["worker"] * 7, "everything", *["worker"] * 7, "supervisor")
EVERYBODY: Final = 0  # in the place of a process ID
GRANTS: Final = """
[domain."example.org"]
[relay.pop_before_smtp]
enabled = true
networks = ["127.0.0.0/8"]
"""


class Readiness:
    """Hears what the server tells systemd. A worker that is killed before all serve for the first time ends the start,
    as it should, so no round begins before."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")  # an abstract name that the kernel makes
        self._is_ready = threading.Event()
        self.environment = {"NOTIFY_SOCKET": "@" + self._socket.getsockname()[1:].decode()}
        threading.Thread(target=self._hear, daemon=True).start()  # always: who tells more than is read has to wait

    def wait(self) -> None:
        """Returns when the server that was started since the last call serves with all its workers."""
        assert self._is_ready.wait(60), "the server does not tell that it serves"
        self._is_ready.clear()

    def _hear(self) -> None:
        while True:
            if self._socket.recv(4096).startswith(b"READY=1"):
                self._is_ready.set()


class Breaker:
    """Stops a process at a point, and kills it or more than it. may_repeat: how often an entry may come again.
    kills: by point and by victim."""

    def __init__(self, server: Server, faults: Path, readiness: Readiness) -> None:
        self.may_repeat: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self._server = server
        self._faults = faults
        self._readiness = readiness

    def strike(self, point: str, victim: str) -> None:
        stopped = self._stopped_at(point)
        if victim == "everything":
            self._server.kill()
            self._may_repeat(EVERYBODY)
            self._start()
        else:
            self._may_repeat(stopped)  # while it stands still: once it is gone, another takes over what it had
            os.kill(stopped, signal.SIGKILL)
            if victim == "supervisor":
                self._server.kill_supervisor()
                self._start()
        self.kills.update((point, victim))

    def _start(self) -> None:
        self._server.start()
        self._readiness.wait()

    def _stopped_at(self, point: str) -> int:
        """The process that stands still there."""
        (self._faults / point).touch()
        names = self._server.wait_for(lambda: list(self._faults.glob(f"{point}.*")), f"somebody passes {point}")
        names[0].unlink()
        stopped = int(names[0].name.rpartition(".")[2])
        stat = Path(f"/proc/{stopped}/stat")
        self._server.wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it stands still")
        return stopped

    def _may_repeat(self, process: int) -> None:
        for layout in spools_of(self._server.data):
            holder = holder_of(layout)
            if process == EVERYBODY or (holder is not None and holder.pid == process):
                self.may_repeat.update(entries_in(layout, self._faults / "look"))


def entries_in(layout: Layout, scratch: Path) -> list[str]:
    """What whoever opens the spool next will find: of a copy, since a process that was stopped in the middle of a
    commit may keep readers out."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in layout.folder.glob("spool.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, scratch)
    with closing(connect(scratch / layout.database.name)) as connection:
        return [entry for (entry,) in connection.execute("SELECT id FROM entry").fetchall()]


@contextmanager
def logging_in(server: Server) -> Iterator[None]:
    """Somebody reads mail, again and again: each login writes a grant."""
    ends = threading.Event()

    def read() -> None:
        while not ends.wait(0.2):
            with suppress(OSError), socket.create_connection((HOST, server.port("pop3")), 10) as sock:
                sock.sendall(f"USER {ADA}\r\nPASS {SECRET}\r\nQUIT\r\n".encode())
                while sock.recv(1000):
                    pass

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(30)


@pytest.mark.timeout(120 + 6 * ROUNDS)
def test_a_kill_at_every_point_loses_nothing_mixes_nothing_and_repeats_only_what_was_not_settled(
    tmp_path: Path,
) -> None:
    shares = [ROUNDS // SERVERS + (number < ROUNDS % SERVERS) for number in range(SERVERS)]
    with ThreadPoolExecutor(SERVERS) as side_by_side:
        running = [
            side_by_side.submit(crash, tmp_path / str(number), rounds, SEED + number)
            for number, rounds in enumerate(shares)
        ]
    for one in running:
        one.result()


def crash(folder: Path, rounds: int, seed: int) -> None:
    """A server of its own, so many kills, and what came of it. seed: of the order of the points."""
    faults, readiness = folder / "faults", Readiness()
    faults.mkdir(parents=True)
    chance = random.Random(seed)
    environment = {VARIABLE: str(faults), **readiness.environment}
    with Server(folder / "server", ("mx", "pop3"), config=GRANTS, workers=2, environment=environment) as server:
        readiness.wait()
        clients, breaker, harvest = Clients(server, pause=0.005), Breaker(server, faults, readiness), Harvest(server)
        with clients.sending(), logging_in(server):
            points: list[str] = []
            for number in range(rounds):
                points = points or chance.sample(POINTS, len(POINTS))
                clients.wait_for_more(3)
                breaker.strike(points.pop(), VICTIMS[number % len(VICTIMS)])
                harvest.gather()
            clients.wait_for_more(20)
        report(f"seed {seed}", server, clients, breaker, harvest)


def report(name: str, server: Server, clients: Clients, breaker: Breaker, harvest: Harvest) -> None:
    """Every promise, once all is delivered; the counts are printed."""

    def all_delivered() -> bool:
        harvest.gather()
        return not SqliteSpoolReader(server.data).counts()["entries"]

    server.wait_for(all_delivered, "the spools are empty", 60)
    harvest.gather()
    repeated = {entry: count - 1 for entry, count in harvest.entries.items() if count > 1}
    missing = clients.answered.keys() - harvest.serials.keys()
    kills = sum(breaker.kills[point] for point in POINTS)
    print(
        f"{name}: {kills} kills ({dict(breaker.kills)}); {len(clients.answered)} messages answered 250,"
        f" {clients.cut_off} answers cut off; {len(harvest.serials)} delivered, "
        f"{sum(repeated.values())} of them again, {len(missing)} missing"
    )
    assert not missing, sorted(missing)[:10]
    too_often = {entry: more for entry, more in repeated.items() if more > breaker.may_repeat[entry]}
    assert not too_often, "delivered again although it was settled"
    assert kills < len(POINTS) or set(breaker.kills) >= set(POINTS)
    assert clients.surprises == []
    assert not list(server.data.glob("spool/*/damaged/*"))
    recorded = {event["id"] for event in server.events("smtp.message") if event.get("reply", "").startswith("250")}
    unrecorded = set(clients.answered.values()) - recorded
    assert not unrecorded, "answered 250, and not on the record"
    server.command("audit", "verify")
    assert ADA in server.command("grant", "list")
