"""A process that fills a spool until it is killed: `python spool_victim.py DATA SEED [POINT NUMBER]`.

It prints a line for each `add` that has returned ("+ID OCTETS SEED-OF-THE-CONTENT") and for each `settle` ("-ID"), and
kills itself when fault point POINT is passed for the NUMBER-th time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from gatepost.mail.address import Path as MailPath
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.ids import make_id
from gatepost.spool.model import NewEntry, Settlement, State
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool

ADDERS = 8
LARGE_EVERY = 5
PREFIX = b"Received: by mx.example.org\r\n"


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def body(seed: int) -> bytes:
    """The content that `seed` stands for: mostly small, sometimes large enough for a file."""
    generator = random.Random(seed)
    octets = 262_145 + generator.randrange(200_000) if seed % LARGE_EVERY == 0 else generator.randrange(8192)
    return generator.randbytes(octets)


def kill_at(point: str, number: int) -> object:
    left = itertools.count(1)

    def fault(name: str, /) -> None:
        if name == point and next(left) == number:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal comes in its own time; nothing may happen before it does

    return fault


def tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # one write a line: a line is whole or missing


async def add_for_ever(spool: SqliteSpool, seeds: itertools.count[int]) -> None:
    for seed in seeds:
        octets = body(seed)
        content = spool.new_content()
        for at in range(0, len(octets), 65536):
            content.write(octets[at : at + 65536])
        content.finish()
        path = Recipient(MailPath("ada", "example.org"))
        now = time.time()
        entry = NewEntry(
            make_id(int(now * 1000), seed), Envelope(recipients=(path,)), now, PREFIX, len(PREFIX) + len(octets),
            ("example.org",),
        )  # fmt: skip
        await spool.add(entry, content)
        tell(f"+{entry.id} {entry.octets} {seed}")


async def deliver_some(spool: SqliteSpool) -> None:
    """Every second lease is settled, the others end with the process."""
    for turn in itertools.count():
        leased = await spool.lease(time.time(), 3)
        if turn % 2:
            for entry in leased:
                tell(f"?{entry.id}")  # from here it may be gone
            await spool.settle([Settlement(entry.id, 0, State.DONE) for entry in leased])
            for entry in leased:
                tell(f"-{entry.id}")
        await asyncio.sleep(0.001)


async def main(data: Path, first_seed: int, fault: object) -> None:
    more = {} if fault is None else {"faults": fault}
    spool = SqliteSpool.open(data, "0", SpoolSettings(), SystemClock(), **more)  # type: ignore[arg-type]
    tell("ready")
    seeds = itertools.count(first_seed)
    await asyncio.gather(deliver_some(spool), *[add_for_ever(spool, seeds) for _ in range(ADDERS)])


if __name__ == "__main__":
    asyncio.run(
        main(Path(sys.argv[1]), int(sys.argv[2]), kill_at(sys.argv[3], int(sys.argv[4])) if len(sys.argv) > 3 else None)
    )
