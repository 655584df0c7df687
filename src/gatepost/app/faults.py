"""The fault points of a real server, for the tests of this project: a process stops where it is told to.

Nothing of it is reachable without the variable below; a server that has it says so at its start.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gatepost.ports.faults import Faults, no_fault

log = structlog.get_logger()

VARIABLE: Final = "GATEPOST_FAULTS"


def faults_of(environment: Mapping[str, str]) -> Faults:
    """What is done at the points of `ports.faults`: nothing, unless the variable names a folder.

    Then the first process that passes point P while the folder has a file P renames it to P.PROCESS and stops itself
    (SIGSTOP), all threads where they are. Whoever made the file looks at what is on the disk, and kills the process.
    """
    folder = environment.get(VARIABLE, "")
    if not folder:
        return no_fault
    log.warning("this server stops where a test tells it to; it is not for mail", variable=VARIABLE, folder=folder)
    return partial(_stop_if_told, Path(folder))


def _stop_if_told(folder: Path, point: str) -> None:
    with suppress(FileNotFoundError):
        os.rename(folder / point, folder / f"{point}.{os.getpid()}")
        # This thread takes the signal itself, so it does nothing more; the others are stopped along with it.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
