"""Opening a writer's file: a number of its own, and an end that is whole, whatever a crash left behind.

Not here: writing (`writer`).
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from gatepost.audit.chain import split, start_of
from gatepost.audit.files import (
    TORN_FOLDER,
    WRITERS_FOLDER,
    RecordFile,
    file_name,
    newest_of,
    opened,
    removed,
    sync_folder,
)

MAX_WRITERS: Final = 10_000  # numbers that are tried; each is a live process
BLOCK_OCTETS: Final = 1 << 16  # an event is a few KiB: the last one is nearly always in the last block


class Torn(msgspec.Struct, frozen=True):
    """What was behind the last whole line of a file, and is now in a file of its own."""

    file: Path
    at: int
    octets: int
    aside: Path


class Opened(msgspec.Struct, frozen=True):
    """A file to append to. chain: of the line that the next one follows. follows: the name of the file before, set
    only where this one is empty. torn: what was set aside, here and in the file before."""

    descriptor: int
    path: Path
    octets: int
    chain: bytes
    follows: str
    torn: tuple[Torn, ...]

    @property
    def is_new(self) -> bool:
        return self.octets == 0


def take_number(folder: Path, preferred: int) -> tuple[int, int]:
    """(number, descriptor of its lock): the first from `preferred` on that no other live writer has.

    After a reload the old workers still write under theirs. The lock ends with the descriptor, so with the process.
    Raises OSError.
    """
    writers = folder / WRITERS_FOLDER
    writers.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in range(preferred, preferred + MAX_WRITERS):
        descriptor = os.open(writers / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        else:
            return number, descriptor
    raise OSError(errno.EBUSY, f"each of {MAX_WRITERS} writers' numbers is taken", str(writers))


def open_file(folder: Path, day: str, node: str, worker: int) -> Opened:
    """A writer's file of `day`, made if need be, its end whole. Raises OSError, CannotRead."""
    name = file_name(day, node, worker)
    path = folder / name
    is_made = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        if is_made:
            sync_folder(path.parent)
            sync_folder(folder)
        octets, chain, torn = _mend(folder, path, descriptor)
        if chain is not None:
            return Opened(descriptor, path, octets, chain, "", _some(torn))
        follows, chain, torn_before = _before(folder, day, node, worker)
        return Opened(descriptor, path, octets, chain, follows, _some(torn_before) + _some(torn))
    except BaseException:
        os.close(descriptor)
        raise


def last_line(descriptor: int, octets: int) -> tuple[int, bytes | None]:
    """(where the last whole line ends, its chain value), or (0, None) if no line is whole."""
    start, tail = octets, b""
    while start > 0:
        step = min(BLOCK_OCTETS, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
        first = 0 if start == 0 else tail.find(b"\n") + 1
        if first == 0 and start > 0:
            continue  # the line is longer than what was read so far
        stop = tail.rfind(b"\n", first)
        while stop >= first:
            begin = max(tail.rfind(b"\n", first, stop) + 1, first)
            chain = _chain_of(tail[begin : stop + 1])
            if chain is not None:
                return start + stop + 1, chain
            stop = begin - 1
        tail = tail[:first]
    return 0, None


def _chain_of(line: bytes) -> bytes | None:
    parts = split(line)
    if parts is None:
        return None
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError:
        return None
    return parts[1]


def _mend(folder: Path, path: Path, descriptor: int) -> tuple[int, bytes | None, Torn | None]:
    """(octets, chain of the last line, what was set aside) once the file ends in a whole line."""
    octets = os.fstat(descriptor).st_size
    whole, chain = last_line(descriptor, octets)
    if whole == octets:
        return octets, chain, None
    aside = _set_aside(folder, path, descriptor, whole, octets)
    os.ftruncate(descriptor, whole)
    os.fsync(descriptor)
    return whole, chain, Torn(path, whole, octets - whole, aside)


def _set_aside(folder: Path, path: Path, descriptor: int, start: int, end: int) -> Path:
    """Copies what is to be cut off, durably, before it is cut off. Returns where to."""
    torn = folder / TORN_FOLDER
    torn.mkdir(exist_ok=True, mode=0o700)
    stem = f"{path.parent.name}.{path.name}.{start}"
    for count in range(MAX_WRITERS):
        aside = torn / (f"{stem}.{count}" if count else stem)
        try:
            out = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(out, "wb") as stream:
            while start < end:
                octets = os.pread(descriptor, min(1 << 20, end - start), start)
                if not octets:
                    break
                stream.write(octets)
                start += len(octets)
            stream.flush()
            os.fsync(out)
        sync_folder(torn)
        return aside
    raise FileExistsError(errno.EEXIST, "too many torn lines were set aside; look at them and remove them", str(torn))


def _before(folder: Path, day: str, node: str, worker: int) -> tuple[str, bytes, Torn | None]:
    """(name, chain, what was set aside there): where this writer's chain stood before `day`."""
    file = newest_of(folder, node, worker, before=day)
    if file is None:
        for each in reversed(removed(folder)):
            if each.chain and each.file.partition("/")[2] == file_name(day, node, worker).partition("/")[2]:
                return each.file, bytes.fromhex(each.chain), None
        return "", start_of(node, worker), None
    if file.is_compressed:
        return file.name, _end_of_compressed(file) or start_of(node, worker), None
    descriptor = os.open(file.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _, chain, torn = _mend(folder, file.path, descriptor)
    finally:
        os.close(descriptor)
    if chain is None:  # nothing in it is whole: what it followed is what we follow
        name, chain, earlier = _before(folder, file.day, node, worker)
        return name, chain, torn or earlier
    return file.name, chain, torn


def _end_of_compressed(file: RecordFile) -> bytes | None:
    chain = None
    with opened(file) as stream:
        for line in stream:
            parts = split(line)
            if parts is not None:
                chain = parts[1]
    return chain


def _some(torn: Torn | None) -> tuple[Torn, ...]:
    return () if torn is None else (torn,)
