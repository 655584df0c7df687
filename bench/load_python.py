"""The load generator for machines without a C compiler: `load.c` in Python, with the same words and the same output.

It costs the machine three times as much as the compiled one, which the report shows as its CPU share.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import ssl
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from bench.load import Measured
from bench.script import Step


def decode(octets: bytes) -> list[Step]:
    """The steps of a script. Raises ValueError."""
    steps, at = [], 0
    while at < len(octets):
        line, _, _ = octets[at:].partition(b"\n")
        phase, expected, kind, length = line.decode().split()
        at += len(line) + 1
        steps.append(Step(phase, expected, octets[at : at + int(length)], kind))  # type: ignore[arg-type]
        at += int(length)
    return steps


class Unexpected(Exception):
    """A reply other than the script's."""


class Run:
    """All sessions of one run."""

    def __init__(self, host: str, port: int, messages: int, per_connection: int, sources: int, resume: bool) -> None:
        self.host, self.port, self.per_connection, self.sources, self.resume = (
            host, port, per_connection, sources, resume,
        )  # fmt: skip
        self.left = messages
        self.latencies: list[float] = []
        self.failed = self.resumed = 0
        self.first_failure = ""
        self.numbers = itertools.count()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    async def session(self, steps: list[Step]) -> None:
        """Connections, one after the other, until no message is left."""
        while self.left > 0 and self.failed < 1000:
            try:
                await self._connection(steps)
            except (OSError, Unexpected, asyncio.IncompleteReadError) as error:
                self.failed += 1
                self.first_failure = self.first_failure or str(error)

    async def _connection(self, steps: list[Step]) -> None:
        number = next(self.numbers)
        source = (f"127.0.{1 + number % self.sources // 256}.{number % self.sources % 256}", 0)
        began = time.monotonic()
        self.left -= 1
        reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=source)
        try:
            await self._play(reader, writer, [step for step in steps if step.phase == "o"])
            for number in range(self.per_connection):
                if number:
                    if self.left <= 0:
                        break
                    self.left -= 1
                if number or self.per_connection > 1:
                    began = time.monotonic()
                await self._play(reader, writer, [step for step in steps if step.phase == "m"])
                self.latencies.append(time.monotonic() - began)
            await self._play(reader, writer, [step for step in steps if step.phase == "c"])
        finally:
            writer.close()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, steps: list[Step]) -> None:
        for step in steps:
            if step.kind == "t":
                await writer.start_tls(self.tls)
                continue
            if step.octets:
                writer.write(step.octets)
            line = await reader.readuntil(b"\n")
            while line[3:4] == b"-":
                line = await reader.readuntil(b"\n")
            if line[:1].decode("latin-1") != step.expected:
                raise Unexpected(line.decode("latin-1").strip())


def measure(words: list[str]) -> Measured:
    """What the words of `load.c` ask for."""
    host, port, sessions, messages, per_connection, sources, resume, script = words
    steps = decode(Path(script).read_bytes())
    run = Run(host, int(port), int(messages), int(per_connection), max(1, int(sources)), resume == "1")

    async def everybody() -> None:
        await asyncio.gather(*(run.session(steps) for _ in range(int(sessions))))

    began = time.monotonic()
    uvloop.run(everybody())
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = sorted(run.latencies) or [0.0]
    at = {share: found[min(len(found) - 1, int(share * len(found)))] * 1000 for share in (0.5, 0.95, 0.99)}
    return Measured(
        len(run.latencies), run.failed, next(run.numbers), 0, seconds, used.ru_utime + used.ru_stime,
        at[0.5], at[0.95], at[0.99], run.first_failure,
    )  # fmt: skip


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(sys.argv[1:])) + b"\n")
