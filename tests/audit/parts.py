"""What the tests of the record share: IDs in a row, and the chain computed once more, from its definition."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.support.clock import HandClock

from gatepost.audit.writer import AuditWriter
from gatepost.mail.ids import make_id

DAY = 86_400.0
NOON = 1_764_000_000.0 - 1_764_000_000.0 % DAY + DAY / 2  # 2025-11-24 12:00:00 UTC


class Ids:
    def __init__(self) -> None:
        self.made = 0

    def new(self) -> str:
        self.made += 1
        return make_id(int(NOON * 1000), 1 << 40 | self.made)  # none that a test makes itself


def writer(folder: Path, clock: HandClock | None = None, worker: int = 0, node: str = "mx.example.org") -> AuditWriter:
    return AuditWriter(folder, node, worker, clock or HandClock(NOON), Ids(), sync_seconds=0.0)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Every line, each of which must be whole JSON."""
    octets = path.read_bytes()
    assert octets.endswith(b"\n")
    return [json.loads(line) for line in octets.splitlines()]


def chain_by_hand(path: Path, previous: bytes) -> bytes:
    """The last chain value, every one before it checked: SHA-256 over the one before and the line up to it."""
    for line in path.read_bytes().splitlines():
        body = line[: line.rindex(b',"chain":"')]
        previous = hashlib.sha256(previous + body).digest()
        assert json.loads(line)["chain"] == previous.hex()
    return previous
