"""Entries that have an end: going through them a piece at a time, and giving some up when the file gets crowded.

LMDB copies each page that it changes, so in a file that is really full, or on a full disk, not even deleting works.
Room on disk is therefore reserved ahead, and a quarter of it kept free: what is worth least is given up before.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, TypeAlias

import lmdb

from gatepost.store.lmdb.layout import END

USED_AT_MOST: Final = 0.75
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

MOUNTS: Final = Path("/proc/self/mountinfo")
# File systems that write to a reserved block where it lies. Others write it elsewhere, and need room for that.
IN_PLACE: Final = frozenset({"ext4", "xfs", "tmpfs"})

GIVEN_UP_AT_ONCE: Final = 500  # of twice as many, side by side: they share few pages

Transaction: TypeAlias = "lmdb.Transaction[bytes]"  # generic in its stubs only
Range: TypeAlias = tuple[bytes, bytes]  # the first key, and the first one behind


def entries_from(txn: Transaction, start: bytes, within: Range, count: int) -> tuple[list[tuple[float, bytes]], bytes]:
    """(end, key) of the next `count` entries of the range, and where to go on: b"", its beginning, after its last."""
    first, behind = within
    entries: list[tuple[float, bytes]] = []
    cursor = txn.cursor()
    found = cursor.set_range(start if first <= start < behind else first)
    while found and cursor.key() < behind:
        if len(entries) == count:
            return entries, cursor.key()
        entries.append((END.unpack_from(cursor.value())[0], cursor.key()))
        found = cursor.next()
    return entries, b""


def give_up(txn: Transaction, start: bytes, within: Range) -> tuple[list[float], bytes]:
    """The ends of what was deleted: the half that ends soonest of the next thousand entries; and where to go on."""
    entries, position = entries_from(txn, start, within, 2 * GIVEN_UP_AT_ONCE)
    victims = sorted(entries)[: max(GIVEN_UP_AT_ONCE, len(entries) // 2)]
    for _, key in victims:
        txn.delete(key)
    return [end for end, _ in victims], position


def is_crowded(txn: Transaction, octets: int) -> bool:
    """Whether the entries take more of `octets` than they may."""
    stat = txn.stat()
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return pages * stat["psize"] > octets * USED_AT_MOST


def reserve(environment: lmdb.Environment, octets: int) -> bool:
    """Whether the file has `octets` of disk from now on; True as well where the file system cannot reserve.

    No other process writes meanwhile: where the C library has to reserve by writing, it would write over them. LMDB's
    locks are on the other file, so that a second descriptor of this one may be closed. Where there is too little room,
    none is kept.
    """
    with environment.begin(write=True), open(environment.path(), "r+b") as file:
        before = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, octets)
        except OSError as error:
            if error.errno not in NO_ROOM:
                return True
            os.ftruncate(file.fileno(), before)  # ext4 has taken all that there was
            return False
    return True


def overwrites_in_place(path: Path, mounts: Path = MOUNTS) -> bool:
    """Whether what is reserved for `path` can be written for certain, also when the disk is full. mounts: the kernel's
    table of them; False where there is none, or it does not know."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    kinds = set()
    for line in lines:  # ID, parent, device, ..., "-", kind, source, options
        fields, _, described = line.partition(" - ")
        if fields.split()[2:3] == [number]:
            kinds.add(described.partition(" ")[0])
    return bool(kinds) and kinds <= IN_PLACE


def is_full(error: lmdb.Error) -> bool:
    """The map is full, or the disk below it: LMDB then tells of a commit that wrote less than it should (EIO)."""
    return isinstance(error, lmdb.MapFullError) or error.code in (errno.EIO, *NO_ROOM)
