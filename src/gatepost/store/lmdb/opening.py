"""Opening the two files: one process at a time, damage found before it can hurt, yesterday's counters thrown away.

`facts.mdb` is synced at each commit. `counters.mdb` never is: after a power cut its pages may be of different ages,
and reading them may end the process, so it does not outlive the boot that wrote it. Neither is mapped for writing:
that would save 3 us a transaction, and kill the process with SIGBUS when the disk is full.
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

COUNTERS: Final = "counters.mdb"
FACTS: Final = "facts.mdb"
BOOT: Final = "boot"
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
        with held(folder / "opening", wait=True):
            holder = Holder(folder / "holders")
            try:
                if holder.is_alone():
                    _prepare(folder, boot, report)
                counters = _open(folder / COUNTERS, map_octets, sync=False)
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


def _open(path: Path, map_octets: int, *, sync: bool) -> lmdb.Environment:
    environment = lmdb.open(
        str(path),
        subdir=False,
        map_size=map_octets,
        mode=0o600,
        sync=sync,
        metasync=sync,
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
