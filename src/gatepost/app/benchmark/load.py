"""The load of `gatepost bench`: sessions that each open a connection, bring one message and come again.

A process of its own, so that it takes no time of a worker's core while there is another one:
`python -m gatepost.app.benchmark.load PORT SESSIONS SECONDS RECIPIENT`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import msgspec
import uvloop

from gatepost.app.benchmark.measured import Accept

HOST: Final = "127.0.0.1"
OCTETS: Final = 4096
PATIENCE_SECONDS: Final = 30.0


class Load:
    """recipient: takes the messages. What it saw is in `taken` (seconds) and `failures`."""

    def __init__(self, port: int, recipient: str) -> None:
        self._port = port
        head = f"From: <bench@localhost>\r\nTo: <{recipient}>\r\nDate: Tue, 01 Jan 2030 00:00:00 +0000\r\n\r\n".encode()
        line = b"A line of a message that nobody will read, as long as most lines are.\r\n"
        self._message = head + line * ((OCTETS - len(head)) // len(line)) + b".\r\n"
        self._envelope = f"MAIL FROM:<>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
        self.taken: list[float] = []
        self.failures: list[str] = []

    async def session(self, until: float) -> None:
        """One message after the other, until the time is over."""
        while (began := time.perf_counter()) < until and len(self.failures) < 100:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._bring()
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
                self.failures.append(str(error) or type(error).__name__)
            else:
                self.taken.append(time.perf_counter() - began)

    async def _bring(self) -> None:
        reader, writer = await asyncio.open_connection(HOST, self._port)
        try:
            await _expect(reader, b"220")
            writer.write(b"EHLO localhost\r\n")
            await _expect(reader, b"250")
            writer.write(self._envelope)
            for code in (b"250", b"250", b"354"):
                await _expect(reader, code)
            writer.write(self._message)
            await _expect(reader, b"250")
            writer.write(b"QUIT\r\n")
        finally:
            writer.close()


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    """The next reply, which must begin with `code`. Raises ValueError."""
    while (line := await reader.readuntil(b"\n"))[3:4] == b"-":
        pass
    if not line.startswith(code):
        raise ValueError(line.decode("utf-8", "replace").strip())


async def run(port: int, sessions: int, seconds: float, recipient: str) -> Accept:
    """What `sessions` at once saw; what the server took is measured by who runs it."""
    load = Load(port, recipient)
    spent = time.process_time()
    began = time.perf_counter()
    await asyncio.gather(*(load.session(began + seconds) for _ in range(sessions)))
    lasted = time.perf_counter() - began
    taken = sorted(load.taken) or [0.0]
    return Accept(
        sessions=sessions,
        messages=len(load.taken),
        failed=len(load.failures),
        per_second=len(load.taken) / lasted,
        p50_ms=taken[len(taken) // 2] * 1000,
        p95_ms=taken[int(len(taken) * 0.95)] * 1000,
        cpu_ms=0.0,
        busy=0.0,
        load_cores=(time.process_time() - spent) / lasted,
        first_failure=load.failures[0] if load.failures else "",
    )


if __name__ == "__main__":
    found = uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
    sys.stdout.write(msgspec.json.encode(found).decode())
