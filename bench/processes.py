"""What a tree of processes uses: CPU and memory, from /proc."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

TICK: Final = os.sysconf("SC_CLK_TCK")
SYNCS: Final = "fsync,fdatasync,sync_file_range,syncfs,msync,sync"


def tree(*roots: int) -> list[int]:
    """`roots` and all below them."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            below.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = list(roots)
    for pid in found:
        found += below.get(pid, [])
    return found


def cpu_seconds(*roots: int) -> float:
    """User and system time of the trees, with that of children that have ended and were waited for."""
    ticks = 0
    for pid in tree(*roots):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def memory_octets(*roots: int) -> int:
    """PSS of the trees: what several share is counted once."""
    total = 0
    for pid in tree(*roots):
        with suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
    return total


class PeakMemory:
    """The most that trees held while the block ran; looking costs CPU, so not in a run that counts."""

    def __init__(self, *roots: int, turn: float = 0.1) -> None:
        self.octets = 0
        self._roots, self._turn = roots, turn
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.octets = max(self.octets, memory_octets(*self._roots))
            if self._end.wait(self._turn):
                return


def count_syncs(roots: Sequence[int], work: Callable[[], None]) -> int | None:
    """How often the trees asked the system to make something durable while `work` ran; None without strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    attached = [word for pid in tree(*roots) for word in ("-p", str(pid))]
    tracer = subprocess.Popen(
        [strace, "-f", "-e", f"trace={SYNCS}", *attached], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    assert tracer.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(tracer.stderr or ()), daemon=True)
    reader.start()
    try:
        time.sleep(1.0)  # until it is attached to all; it does not say when
        if tracer.poll() is not None:
            return None
        work()
        time.sleep(0.5)
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        reader.join(5)
    begun = re.compile(rf"\b({SYNCS.replace(',', '|')})\(")
    return sum(1 for line in lines if begun.search(line))


def end(process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """SIGTERM, and SIGKILL to the whole tree when that was not enough."""
    if process.poll() is not None:
        return
    everybody = tree(process.pid)
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        for pid in everybody:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Returns when `holds` does. Raises TimeoutError, which says what was waited for."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"after {seconds:.0f} seconds, still not: {what}")
        time.sleep(0.01)
