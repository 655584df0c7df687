"""A consistent copy of the synced file, made by a process of its own while others write: `python -m ... FILE COPY`.

Of its own, because a damaged file may kill whoever opens it, and no process may open one twice.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Final

import lmdb

from gatepost.standing.port import StandingError
from gatepost.store.lmdb.opening import FACTS
from gatepost.store.lmdb.probe import MAP_OCTETS, SLOT_READERS

COPY_SECONDS: Final = 600.0


def copy_facts(folder: Path, target: Path) -> bool:
    """Whether there was something to copy; `target` is the whole of it then. Raises StandingError."""
    source = folder / FACTS
    if not source.exists():
        return False
    command = [sys.executable, "-P", "-m", __name__, str(source), str(target)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COPY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise StandingError(f"{source}: copying it took more than {COPY_SECONDS:g} seconds; see the disks") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"]
        raise StandingError(
            f"{source}: cannot be copied ({said[-1]}); a restart of the server sets a damaged one aside"
        )
    return True


def _copy(source: str, target: str) -> None:
    with (
        lmdb.open(
            source, subdir=False, map_size=MAP_OCTETS, readonly=True, create=False, max_readers=SLOT_READERS
        ) as environment,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        environment.copyfd(file.fileno(), compact=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _copy(*sys.argv[1:])
