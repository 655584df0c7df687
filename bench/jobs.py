"""The jobs that servers are compared in, and the goals that Gatepost has in them."""

from __future__ import annotations

from base64 import b64encode
from typing import Final, Literal

import msgspec

from bench import script
from bench.load import Load
from bench.results import BASE, OURS
from bench.servers.server import FOREIGN, LOCAL, PASSWORD, REMOTE, Purpose

Until = Literal["answered", "delivered", "relayed"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """until: what ends a round: the last reply, the last file in the Maildir, the last message at the sink. goal: the
    ratio of `ours` to `base`. goal_cpu: the ratio of CPU, at most. goal_memory: octets over idle, at most. unit: what
    is counted. octets: of a message, 0 for none. servers: only these; all that can do it without any. once: one round
    of so many messages, with no warm-up, in which memory is looked at."""

    name: str
    title: str
    purpose: Purpose
    load: Load
    until: Until = "answered"
    goal: float | None = None
    goal_cpu: float | None = None
    unit: str = "message"
    octets: int = 0
    kept: bool = False
    goal_memory: int | None = None
    ours: str = OURS
    base: str = BASE
    servers: tuple[str, ...] = ()
    once: int | None = None


def _steps(recipient: str, octets: int) -> tuple[script.Step, ...]:
    return (*script.opening(), *script.message(recipient, octets), script.CLOSING)


def _accept(sessions: int, kib: int, goal: float | None, *, kept: bool = False, goal_cpu: float | None = None) -> Job:
    per_connection = 200 if kept else 1
    how = ", kept" if kept else ""
    return Job(
        name=f"accept-{kib}k-s{sessions}" + ("-kept" if kept else ""),
        title=f"accept durable, {kib} KiB, {sessions} session{'s' if sessions > 1 else ''}{how}",
        purpose="hold",
        load=Load(_steps(LOCAL, kib * 1024), sessions, per_connection),
        goal=goal,
        goal_cpu=goal_cpu,
        octets=kib * 1024,
        kept=kept,
    )


def _relay(sessions: int, goal: float, *, kept: bool = False) -> Job:
    return Job(
        name=f"relay-s{sessions}" + ("-kept" if kept else ""),
        title=f"relay to a sink, 4 KiB, {sessions} sessions{', kept' if kept else ''}",
        purpose="relay",
        load=Load(_steps(REMOTE, 4096), sessions, 200 if kept else 1),
        until="relayed",
        goal=goal,
        octets=4096,
        kept=kept,
    )


def _refuse(sessions: int, goal: float) -> Job:
    return Job(
        name=f"refuse-s{sessions}",
        title=f"refuse at RCPT, {sessions} session{'s' if sessions > 1 else ''}",
        purpose="deliver",
        load=Load((*script.opening(), *script.refused(FOREIGN), script.CLOSING), sessions),
        goal=goal,
        unit="session",
    )


def _starttls(goal: float, *, resume: bool) -> Job:
    return Job(
        name="starttls-resumed" if resume else "starttls-full",
        title=f"STARTTLS, {'resumed' if resume else 'full handshake'}, 50 sessions",
        purpose="tls",
        load=Load((*script.opening(tls=True), *script.nothing(), script.CLOSING), 50, resume=resume),
        goal=goal,
        unit="session",
    )


GROWN: Final = "gatepost-grown"
"""Gatepost with 1,000,000 entries in its spool."""
PLAIN: Final = b"AUTH PLAIN " + b64encode(f"\0{LOCAL}\0{PASSWORD}".encode()) + b"\r\n"
JOBS: Final = (
    _accept(1, 4, 1.5),
    _accept(10, 4, 3.0),
    _accept(50, 4, 4.0, goal_cpu=0.2),
    _accept(200, 4, 4.0),
    _accept(200, 4, 8.0, kept=True),
    _accept(50, 100, 2.0),
    _accept(50, 100, None, kept=True),
    Job(
        name="deliver-s50", title="accept and deliver to Maildir, 4 KiB, 50 sessions", purpose="deliver",
        load=Load(_steps(LOCAL, 4096), 50), until="delivered", goal=2.0, octets=4096,
    ),
    _relay(50, 4.0),
    _relay(200, 6.0, kept=True),
    _refuse(1, 1.0),
    _refuse(50, 2.5),
    _starttls(2.0, resume=False),
    _starttls(1.2, resume=True),
    Job(
        name="auth-s8", title="AUTH PLAIN inside TLS, 8 sessions", purpose="login",
        load=Load((*script.opening(tls=True, login=PLAIN), *script.nothing(), script.CLOSING), 8), unit="session",
    ),
    Job(
        name="growth-s50", title="accept durable, 4 KiB, 50 sessions, beside 1,000,000 entries", purpose="hold",
        load=Load(_steps(LOCAL, 4096), 50), goal=0.8, octets=4096, ours=GROWN, base=OURS, servers=(GROWN, OURS),
    ),
    Job(
        name="memory-50m-s50", title="50 messages of 50 MB at once", purpose="hold",
        load=Load(_steps(LOCAL, 50_000_000), 50), goal_memory=300 * 2**20, octets=50_000_000, once=50,
        servers=(OURS, BASE),
    ),
)  # fmt: skip
"""In the order of the report; what fills the disk comes last. `idle` is a job of another kind (`bench.idle`)."""


def choose(words: list[str]) -> list[Job]:
    """The jobs whose names begin with one of `words`; all without any. Raises ValueError for a word that fits none."""
    for word in words:
        if word != "idle" and not any(job.name.startswith(word) for job in JOBS):
            raise ValueError(f"no job begins with {word!r}; there are {', '.join(job.name for job in JOBS)}, idle")
    return [job for job in JOBS if not words or any(job.name.startswith(word) for word in words)]
