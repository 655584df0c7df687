"""Every engine that keeps something, killed at any moment and cut off from power at every moment: what it said it kept
is there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest
from tests.conformance.durability import KEEPERS, found_in
from tests.support.power_cut import Disk, read_trace, with_strace

ROOT: Final = Path(__file__).parents[2]
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
KILLS: Final = 5
KEPT: Final = 12  # under strace


def command(name: str, data: Path, first: int, count: int) -> list[str]:
    return [sys.executable, "-m", "tests.conformance.durability", name, str(data), str(first), str(count)]


def kept_until_killed(name: str, data: Path, first: int, lines: int) -> set[int]:
    """What the engine had said it kept when it was killed, after so many lines."""
    process = subprocess.Popen(command(name, data, first, 100_000), stdout=subprocess.PIPE, cwd=ROOT, env=ENVIRONMENT)
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    said: set[int] = set()
    try:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            if line.endswith(b"\n"):
                said.add(int(line))
            if number == lines:
                process.kill()
    finally:
        process.kill()
        process.communicate()
        watchdog.cancel()
    return said


@pytest.mark.parametrize("name", KEEPERS)
async def test_kills_at_any_moment_lose_nothing(tmp_path: Path, name: str) -> None:
    moments = random.Random(name)
    kept: set[int] = set()
    for number in range(KILLS):
        said = kept_until_killed(name, tmp_path, number * 1_000_000, moments.randrange(1, 60))
        assert said
        kept |= said
    found = await found_in(name, tmp_path)
    assert kept <= found
    assert len(found - kept) <= KILLS  # kept, and killed before it was said


def traced(name: str, data: Path, trace: Path) -> Disk:
    """What the disk saw while the engine kept KEPT things."""
    trace.parent.mkdir()
    data.mkdir()
    subprocess.run(
        with_strace(command(name, data, 0, KEPT), trace), cwd=ROOT, env=ENVIRONMENT, check=True, timeout=60,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return Disk(data, read_trace(trace))


@pytest.mark.parametrize("name", KEEPERS)
async def test_a_power_cut_at_any_moment_loses_nothing(tmp_path: Path, name: str) -> None:
    disk = traced(name, tmp_path / "data", tmp_path / "trace" / "of")
    said = disk.moments(b"+")
    assert len(said) == KEPT
    for number, (moment, _) in enumerate(said):
        left = disk.after_the_cut(moment, tmp_path / f"cut-{number}")
        assert set(range(number + 1)) <= await found_in(name, left)
    for number, moment in enumerate(disk.syncs):  # between two promises nothing that was kept gets lost either
        left = disk.after_the_cut(moment, tmp_path / f"sync-{number}")
        promised = sum(told <= moment for told, _ in said)
        assert set(range(promised)) <= await found_in(name, left)
