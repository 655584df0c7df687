"""What was measured, as values: rounds, their medians and spread, and the ratio to Postfix. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import ClassVar, Final

import msgspec

BASE: Final = "postfix"
OURS: Final = "gatepost"
BARE: Final = "gatepost-bare"


class Round(msgspec.Struct, frozen=True):
    """One run of one server. seconds: until the job's end. cpu_seconds: of the server's tree. load_share: CPU that the
    generator took, in cores."""

    messages: int
    failed: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    load_share: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


class Line(msgspec.Struct, frozen=True):
    """One server in one job. peak_octets, idle_octets: memory at work and before. syncs: in 20 messages, None where it
    was not counted. problem: why there are no rounds."""

    server: str
    rounds: tuple[Round, ...] = ()
    peak_octets: int = 0
    syncs: int | None = None
    resumed_share: float | None = None
    smtp_source_rate: float | None = None
    problem: str = ""
    idle_octets: int = 0

    def middle(self, name: str) -> float:
        """The median of a round's field or property."""
        return float(median(getattr(one, name) for one in self.rounds))

    @property
    def rate(self) -> float:
        return self.middle("rate")

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest rate."""
        rates = [one.rate for one in self.rounds]
        return min(rates), max(rates)

    @property
    def cpu_per_1000(self) -> float:
        """CPU seconds for 1000 messages: the median over the rounds."""
        return float(median(one.cpu_seconds / one.messages for one in self.rounds)) * 1000


class JobResult(msgspec.Struct, frozen=True):
    """ours, base: the server that the goals are for, and the one that it is compared with. goal_memory: octets over
    idle, at most."""

    name: str
    title: str
    unit: str
    lines: tuple[Line, ...]
    goal: float | None = None
    goal_cpu: float | None = None
    goal_memory: int | None = None
    ours: str = OURS
    base: str = BASE

    def line(self, server: str) -> Line | None:
        """The line of a server that has rounds."""
        return next((line for line in self.lines if line.server == server and line.rounds), None)

    def ratio(self, line: Line) -> float | None:
        """Its rate by the other's: the median over the rounds, each beside the one that ran next to it."""
        base = self.line(self.base)
        if base is None or not line.rounds:
            return None
        pairs = zip(line.rounds, base.rounds, strict=False)
        return float(median(one.rate / other.rate for one, other in pairs))

    def cpu_ratio(self, line: Line) -> float | None:
        base = self.line(self.base)
        if base is None or not line.rounds or not base.cpu_per_1000:
            return None
        return line.cpu_per_1000 / base.cpu_per_1000

    @property
    def is_met(self) -> bool | None:
        """Whether Gatepost reached the goals; None where there is none, or nothing to compare with."""
        ours = self.line(self.ours)
        if ours is None:
            return None
        found: list[bool] = []
        if self.goal_memory is not None:
            found.append(ours.peak_octets - ours.idle_octets <= self.goal_memory)
        ratio, cpu_ratio = self.ratio(ours), self.cpu_ratio(ours)
        if self.goal is not None and ratio is not None:
            found.append(ratio >= self.goal)
        if self.goal_cpu is not None and cpu_ratio is not None:
            found.append(cpu_ratio <= self.goal_cpu)
        return all(found) if found else None

    @property
    def price(self) -> float | None:
        """Microseconds of CPU a message that the optional checks cost: with them less without."""
        with_checks, bare = self.line(OURS), self.line(BARE)
        if with_checks is None or bare is None:
            return None
        return (with_checks.cpu_per_1000 - bare.cpu_per_1000) * 1000


class IdleLine(msgspec.Struct, frozen=True):
    """One server with connections that say nothing. fresh_before, fresh_held: milliseconds that a new client waits for
    the answer to its first commands (0: not served). octets_each: memory of one connection."""

    server: str
    tls: bool
    wanted: int
    held: int
    octets_each: float
    fresh_before_ms: float
    fresh_held_ms: float
    problem: str = ""
    MOST_SLOWER: ClassVar[float] = 2.5

    def is_met(self, most_kib: float) -> bool:
        """Whether all are held, each in `most_kib`, and a fresh client is served nearly as fast as before."""
        return (
            self.held >= self.wanted
            and self.octets_each <= most_kib * 1024
            and 0 < self.fresh_held_ms < self.MOST_SLOWER * self.fresh_before_ms
        )


class Report(msgspec.Struct, frozen=True):
    """A whole run.

    machine: what it ran on, by name. servers: what was compared, name to version and configuration. round_seconds:
    about how long a round took. note: what a reader must know of this run.
    """

    when: str
    machine: dict[str, str]
    generator: str
    rounds: int
    servers: dict[str, str]
    jobs: tuple[JobResult, ...]
    idle: tuple[IdleLine, ...] = ()
    round_seconds: float = 0.0
    note: str = ""


def messages_for(rate: float, seconds: float, sessions: int) -> int:
    """How many messages a round of about `seconds` has; every session gets some, and memory stays bounded."""
    return max(2 * sessions, 20, min(200_000, int(rate * seconds)))


def percent_over(lines: Sequence[Line]) -> float:
    """The widest spread among `lines`, in percent of the median."""
    return max(((line.spread[1] - line.spread[0]) / line.rate * 100 for line in lines if line.rounds), default=0.0)
