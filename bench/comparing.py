"""Runs the jobs: all servers up together, one round each by turns, so that a machine that drifts drifts for all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bench.idle import IdleJob, hold
from bench.jobs import Job
from bench.load import Generator, Load, LoadError, Measured, smtp_source
from bench.processes import PeakMemory, count_syncs, cpu_seconds, memory_octets, wait_until
from bench.results import IdleLine, JobResult, Line, Round, messages_for
from bench.servers.server import LOCAL, REMOTE, Place, Server
from bench.sink import Sink

SETTLE_SECONDS = 0.3
"""After a run, until what was put off (a record's flush, a checkpoint) is in the CPU count too."""
REST_SECONDS = 2.0
"""Before syncs are counted: what a server tidies once the load is over belongs to that load."""
WARM_UP_SECONDS = 0.7
SYNCED_MESSAGES = 20
DELIVERY_SECONDS = 40.0


class Bench:
    """What the rounds share. say: tells the person how far it is."""

    def __init__(
        self,
        folder: Path,
        generator: Generator,
        sink: Sink,
        certificate: tuple[Path, Path],
        resolver: str,
        say: Callable[[str], None],
        *,
        rounds: int,
        seconds: float,
    ) -> None:
        self._folder, self._generator, self._sink = folder, generator, sink
        self._certificate, self._resolver, self._say = certificate, resolver, say
        self._rounds, self._seconds = rounds, seconds
        self._numbers = 0

    def place(self, kind: type[Server], purpose: str) -> Place:
        """A folder for one server, which other users may pass through."""
        self._numbers += 1
        folder = self._folder / f"{self._numbers}-{kind.name}"
        folder.mkdir()
        folder.chmod(0o755)
        return Place(folder, purpose, self._sink.port, *self._certificate, self._resolver)  # type: ignore[arg-type]

    def run(self, job: Job, kinds: Sequence[type[Server]]) -> JobResult:
        """One job, on all servers that can do it. A server that fails has a line that says why."""
        servers: list[Server] = []
        lines: dict[str, Line] = {}
        try:
            servers += [kind(self.place(kind, job.purpose)) for kind in kinds if takes_part(kind, job)]
            running = self._start(job, servers, lines)
            for number in range(1 if job.once else self._rounds):
                for one in list(running):
                    try:
                        done = one.round(self._seconds)
                    except (LoadError, TimeoutError, OSError) as error:
                        lines[one.server.name] = self._failed(job, one.server, error)
                        running.remove(one)
                        continue
                    self._say(f"  {job.name}  round {number + 1}/{self._rounds}  {one.server.name:14}"
                              f"{done.rate:8.0f}/s  {done.cpu_seconds / done.messages * 1000:6.3f} ms CPU")  # fmt: skip
            for one in running:
                lines[one.server.name] = one.line()
        finally:
            for server in servers:
                server.stop()
                shutil.rmtree(server.place.folder, ignore_errors=True)
        ordered = tuple(lines[server.name] for server in servers)
        return JobResult(
            job.name, job.title, job.unit, ordered, job.goal, job.goal_cpu, job.goal_memory, job.ours, job.base
        )

    def _start(self, job: Job, servers: Sequence[Server], lines: dict[str, Line]) -> list[_Running]:
        """Those that are up and warm; the others have a line that says what is wrong."""
        up, running = [], []
        for server in servers:
            try:
                server.start()
                up.append(server)
            except (TimeoutError, OSError) as error:
                lines[server.name] = self._failed(job, server, error)
        for server in up:
            try:
                running.append(_Running(server, job, self))
            except (LoadError, TimeoutError, OSError) as error:
                lines[server.name] = self._failed(job, server, error)
        return running

    def idle(self, job: IdleJob, kinds: Sequence[type[Server]]) -> list[IdleLine]:
        """Idle connections, one server after the other: their memory is what counts, not their time."""
        lines = []
        for kind in kinds:
            if "idle" not in kind.purposes:
                continue
            server = kind(self.place(kind, "idle"))
            try:
                server.start()
                lines.append(hold(server, job))
            except (TimeoutError, OSError, ValueError) as error:
                lines.append(IdleLine(kind.name, job.tls, job.connections, 0, 0, 0, 0, str(error)))
            finally:
                server.stop()
                shutil.rmtree(server.place.folder, ignore_errors=True)
            self._say(f"  idle  {kind.name}: {lines[-1].held} held")
        return lines

    def _failed(self, job: Job, server: Server, error: Exception) -> Line:
        self._say(f"  {job.name}: {server.name} fails: {error}\n{server.logged()}")
        return Line(server.name, problem=str(error))

    def load(self, server: Server, job: Job, messages: int) -> Round:
        """`messages` through one server, to the job's end. Raises LoadError or TimeoutError."""
        taken = self._sink.counter.value
        server.empty()
        used = cpu_seconds(*server.roots)
        began = time.monotonic()
        seen = self._generator.run(job.load, server.port, messages)
        self.last = seen
        if seen.failed:
            raise LoadError(f"{seen.failed} of {messages} failed, the first with: {seen.first_failure}")
        if job.until == "delivered":
            wait_until(lambda: server.delivered() >= seen.done, "all are in the Maildir", DELIVERY_SECONDS)
        elif job.until == "relayed":
            wait_until(lambda: self._sink.counter.value - taken >= seen.done, "all are at the sink", DELIVERY_SECONDS)
        seconds = seen.seconds if job.until == "answered" else time.monotonic() - began
        time.sleep(SETTLE_SECONDS)
        return Round(
            seen.done, seen.failed, seconds, cpu_seconds(*server.roots) - used, seen.p50_ms, seen.p95_ms, seen.p99_ms,
            seen.cpu_seconds / seen.seconds,
        )  # fmt: skip

    last: Measured
    """What the generator saw in the last run."""


def takes_part(kind: type[Server], job: Job) -> bool:
    """Whether a server is one of those that a job compares: a job may name its own."""
    if job.servers:
        return kind.name in job.servers
    return job.purpose in kind.purposes


class _Running:
    """One server in one job. Made with the rounds that do not count: the rate to expect, memory, syncs."""

    def __init__(self, server: Server, job: Job, bench: Bench) -> None:
        self.server = server
        self._job, self._bench = job, bench
        self._rounds: list[Round] = []
        self._resumed: float | None = None
        self._syncs: int | None = None
        self._idle = self._peak = memory_octets(*server.roots)
        self._rate = 0.0
        if job.once:
            return
        bench.load(server, job, job.load.sessions * 2)
        with PeakMemory(*server.roots) as memory:
            warm = bench.load(server, job, messages_for(500, WARM_UP_SECONDS, job.load.sessions))
        self._peak = memory.octets
        self._rate = bench.load(server, job, messages_for(warm.rate, WARM_UP_SECONDS, job.load.sessions)).rate
        self._syncs = self._count_syncs() if job.octets else None

    def _count_syncs(self) -> int | None:
        job = msgspec.structs.replace(self._job, load=Load(self._job.load.steps, 1))
        time.sleep(REST_SECONDS)

        def send() -> None:
            self._bench.load(self.server, job, SYNCED_MESSAGES)

        return count_syncs(self.server.roots, send)

    def round(self, seconds: float) -> Round:
        """One that counts."""
        if self._job.once:
            with PeakMemory(*self.server.roots) as memory:
                done = self._bench.load(self.server, self._job, self._job.once)
            self._peak = memory.octets
        else:
            done = self._bench.load(self.server, self._job, messages_for(self._rate, seconds, self._job.load.sessions))
        self._rate = done.rate
        self._rounds.append(done)
        if self._job.load.resume:
            self._resumed = self._bench.last.resumed / max(1, self._bench.last.connections)
        return done

    def line(self) -> Line:
        """After the rounds, once with Postfix's own generator, which shows whether ours is fair."""
        job, source = self._job, None
        if job.octets and job.until == "answered" and not job.once:
            messages = messages_for(self._rate, 1.0, job.load.sessions)
            recipient = REMOTE if job.purpose == "relay" else LOCAL
            source = smtp_source(self.server.port, job.load.sessions, messages, job.octets, recipient, kept=job.kept)
        return Line(
            self.server.name, tuple(self._rounds), self._peak, self._syncs, self._resumed, source,
            idle_octets=self._idle,
        )  # fmt: skip
