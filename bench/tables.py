"""`python -m bench.tables`: what a table of a million networks costs `client.access`, of IPv4 and of IPv6.

Told: the seconds until it is in force, the longest time that the event loop stood still meanwhile, the memory that it
takes, and a look-up, by the processor's time; the networks are the same in every run. `--networks N` takes fewer.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gatepost.gate.access import AccessTables
from gatepost.policy.checks.client_access import Settings

LOOK_UPS: Final = 200_000
ROUNDS: Final = 5
SEED: Final = 1

Make = Callable[[random.Random], str]


def ipv4(chance: random.Random) -> str:
    """A /24 of the public part."""
    return f"{chance.randrange(1, 224)}.{chance.getrandbits(8)}.{chance.getrandbits(8)}.0/24"


def ipv6(chance: random.Random) -> str:
    """A /48 or a /64 of the global part, or one host."""
    groups = [f"{chance.getrandbits(16) | 1:x}" for _ in range(7)]
    length = chance.choice((48, 64, 128))
    taken = ":".join(groups[: length // 16 - 1])
    first = f"2{chance.getrandbits(12):03x}:{taken}"
    return first if length == 128 else f"{first}::/{length}"


async def load(tables: AccessTables) -> tuple[float, float]:
    """(seconds until the tables are in force, the longest that the loop stood still)."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before - 0.001)

    watching = asyncio.create_task(watch())
    before = time.perf_counter()
    await tables.load()
    took = time.perf_counter() - before
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return took, longest


def look_up_seconds(find: Callable[[str], object], addresses: list[str]) -> float:
    """Of one look-up, in the best of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        for address in addresses:
            find(address)
        rounds.append((time.process_time() - before) / len(addresses))
    return min(rounds)


def measure(folder: Path, family: str, make: Make, networks: int) -> str:
    """One line of the result."""
    chance = random.Random(SEED)
    lines = list(dict.fromkeys(make(chance) for _ in range(networks)))
    path = folder / family
    path.write_text("\n".join(lines) + "\n")
    tables = AccessTables(Settings(deny=(f"file:{path}",)), None, print)
    took, longest = asyncio.run(load(tables))
    held = tables.networks
    octets = sum(len(column) * column.itemsize for one in held for column in one.columns())
    addresses = [line.partition("/")[0] for line in chance.sample(lines, min(LOOK_UPS, len(lines)))]
    seconds = look_up_seconds(tables.find, addresses)
    return (
        f"{family}: {len(lines)} networks in force after {took:.2f} s, "
        f"loop stood still {longest * 1000:.0f} ms at most, {octets / 1e6:.0f} MB, a look-up {seconds * 1e6:.2f} us"
    )


def main(words: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description="Tables of client.access, measured.")
    parser.add_argument("--networks", type=int, default=1_000_000)
    networks = parser.parse_args(words).networks
    with tempfile.TemporaryDirectory(prefix="gatepost-tables-") as name:
        for family, make in (("IPv4", ipv4), ("IPv6", ipv6)):
            print(measure(Path(name), family, make, networks), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
