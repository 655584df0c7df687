"""Which processes are alive: each holds the lock of a numbered file, and the kernel lets go of it when it ends.

A process ID would not do: it is used again, and means nothing in another container.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gatepost.standing.port import StandingError

SLOTS: Final = 1024


class Holder:
    """This process's slot. Invariant: nobody else has `slot` until `release`, or the end of this process."""

    __slots__ = ("_descriptor", "_folder", "slot")

    def __init__(self, folder: Path) -> None:
        """Takes the first free slot. Raises StandingError if there is none, OSError for the folder."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        for slot in range(SLOTS):
            descriptor = _locked(folder / str(slot))
            if descriptor is not None:
                self.slot, self._descriptor = slot, descriptor
                return
        raise StandingError(f"{folder}: {SLOTS} processes use it already; end some")

    def is_alone(self) -> bool:
        """Whether no other process has a slot."""
        for path in self._folder.iterdir():
            if not path.name.isdecimal() or int(path.name) == self.slot:
                continue
            with held(path) as is_free:
                if not is_free:
                    return False
        return True

    @contextmanager
    def held_if_dead(self, slot: int) -> Iterator[bool]:
        """Whether the process of `slot` is gone; meanwhile nobody gets the slot, so what it left can be cleared."""
        if slot == self.slot:
            yield False
            return
        with held(self._folder / str(slot)) as is_free:
            yield is_free

    def release(self) -> None:
        """Give the slot back."""
        os.close(self._descriptor)


@contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """The lock of `path` while the block runs; False if another process has it. wait: until it is ours."""
    descriptor = _locked(path, wait=wait)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(path: Path, *, wait: bool = False) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
