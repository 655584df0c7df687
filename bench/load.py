"""Puts load on a server: the compiled generator where a C compiler is there, else the one in Python.

Both play the same script, and say how much CPU they took themselves.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.script import Step, encode

SOURCE: Final = Path(__file__).with_name("load.c")
HOST: Final = "127.0.0.1"
SOURCES: Final = 200
"""Addresses of loopback that load comes from, so that ports do not run out and one client looks like many."""
LONGEST_SECONDS: Final = 600.0


class Load(msgspec.Struct, frozen=True):
    """sessions: at once. per_connection: messages on each connection. resume: offer the TLS session before."""

    steps: tuple[Step, ...]
    sessions: int
    per_connection: int = 1
    resume: bool = False


class Measured(msgspec.Struct, frozen=True):
    """What the generator saw. Latencies: from the connection, or from MAIL on a kept one, to the last reply."""

    done: int
    failed: int
    connections: int
    resumed: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    first_failure: str = ""

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


class LoadError(Exception):
    """The generator could not do its work; the message says why."""


class Generator:
    """folder: where the compiled program and the scripts go. name: which of the two it is, for the report."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program, self.name, self.has_tls = _compiled(folder)
        self._scripts = 0

    def run(self, load: Load, port: int, messages: int) -> Measured:
        """Sends `messages` to 127.0.0.1:`port`. Raises LoadError."""
        self._scripts += 1
        script = self._folder / f"script-{self._scripts}"
        script.write_bytes(encode(load.steps))
        words = [
            HOST, str(port), str(load.sessions), str(messages), str(load.per_connection), str(SOURCES),
            str(int(load.resume)), str(script),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                [*self._program, *words], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"the load generator did not end within {LONGEST_SECONDS:.0f} seconds") from error
        finally:
            script.unlink()
        if done.returncode:
            raise LoadError(done.stderr.strip() or f"the load generator ended with status {done.returncode}")
        return msgspec.json.decode(done.stdout, type=Measured)


def _compiled(folder: Path) -> tuple[Sequence[str], str, bool]:
    """(the command, its name, whether it speaks TLS)."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is not None:
        target = folder / "load"
        for flags, libraries, has_tls in ((["-DWITH_TLS"], ["-lssl", "-lcrypto"], True), ([], [], False)):
            command = [compiler, "-O2", *flags, "-o", str(target), str(SOURCE), *libraries]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return [str(target)], "bench/load.c, compiled" + ("" if has_tls else ", without TLS"), has_tls
    return [sys.executable, "-m", "bench.load_python"], "bench/load_python.py", True


def smtp_source(port: int, sessions: int, messages: int, octets: int, recipient: str, *, kept: bool) -> float | None:
    """Messages per second by Postfix's own generator, to see that ours does not flatter; None where it is absent."""
    program = shutil.which("smtp-source", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        return None
    words = ["-s", sessions, "-m", messages, "-l", octets, "-f", "bob@example.net", "-t", recipient]
    command = [program, *map(str, words), *(["-d"] if kept else []), f"inet:{HOST}:{port}"]
    script = "import subprocess,sys,time;t=time.monotonic();s=subprocess.run(sys.argv[1:]).returncode;" \
             "print(time.monotonic()-t);sys.exit(s)"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    if done.returncode:
        raise LoadError(f"smtp-source: {done.stderr.strip()}")
    return messages / float(done.stdout.split()[-1])
