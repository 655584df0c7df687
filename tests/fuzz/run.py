"""One target under atheris, until its time is over or an input breaks it. Run by `python -m tests.fuzz`."""

from __future__ import annotations

import sys

import atheris


def main(name: str, found: str, crashes: str, seconds: str) -> None:
    """found: where inputs go that reach new code. crashes: the corpus that is kept."""
    with atheris.instrument_imports(include=["gatepost"]):
        from tests.fuzz.targets import TARGETS, dictionary
    words = [
        sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048",
        f"-dict={dictionary(name)}", f"-artifact_prefix={crashes}/", found, crashes,
    ]  # fmt: skip
    atheris.Setup(words, TARGETS[name].check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
