"""What every engine that keeps something promises: what it said it kept is there after a kill and after a power cut.

A `Keeper` puts numbered things into an engine and finds them again. `python -m tests.conformance.durability NAME DATA
FIRST COUNT` keeps COUNT things and prints "+NUMBER" for each as soon as the engine has said so; tests watch it and end
it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from tests.support.system_clock import SystemClock

from gatepost.accounts.model import Alias
from gatepost.audit.event import Event
from gatepost.audit.verify import verify_all
from gatepost.audit.writer import AuditWriter
from gatepost.mail.address import Path as MailPath
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.ids import make_id
from gatepost.spool.model import NewEntry
from gatepost.spool.settings import SpoolSettings
from gatepost.store.data_folder import prepare
from gatepost.store.lmdb.standing import LmdbStanding
from gatepost.store.maildir.store import MaildirStore
from gatepost.store.sqlite.accounts import SqliteAccounts
from gatepost.store.sqlite.spool import SqliteSpool

CLOCK: Final = SystemClock()
LARGE_EVERY: Final = 4
FOR_EVER: Final = 4e9


def body(number: int) -> bytes:
    """The octets that `number` stands for; some are above 256 KiB, where the spool makes a file of them."""
    return (f"{number:08d}" * (40_000 if number % LARGE_EVERY == 0 else 50) + "\r\n").encode()


class Keeper(Protocol):
    """An engine, open in `data`."""

    async def keep(self, number: int) -> None:
        """Returns when the engine says that it is kept."""
        ...

    async def found(self) -> set[int]:
        """What is there. Raises for what is not whole."""
        ...

    async def close(self) -> None: ...


class InSpool:
    SETTINGS = SpoolSettings(free_limit_octets=0)

    def __init__(self, data: Path) -> None:
        self._spool = SqliteSpool.open(prepare(data).root, "0", self.SETTINGS, CLOCK)

    async def keep(self, number: int) -> None:
        content = self._spool.new_content()
        content.write(body(number))
        content.finish()
        path = Recipient(MailPath(str(number), "example.org"))
        entry_id = make_id(number, number)
        entry = NewEntry(entry_id, Envelope(recipients=(path,)), 1.0, b"", content.octets, ("example.org",))
        await self._spool.add(entry, content)

    async def found(self) -> set[int]:
        numbers = set()
        for entry in await self._spool.lease(2.0, 100_000, per_destination=100_000):
            number = int(entry.recipients[0].recipient.path.local_part)
            assert b"".join([piece async for piece in self._spool.read(entry.id)]) == body(number)
            numbers.add(number)
        return numbers

    async def close(self) -> None:
        await self._spool.close()


class InEncryptedSpool(InSpool):
    SETTINGS = SpoolSettings(free_limit_octets=0, key="a key that nobody guesses, of some length")


class InMaildirs:
    """Each in a maildrop that did not exist before, but for every third."""

    def __init__(self, data: Path) -> None:
        self._folder = prepare(data).maildrops
        self._store = MaildirStore(self._folder, host="mx.example.org", clock=CLOCK)

    async def keep(self, number: int) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield body(number)

        await self._store.deliver(f"{number // 3}@example.org", "", b"", pieces())

    async def found(self) -> set[int]:
        numbers = set()
        for path in self._folder.glob("*/*/new/*"):
            octets = path.read_bytes().replace(b"\n", b"\r\n")
            number = int(octets[:8])
            assert octets == body(number)
            numbers.add(number)
        return numbers

    async def close(self) -> None:
        self._store.close()


class InFacts:
    """Bans, grants and the greylist, in turn."""

    TABLES: Final = ("ban", "grant", "greylist")

    def __init__(self, data: Path) -> None:
        self.reports: list[str] = []
        self._store = LmdbStanding(prepare(data).standing, self.reports.append)

    async def keep(self, number: int) -> None:
        await self._store.remember(self.TABLES[number % 3], str(number), body(1), FOR_EVER)

    async def found(self) -> set[int]:
        assert self.reports == []
        facts = [fact for table in self.TABLES for fact in self._store.recall_all(table, 1.0)]
        assert all(fact.value == body(1) for fact in facts)
        return {int(fact.key) for fact in facts}

    async def close(self) -> None:
        self._store.close()


class InAccounts:
    def __init__(self, data: Path) -> None:
        self._store = SqliteAccounts(prepare(data).accounts)

    async def keep(self, number: int) -> None:
        self._store.put(Alias(f"{number}@example.org", ("ada@example.org",)))

    async def found(self) -> set[int]:
        return {int(alias.address.partition("@")[0]) for alias in self._store.aliases()}

    async def close(self) -> None:
        self._store.close()


class InRecord:
    """Promised a second after it was written, and at once when the writer has been closed."""

    def __init__(self, data: Path) -> None:
        self._folder = prepare(data).audit

    async def keep(self, number: int) -> None:
        with closing(AuditWriter(self._folder, "mx", number % 3, CLOCK, _Ids())) as writer:
            writer.record(Event("server", details={"what": "kept", "number": number}))

    async def found(self) -> set[int]:
        assert not [problem for _, problems in verify_all(self._folder) for problem in problems]
        lines = [line for file in self._folder.glob("*/*.jsonl") for line in file.read_bytes().splitlines()]
        events = [json.loads(line)["details"] for line in lines]
        return {event["number"] for event in events if event["what"] == "kept"}

    async def close(self) -> None:
        pass


class _Ids:
    _numbers = count(1)

    def new(self) -> str:
        return make_id(int(CLOCK.unix() * 1000), next(self._numbers))


KEEPERS: Final[Mapping[str, type[Keeper]]] = {
    "spool": InSpool,
    "encrypted-spool": InEncryptedSpool,
    "maildirs": InMaildirs,
    "facts": InFacts,
    "accounts": InAccounts,
    "record": InRecord,
}


async def keep_all(name: str, data: Path, first: int, how_many: int) -> None:
    keeper = KEEPERS[name](data)
    for number in range(first, first + how_many):
        await keeper.keep(number)
        os.write(1, f"+{number}\n".encode())


async def found_in(name: str, data: Path) -> set[int]:
    """What an engine finds that is opened in `data` now."""
    keeper = KEEPERS[name](data)
    try:
        return await keeper.found()
    finally:
        await keeper.close()


if __name__ == "__main__":
    asyncio.run(keep_all(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
