"""Programs of the system that tests talk to: found, or the test is skipped with what to install."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Daemons live in sbin, which the PATH of a plain user lacks.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
PACKAGES = Path(__file__).with_name("debian-packages.txt")
UNPACKED_LIST = Path(__file__).with_name("debian-unpacked.txt")
UNPACKED = Path(__file__).parents[1] / ".venv/.programs"


def program(name: str) -> Path:
    """Where `name` is installed; a test that calls this is skipped where it is not (and fails in CI)."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed; `make test` as root installs the packages of {PACKAGES.name}")
    return Path(found)


def unpacked(path: str) -> Path:
    """A file or folder of a package that is unpacked and not installed, as "usr/sbin/exim4"; as `program` else."""
    found = UNPACKED / path
    if not found.exists():
        pytest.skip(f"{path} is not there; `make test` unpacks the packages of {UNPACKED_LIST.name}")
    return found


def need_root(why: str) -> None:
    """Skips the test for a plain user; `why` completes "needs root: ..."."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {why}")
