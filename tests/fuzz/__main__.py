"""Coverage-guided fuzzing with atheris: `python -m tests.fuzz TARGET --minutes N`, or `make fuzz` for all of them.

What breaks a target is written to its corpus as `crash-...`: mend it, and keep the file. New inputs that reach new code
go to build/fuzz/TARGET, and are the start of the next run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> int:
    """The exit status: 1 if a target broke."""
    from tests.fuzz.targets import CORPUS, TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the targets, one after the other.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)}; else all")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target (10)")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.targets if name not in TARGETS]:
        parser.error(f"no target is called {unknown[0]}; there are {', '.join(TARGETS)}")
    broken = []
    for name in chosen.targets or TARGETS:
        found, crashes = ROOT / "build/fuzz" / name, CORPUS / name
        found.mkdir(parents=True, exist_ok=True)
        # A process for each: libFuzzer ends the one it is in.
        command = [sys.executable, "-m", "tests.fuzz.run", name, str(found), str(crashes), f"{chosen.minutes * 60:.0f}"]
        print(f"fuzz: {name}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            broken.append(name)
    if broken:
        print(f"fuzz: broken: {', '.join(broken)}; the inputs are in {CORPUS.relative_to(ROOT)}/TARGET/crash-*")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
