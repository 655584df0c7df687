"""kill -9 while a spool is written: what `add` returned for is there, whole; what was settled is gone.

A kill leaves the kernel's page cache alone, so this proves the order of writes and the recovery; what a power cut
leaves is `test_spool_power_cut`'s.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.crash.spool_victim import PREFIX, body
from tests.support.clock import HandClock

from gatepost.spool.port import SpoolError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool

ROOT = Path(__file__).parents[2]
POINTS = {
    "content.write": (1, 9),
    "content.sync": (1, 4),
    "content.rename": (1, 4),
    "content.folder": (1, 4),
    "commit.before": (1, 12),
    "commit.after": (1, 12),
    "unlink": (1, 2),
    "checkpoint.before": (1, 2),
}


class Ledger:
    """What the victims said: added (ID: octets and seed of the content), begun to settle, settled."""

    def __init__(self) -> None:
        self.added: dict[str, tuple[int, int]] = {}
        self.maybe_gone: set[str] = set()
        self.gone: set[str] = set()

    def note(self, line: str) -> None:
        kind, rest = line[0], line[1:]
        if kind == "+":
            entry_id, octets, seed = rest.split()
            self.added[entry_id] = (int(octets), int(seed))
        elif kind == "?":
            self.maybe_gone.add(rest)
        elif kind == "-":
            self.gone.add(rest)

    async def check(self, data: Path) -> None:
        damage: list[tuple[str, str]] = []
        spool = SqliteSpool.open(data, "0", SpoolSettings(), HandClock(), on_damage=lambda *what: damage.append(what))
        try:
            for entry_id, (octets, seed) in self.added.items():
                try:
                    whole = b"".join([piece async for piece in spool.read(entry_id)])
                except SpoolError:
                    assert entry_id in self.maybe_gone, f"{entry_id} was kept, and is lost"
                else:
                    assert entry_id not in self.gone, f"{entry_id} was settled, and is back"
                    assert len(whole) == octets
                    assert whole == PREFIX + body(seed)
            assert damage == []
            # What is there beyond the ledger was committed and not yet told: whole too, and nothing is leased.
            entries = [entry.id for entry in await spool.lease(1e12, 1_000_000, per_destination=1_000_000)]
            assert len(entries) == spool.entries
            files = {path.name for path in (data / "spool" / "0" / "content").iterdir()}
            assert files <= set(entries)
            for entry_id in entries:
                assert [piece async for piece in spool.read(entry_id)]
        finally:
            await spool.close()


def run_victim(data: Path, ledger: Ledger, seed: int, *fault: str, lines: int = 0) -> int:
    """Starts a victim and kills it after it has said so many `lines` (0: it kills itself). The lines it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.spool_victim", str(data), str(seed), *fault],
        stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    said = 0
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith(b"\n"):
                ledger.note(line.decode().strip())
            said += 1
            if said == lines:
                process.kill()
    finally:
        process.kill()
        process.communicate()
        watchdog.cancel()
    return said


async def test_twenty_kills_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    moments = random.Random(20251124)
    ledger = Ledger()
    for number in range(20):
        run_victim(tmp_path, ledger, number * 1_000_000, lines=moments.randrange(1, 300))
        if number % 5 == 4:  # between the others the next victim meets what the last one left
            await ledger.check(tmp_path)
    assert len(ledger.added) > 500
    assert len(ledger.gone) > 20


@pytest.mark.parametrize(("point", "number"), [(point, number) for point, two in POINTS.items() for number in two])
async def test_a_kill_at_each_point_loses_nothing(tmp_path: Path, point: str, number: int) -> None:
    ledger = Ledger()
    said = run_victim(tmp_path, ledger, 1000, point, str(number))
    assert said > 0
    await ledger.check(tmp_path)
