"""Opening the two files: one process at a time, damage found before it can hurt, yesterday's counters thrown away.

`facts.mdb` is synced at each commit. `counters.mdb` never is: after a power cut its pages may be of different ages,
and reading them may end the process, so it does not outlive the boot that wrote it.

A file that is mapped for writing costs no system call for each page, and kills the process with SIGBUS when a page has
no block and the disk is full. So the map of `counters.mdb` is never larger than what is reserved, and it is for writing
only where that is enough. LMDB cuts such a file to the map: whoever maps it has the lock of `opening`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb

from gatepost.standing.port import StandingError
from gatepost.store.disk import sync_folder
from gatepost.store.lmdb.holders import Holder, held
from gatepost.store.lmdb.probe import SLOT_READERS, fault
from gatepost.store.lmdb.room import overwrites_in_place, reserve

COUNTERS: Final = "counters.mdb"
FACTS: Final = "facts.mdb"
BOOT: Final = "boot"
OPENING: Final = "opening"
BLOCK_OCTETS: Final = 512  # of `st_blocks`, whatever the file system's are
RESERVED_OCTETS: Final = 8 * 1024 * 1024  # of disk for the counters at first, doubled when needed
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Report = Callable[[str], None]


def this_boot(boot_id: Path = BOOT_ID) -> str:
    """The kernel's name for the time since it started, "" where it has none."""
    try:
        return boot_id.read_text("ascii").strip()
    except OSError:
        return ""


def open_files(
    folder: Path, boot: str, map_octets: int, report: Report
) -> tuple[Holder, lmdb.Environment, lmdb.Environment]:
    """This process's slot, the counters and the facts; damaged files were set aside first, and reported.

    Raises StandingError that says which folder, why, and what to do.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with held(folder / OPENING, wait=True):
            holder = Holder(folder / "holders")
            try:
                if holder.is_alone():
                    _prepare(folder, boot, report)
                counters = _open_counters(folder / COUNTERS, map_octets, report)
                facts = _open(folder / FACTS, map_octets, sync=True)
                sync_folder(folder)  # LMDB syncs what is in the file, and not that there is one
            except BaseException:
                holder.release()
                raise
    except (OSError, lmdb.Error) as error:
        what = f"{folder}: cannot open what is remembered there ({error})"
        raise StandingError(f"{what}; see that the folder is ours to write and the disk has room") from error
    return holder, counters, facts


def _prepare(folder: Path, boot: str, report: Report) -> None:
    """Nobody has the files open: find out whether they can be trusted."""
    counters, facts = folder / COUNTERS, folder / FACTS
    if not boot or _read(folder / BOOT) != boot:
        _remove(counters)
        (folder / BOOT).write_text(boot, "ascii")
    if counters.exists() and (found := fault(counters)):
        _remove(counters)
        report(f"{counters} was damaged and is begun anew ({found}); rates are counted from nothing")
    if facts.exists() and (found := fault(facts)):
        kept = _set_aside(facts)
        report(
            f"{facts} is damaged ({found}) and was set aside as {kept.name}; bans, grants and greylist begin anew: "
            'lay the bans that are still needed again with "ban add", and check the disk'
        )


def grow(folder: Path, counters: lmdb.Environment, map_octets: int, *, wait: bool = False) -> bool:
    """Whether there is more room for counters now: another process has reserved some, or we did, twice as much as there
    was and at most `map_octets`. Not in a transaction. wait: for whoever opens the files just now, else False."""
    with held(folder / OPENING, wait=wait) as is_ours:
        if not is_ours:
            return False
        mapped, there = counters.info()["map_size"], (folder / COUNTERS).stat().st_size
        if there <= mapped:
            there = min(2 * mapped, map_octets)
            if there <= mapped or not reserve(counters, there):
                return False
        counters.set_mapsize(there)
        return True


def _open_counters(path: Path, map_octets: int, report: Report) -> lmdb.Environment:
    """Mapped as far as there is room for certain; for writing where that is known. The caller has the lock."""
    there = path.stat().st_size if path.exists() else 0
    octets = max(min(RESERVED_OCTETS, map_octets), there)
    counters = _open(path, octets, sync=False)
    try:
        is_reserved = reserve(counters, octets)
    except lmdb.Error as error:  # a full disk: counting is tried again and again, connections go on
        report(f"{path}: no room can be had for counters ({error}); see that the disk has some")
        return counters
    if not is_reserved or path.stat().st_blocks * BLOCK_OCTETS < octets or not overwrites_in_place(path):
        return counters
    counters.close()
    return _open(path, octets, sync=False, writemap=True)


def _open(path: Path, map_octets: int, *, sync: bool, writemap: bool = False) -> lmdb.Environment:
    environment = lmdb.open(
        str(path),
        subdir=False,
        map_size=map_octets,
        mode=0o600,
        sync=sync,
        metasync=sync,
        writemap=writemap,
        max_readers=SLOT_READERS,
        max_spare_txns=2,
    )
    environment.reader_check()
    return environment


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except FileNotFoundError:
        return ""


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    Path(f"{path}-lock").unlink(missing_ok=True)


def _set_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(kept)
    _remove(path)
    return kept
