"""What was measured, as values. All times are in milliseconds."""

from __future__ import annotations

import msgspec


class Disk(msgspec.Struct, frozen=True):
    """append: 4 KiB and a sync, one after the other, as the record and the spool write. file: a file of 4 KiB, synced,
    renamed, and its folder synced, as a Maildir's messages are written."""

    append_per_second: float
    append_ms: float
    file_per_second: float
    file_ms: float


class Accept(msgspec.Struct, frozen=True):
    """Messages of 4 KiB, each on a connection of its own, at a private server of the same kind. cpu_ms: of its
    processes, for each message. busy: how much of one core each worker was at work. load_cores: what the load took of
    the machine itself."""

    sessions: int
    messages: int
    failed: int
    per_second: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    busy: float
    load_cores: float
    first_failure: str = ""


class Login(msgspec.Struct, frozen=True):
    """hash_ms: one argon2 hash, which every new password costs. per_second: all workers together."""

    hash_ms: float
    per_second: float


class Dns(msgspec.Struct, frozen=True):
    """One resolver. median_ms, worst_ms: of names that it cannot have remembered. failed: look-ups without an
    answer."""

    resolver: str
    asked: int
    failed: int
    median_ms: float
    worst_ms: float


class Measured(msgspec.Struct, frozen=True):
    """cores: that this process may use. files: how many a worker may have open. connections: that the configuration
    allows in all."""

    cores: int
    workers: int
    files: int
    connections: int
    disk: Disk
    accept: Accept
    login: Login
    dns: tuple[Dns, ...]


class Finding(msgspec.Struct, frozen=True):
    """what: limits it, in words. advice: what would help, with the name of the setting. limit: of the accept rate
    ("disk", "cpu", "client", "errors"), "" for a finding of another kind."""

    what: str
    advice: str
    limit: str = ""
