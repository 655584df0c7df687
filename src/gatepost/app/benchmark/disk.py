"""How fast the disk of a folder makes things durable, and how long a password takes to check."""

from __future__ import annotations

import os
import secrets
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gatepost.accounts.authentication import AT_ONCE
from gatepost.accounts.credentials import Hashing, make_credential
from gatepost.app.benchmark.measured import Disk, Login
from gatepost.store.disk import sync_folder

OCTETS: Final = 4096
LOGINS: Final = 7


def disk_of(folder: Path, seconds: float) -> Disk:
    """Two measurements in `folder`, `seconds` each; their files are removed. Raises OSError."""
    content = os.urandom(OCTETS)
    append = _times(seconds, _appender(folder / "append", content))
    place = folder / "files"
    place.mkdir()
    file = _times(seconds, _filer(place, content))
    return Disk(*_figures(append), *_figures(file))


def login(workers: int) -> Login:
    """How long one hash takes when nothing else runs."""
    hashing = Hashing()
    password = "not the password of anybody"
    credential = make_credential(password, salt=secrets.token_bytes(16), now=0.0)
    taken = []
    for _ in range(LOGINS):
        began = time.perf_counter()
        hashing.verify(credential.argon2, password)
        taken.append(time.perf_counter() - began)
    each = statistics.median(taken)
    at_once = min(AT_ONCE * workers, len(os.sched_getaffinity(0)))
    return Login(each * 1000, at_once / each)


def _appender(path: Path, content: bytes) -> Callable[[int], None]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(number: int) -> None:
        if number < 0:
            os.close(descriptor)
            path.unlink()
            return
        os.write(descriptor, content)
        os.fdatasync(descriptor)

    return append


def _filer(place: Path, content: bytes) -> Callable[[int], None]:
    def write(number: int) -> None:
        if number < 0:
            for left in place.iterdir():
                left.unlink()
            place.rmdir()
            return
        fresh = place / "new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.rename(place / str(number))
        sync_folder(place)

    return write


def _times(seconds: float, work: Callable[[int], None]) -> list[float]:
    """How long each call took; work(-1) cleans up behind them."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    try:
        while (began := time.perf_counter()) < until or not taken:
            work(len(taken))
            taken.append(time.perf_counter() - began)
    finally:
        work(-1)
    return taken


def _figures(taken: list[float]) -> tuple[float, float]:
    return len(taken) / sum(taken), statistics.median(taken) * 1000
