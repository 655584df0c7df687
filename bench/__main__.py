"""`python -m bench`: the side-by-side comparison. `make bench` runs it from the repository root."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from bench import machine, output, plot
from bench.comparing import Bench
from bench.idle import IDLE_JOBS
from bench.jobs import JOBS, choose
from bench.load import Generator
from bench.names import Names
from bench.results import Report
from bench.servers.known import SERVERS
from bench.sink import Sink

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = ROOT / "build/bench"


def options(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Gatepost beside other servers, in one run.")
    parser.add_argument("--only", action="append", default=[], metavar="JOB",
                        help="a job, or the beginning of several names; may be repeated. There are: "
                        + ", ".join([*(job.name for job in JOBS), "idle"]))  # fmt: skip
    parser.add_argument("--server", action="append", default=[], choices=[kind.name for kind in SERVERS],
                        help="only this one; may be repeated")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="three short rounds instead of five")
    parser.add_argument("--rounds", type=int, help="rounds of each server in each job")
    parser.add_argument("--seconds", type=float, help="about how long a round takes (3; quick: 1)")
    parser.add_argument("--note", default="", help="what a reader must know of this run; it is on the page")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md and its plot")
    return parser.parse_args(words)


def main() -> int:
    """The exit status: 1 when a server failed in a job, so that no figure is missed in silence."""
    chosen = options()
    try:
        jobs = choose(chosen.only)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    wants_idle = not chosen.only or "idle" in chosen.only
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gatepost-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix's processes are of another user, and must pass through
        described = machine.describe(folder)
        versions = {kind: kind.version() for kind in SERVERS if not chosen.server or kind.name in chosen.server}
        kinds = [kind for kind, version in versions.items() if version is not None]
        for kind in versions.keys() - set(kinds):
            print(f"{kind.name}: not here (not installed, or it needs root)")
        if (load := os.getloadavg()[0]) > 0.5:
            print(f"the machine is busy (load {load:.2f}): trust ratios only, and repeat this when it is quiet")
        generator, sink, names = Generator(folder), Sink(folder), Names()
        rounds = chosen.rounds or (3 if chosen.quick else 5)
        seconds = chosen.seconds or (1.0 if chosen.quick else 3.0)
        bench = Bench(
            folder, generator, sink, machine.make_certificate(folder), names.address, say,
            rounds=rounds, seconds=seconds,
        )  # fmt: skip
        try:
            results = []
            for job in jobs:
                results.append(bench.run(job, kinds))
                say(output.job_text(results[-1]))
            idle = [line for one in IDLE_JOBS for line in bench.idle(one, kinds)] if wants_idle else []
            if idle:
                say(output.idle_text(idle))
        finally:
            sink.stop()
            names.stop()
    report = Report(
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), described, generator.name, rounds,
        {kind.name: f"{versions[kind]}; {kind.about}" for kind in kinds}, tuple(results), tuple(idle),
        seconds, chosen.note,
    )  # fmt: skip
    write(report, publish=chosen.publish)
    return int(any(line.problem for job in results for line in job.lines))


def write(report: Report, *, publish: bool) -> None:
    """JSON and plot into build/bench; publish: the manual's page as well."""
    drawing = plot.svg(report)
    (RESULTS / "last.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    (RESULTS / "last.svg").write_text(drawing)
    print(f"\nwritten: {RESULTS / 'last.json'}, {RESULTS / 'last.svg'}")
    if publish:
        (ROOT / "docs/images/performance.svg").write_text(drawing)
        (ROOT / "docs/performance.md").write_text(output.page(report, "images/performance.svg"))
        print("written: docs/performance.md, docs/images/performance.svg")


def say(text: str) -> None:
    """How far it is."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
