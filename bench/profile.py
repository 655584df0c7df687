"""A flame graph of Gatepost's accept path under load: `make profile`, or `python -m bench.profile --job accept-4k-s50`.

py-spy looks at the server's processes from outside a thousand times a second, so the server runs as it always does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from bench import machine
from bench.jobs import JOBS, Job
from bench.load import Generator, LoadError, Measured
from bench.names import Names
from bench.servers.gatepost_server import Gatepost
from bench.servers.server import Place
from bench.sink import Sink

ROOT: Final = Path(__file__).parent.parent
TARGET: Final = ROOT / "profile/accept.svg"
PY_SPY: Final = Path(sys.executable).parent / "py-spy"
WARM_UP_MESSAGES: Final = 2000
SPARE: Final = 1.5
"""The load goes on for so much longer than the profile takes: attaching takes time, and rates drift."""
SAMPLES_A_SECOND: Final = 1000


def main(words: list[str] | None = None) -> int:
    """The exit status: 1 when there is no graph, and then it says why."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=(__doc__ or "").partition("\n")[0])
    names = [job.name for job in JOBS if job.purpose in Gatepost.purposes]
    parser.add_argument("--job", choices=names, default="accept-4k-s50", help="the load, one of the bench's jobs")
    parser.add_argument("--seconds", type=int, default=15, help="how long to look (15)")
    parser.add_argument("--output", type=Path, default=TARGET, help="the SVG to write (profile/accept.svg)")
    parser.add_argument("--native", action="store_true", help="show C functions too; needs a py-spy that can")
    chosen = parser.parse_args(words)
    job = next(job for job in JOBS if job.name == chosen.job)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        measured = profile(job, chosen.seconds, chosen.output, native=chosen.native)
    except (OSError, LoadError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    print(f"written: {chosen.output}; {job.title}: {measured.rate:.0f} {job.unit}s a second while it was looked at")
    return 0


def profile(job: Job, seconds: int, output: Path, *, native: bool = False) -> Measured:
    """What the load saw; the graph is in `output`. Raises OSError, LoadError."""
    with tempfile.TemporaryDirectory(prefix="gatepost-profile-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        generator, sink, names = Generator(folder), Sink(folder), Names()
        place = Place(folder / "server", job.purpose, sink.port, *machine.make_certificate(folder), names.address)
        place.folder.mkdir()
        server = Gatepost(place)
        try:
            server.start()
            warm = generator.run(job.load, server.port, WARM_UP_MESSAGES)
            return _watched(generator, job, server, int(warm.rate * seconds * SPARE) + 1, seconds, output, native)
        finally:
            server.stop()
            sink.stop()
            names.stop()


def _watched(
    generator: Generator, job: Job, server: Gatepost, messages: int, seconds: int, output: Path, native: bool
) -> Measured:
    measured: list[Measured] = []
    failed: list[LoadError] = []

    def load() -> None:
        try:
            measured.append(generator.run(job.load, server.port, messages))
        except LoadError as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        _look(server.root, seconds, output, native)
    finally:
        thread.join()
    if failed:
        raise failed[0]
    return measured[0]


def _look(pid: int, seconds: int, output: Path, native: bool) -> None:
    command = [
        str(PY_SPY), "record", "--subprocesses", "--pid", str(pid), "--duration", str(seconds), "--rate",
        str(SAMPLES_A_SECOND), "--format", "flamegraph", "--output", str(output), *(["--native"] if native else []),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    except FileNotFoundError:
        raise OSError(f"{PY_SPY} is not there; `make profile` installs it") from None
    if done.returncode or not output.is_file():
        said = done.stderr.strip().splitlines()[-1:] or [f"py-spy ended with status {done.returncode}"]
        hint = "" if "ermission" not in done.stderr else "; run it as root, or with kernel.yama.ptrace_scope = 0"
        raise OSError(f"{said[0]}{hint}")


if __name__ == "__main__":
    sys.exit(main())
