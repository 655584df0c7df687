"""Reads a whole LMDB file and tries to write, in a process of its own: a damaged file may kill whoever opens it.

`python -m gatepost.store.lmdb.probe FILE` ends with 0 if the file is sound.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Final

import lmdb

MAP_OCTETS: Final = 1 << 30
PROBE_SECONDS: Final = 120.0
SHORTEST_VALUE_OCTETS: Final = 6  # one share; no value of ours is shorter


def fault(path: Path) -> str:
    """What is wrong with the file, "" if it is sound. Nobody else may have it open."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"reading it took more than {PROBE_SECONDS:g} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"reading it ended the process with signal {-done.returncode}"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"reading it failed with status {done.returncode}"


def read_all(path: Path) -> None:
    """Touches every entry, and the list of free pages by a write that is taken back. Raises what LMDB raises."""
    with lmdb.open(str(path), subdir=False, map_size=MAP_OCTETS, create=False, max_readers=SLOT_READERS) as environment:
        with environment.begin() as txn:
            for _, value in txn.cursor():
                if len(value) < SHORTEST_VALUE_OCTETS:
                    raise ValueError("a value is too short to be one of ours")
        txn = environment.begin(write=True)
        txn.put(b"\xff probe", bytes(5000))
        txn.abort()


SLOT_READERS: Final = 1024  # as everybody who opens it: the first one decides the size of the lock file


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read_all(Path(sys.argv[1]))
