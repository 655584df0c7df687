"""Gatepost in its default configuration, and a second one with its optional checks off, so that their price is seen.

Nobody is `trusted`, so the load is a stranger's and every check runs as for one. Only the numbers of the limits are
lifted: a single client that sends thousands of messages a second is what they are there to stop.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from bench import script
from bench.servers.server import HOST, LOCAL, PASSWORD, ProgramServer, Purpose
from gatepost import __version__
from gatepost.mail import address
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.net.clock import SystemClock, SystemIds
from gatepost.policy.registry import CHECKS
from gatepost.spool.destination import LOCAL as LOCAL_DESTINATION
from gatepost.spool.model import NewEntry
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool

MANY = 1_000_000_000
ENTRIES = 1_000_000
ENTRY_OCTETS = 4096
BATCH = 1000
LIFTED = f"""
[policy."client.connections"]
total = {MANY}
per_address = {MANY}
per_prefix = {MANY}
[policy."client.rate"]
per_address = "{MANY}/1m"
per_prefix = "{MANY}/1m"
"""


class Gatepost(ProgramServer):
    """Two workers, default checks, full record."""

    name: ClassVar[str] = "gatepost"
    about: ClassVar[str] = (
        "default configuration: two workers, default checks, full record; nobody is trusted; the numbers of "
        "client.connections and client.rate are lifted"
    )
    purposes: ClassVar[frozenset[Purpose]] = frozenset({"hold", "deliver", "relay", "idle", "tls", "login"})
    workers: ClassVar[int] = 2
    checks: ClassVar[str] = LIFTED

    @classmethod
    def version(cls) -> str | None:
        return __version__

    @cached_property
    def maildir(self) -> Path:
        return self.place.folder / "data/maildrops/example.org/ada"

    def configuration(self) -> str:
        """gatepost.toml."""
        place = self.place
        service = "submission" if place.purpose == "login" else "mx"
        workers = 1 if place.purpose == "idle" else self.workers  # connections are counted per worker
        return f"""\
hostname = "mx.example.org"
data = "data"
trusted = []
postmaster = "{LOCAL}"
workers = {workers}
[[listen]]
address = "{HOST}:{self.port}"
service = "{service}"
[domain."example.org"]
[tls]
certificate = "{place.certificate}"
key = "{place.key}"
[relay]
networks = [{'"127.0.0.0/8"' if place.purpose == "relay" else ""}]
[route."example.net"]
to = "smtp://{HOST}:{place.sink}"
[delivery]
paused = {"true" if place.purpose == "hold" else "false"}
[dns]
resolvers = ["{place.resolver}"]
{self.checks}
"""

    def start(self) -> None:
        file = self.place.folder / "gatepost.toml"
        file.write_text(self.configuration())
        command = [sys.executable, "-m", "gatepost", "--config", str(file)]
        added = subprocess.run(
            [*command, "account", "add", LOCAL, "--password-stdin"],
            input=PASSWORD, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if added.returncode:
            raise OSError(f"gatepost account add: {added.stderr.strip()}")
        self.prepared()
        self.run([*command, "serve"])

    def prepared(self) -> None:
        """Called when the data folder is made, before the server is started."""


class GatepostGrown(Gatepost):
    """With many entries in its spools, each as large as what the load sends."""

    name: ClassVar[str] = "gatepost-grown"
    about: ClassVar[str] = f"the default configuration with {ENTRIES:,} entries of {ENTRY_OCTETS} octets in its spools"
    purposes: ClassVar[frozenset[Purpose]] = frozenset()  # the job that wants it names it

    def prepared(self) -> None:
        for number in range(self.workers):
            asyncio.run(fill(self.place.folder / "data", str(number), ENTRIES // self.workers))


async def fill(data: Path, name: str, entries: int) -> None:
    """The spool `name` below `data` with so many entries, all due."""
    clock, ids = SystemClock(), SystemIds()
    spool = SqliteSpool.open(data, name, SpoolSettings(), clock)
    octets = script.content(ENTRY_OCTETS)
    sender, recipient = (address.Path(*text.split("@")) for text in (script.SENDER, LOCAL))
    envelope = Envelope(sender, (Recipient(recipient),))
    for begin in range(0, entries, BATCH):
        added = []
        for _ in range(min(BATCH, entries - begin)):
            content = spool.new_content()
            content.write(octets)
            content.finish()
            entry = NewEntry(ids.new(), envelope, clock.unix(), b"", len(octets), (LOCAL_DESTINATION,))
            added.append(spool.add(entry, content))
        await asyncio.gather(*added)
    await spool.close()


class GatepostBare(Gatepost):
    """Every check off that can be switched off; the record stays."""

    name: ClassVar[str] = "gatepost-bare"
    about: ClassVar[str] = "the same with all optional checks off"
    purposes: ClassVar[frozenset[Purpose]] = frozenset({"hold"})
    checks: ClassVar[str] = "\n".join(f'[policy."{name}"]\nmode = "off"' for name in dict.fromkeys(
        check.name for check in CHECKS if check.optional))  # fmt: skip
