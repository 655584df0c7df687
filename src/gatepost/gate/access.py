"""The tables of `client.access` of a running server: read at the start, read again when their files change, looked up.

Reading happens in a process of its own (`gate.access_read`). Not here: what the tables mean (the check), and their
lines (`policy.access_table`).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from gatepost.mail.network import NetworkSet
from gatepost.policy.access_table import AccessList, AccessTable, HandedOver, split_entries, taken_over
from gatepost.policy.checks.client_access import Settings
from gatepost.policy.findings import Listing
from gatepost.ports.resolver import Resolver
from gatepost.verify.host_names import MAX_NAMES, names_of, verified

log = structlog.get_logger()

LOOK_SECONDS: Final = 2.0  # between two looks at the files
READ_SECONDS: Final = 120.0
TOLD_LINES: Final = 5  # bad lines that an alert names
NOWHERE: Final = Listing()

Signature = tuple[int, int, int] | None
"""Of a file's state: when it was written, its size, which file it is; None where there is none."""


class AccessError(Exception):
    """A table cannot be read at the start; the message says which and what to do."""


class _File:
    """One table. tried: the state that was read last, well or not. seen: the state at the last look."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.found = AccessList(path)
        self.tried: Signature = None
        self.seen: Signature = None


class AccessTables:
    """`allow` and `deny`, as they are now. report: told what an operator must know; the server goes on."""

    def __init__(self, settings: Settings, resolver: Resolver | None, report: Callable[[str], None]) -> None:
        """Nothing is read yet. Raises ValueError for an entry that is none (`config` lets none through)."""
        self._resolver = resolver
        self._report = report
        self._own_allow, allow = split_entries(settings.allow)
        self._own_deny, deny = split_entries(settings.deny)
        self._files = {path: _File(path) for path in (*allow, *deny)}
        self._allow_files, self._deny_files = allow, deny
        self.is_open = not (settings.allow or settings.deny or settings.only_listed)
        """Whether nothing is configured, so that nobody is concerned."""
        self._join()

    @property
    def has_files(self) -> bool:
        """Whether `watch` has anything to do."""
        return bool(self._files)

    @property
    def networks(self) -> list[NetworkSet]:
        """Of the tables in files, as they are in force."""
        return [file.found.networks for file in self._files.values()]

    # --- looking up ----------------------------------------------------------------------------------------------

    def find(self, ip: str) -> Listing | Awaitable[Listing]:
        """What the tables say of the address; later, where its host name matters."""
        allow, deny = self._allow, self._deny
        if not allow.is_empty and (allowed := allow.address(ip)):
            return Listing(allowed=allowed)
        denied = deny.address(ip)
        if allow.has_names or (deny.has_names and not denied):
            return self._find_by_name(ip, denied)
        return Listing(denied=denied) if denied else NOWHERE

    async def _find_by_name(self, ip: str, denied: str) -> Listing:
        """The name of the address counts when it leads back to it. Only names that a table holds are verified."""
        if self._resolver is None:
            return Listing(denied=denied, unverified="there is no resolver")
        allow, deny = self._allow, self._deny
        claimed, unverified = await names_of(self._resolver, ip)
        names: list[str] = []
        allowed = ""
        for name in claimed[:MAX_NAMES]:
            if not allow.name(name) and (denied or not deny.name(name)):
                continue
            is_its_own, error = await verified(self._resolver, name, ip)
            unverified = unverified or error
            if is_its_own:
                names.append(name)
                allowed = allowed or allow.name(name)
                denied = denied or deny.name(name)
        return Listing(allowed, denied, tuple(names), "" if allowed else unverified)

    # --- reading -------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read every file for the first time. Raises AccessError: nobody is let in by a table that is not there."""
        for file in self._files.values():
            state = _state(file.path)
            error = await self._read(file, state)
            if error:
                raise AccessError(
                    f'policy."client.access": {file.path} cannot be read ({error}); put the table there, readable for '
                    "the server's user, or remove the entry"
                )
            file.tried = file.seen = state

    async def watch(self) -> None:
        """Read again what changes, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.refresh()
            except Exception:
                log.exception("tables of client.access not looked at")

    async def refresh(self) -> None:
        """Read the files that have changed since they were read and not since the last look: whoever writes a table
        in place is done by then. A file that cannot be read leaves its table as it is, and raises an alert."""
        for file in self._files.values():
            state = _state(file.path)
            settled, file.seen = state == file.seen, state
            if state == file.tried or not settled:
                continue
            error = await self._read(file, state) if state is not None else "it is not there"
            if _state(file.path) == state:  # else the next look finds the change
                file.tried = state
                if error:
                    problem = f"{file.path} cannot be read ({error}); the table that was read before stays in force"
                    self._report(problem)

    async def _read(self, file: _File, state: Signature) -> str:
        """Put into force what `file` holds, unless it changed meanwhile; why that cannot be done, "" when it was.

        state: of the file before.
        """
        try:
            found, handed = await asyncio.to_thread(_read_apart, file.path)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return str(error)
        if handed.error:
            return handed.error
        if _state(file.path) != state and file.tried is not None:
            return ""
        file.found = found
        self._join()
        if handed.bad_total:
            self._report(_told(file.path, handed))
        return ""

    def _join(self) -> None:
        self._allow = AccessTable((self._own_allow, *(self._files[path].found for path in self._allow_files)))
        self._deny = AccessTable((self._own_deny, *(self._files[path].found for path in self._deny_files)))


def told_lines(settings: Settings) -> list[str]:
    """What is wrong with the lines of all tables, a sentence for each, for `check config`. Takes its time."""
    told: list[str] = []
    for entries in (settings.allow, settings.deny):
        for path in split_entries(entries)[1]:
            _, handed = _read_apart(path)
            told += [
                f"{path}:{line.number}: {line.problem}; it is passed over, correct or remove it" for line in handed.bad
            ]
            if handed.bad_total > len(handed.bad):
                told.append(f"{path}: {handed.bad_total - len(handed.bad)} more lines like these")
            if handed.error:
                told.append(f"{path} cannot be read ({handed.error})")
    return told


def _told(path: str, handed: HandedOver) -> str:
    lines = "; ".join(f"{path}:{line.number}: {line.problem}" for line in handed.bad[:TOLD_LINES])
    more = f"; {handed.bad_total - TOLD_LINES} more lines like these" if handed.bad_total > TOLD_LINES else ""
    return f"{lines}{more}; these lines are passed over, correct or remove them"


def _state(path: str) -> Signature:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read_apart(path: str) -> tuple[AccessList, HandedOver]:
    """What the reader says about `path`. It finds this package where we found it, and nothing beside it.

    Over a file, not a pipe: what is large is then copied once. Raises OSError, SubprocessError, ValueError.
    """
    home = str(Path(__file__).parents[2])
    paths: Sequence[str] = (home, os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in paths if part)}
    with tempfile.TemporaryFile(buffering=0) as file:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gatepost.gate.access_read", path],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            timeout=READ_SECONDS,
            env=environment,
            check=False,
        )
        if done.returncode:
            last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise OSError(f"the reader ended with {done.returncode}: {''.join(last)}")
        file.seek(0)
        return taken_over(file.read, path)
