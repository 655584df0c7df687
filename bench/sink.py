"""The next hop of the relay jobs: takes every message and forgets it. `python -m bench.sink COUNTER` prints its port.

COUNTER: a file of 8 octets, the number of messages taken, so that asking costs nobody a round trip.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final, cast

import uvloop

REPLIES: Final = {
    b"EHLO": b"250-sink.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n",
    b"HELO": b"250 sink.example.net\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
OK: Final = b"250 2.0.0 ok\r\n"
END: Final = b"\r\n.\r\n"


class Counter:
    """The number of messages taken, in memory that both processes see."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 8)

    @property
    def value(self) -> int:
        found: int = struct.unpack("<Q", self._map[:])[0]
        return found

    def add(self) -> None:
        self._map[:] = struct.pack("<Q", self.value + 1)


class SinkConnection(asyncio.Protocol):
    """As much SMTP as a well-behaved client needs."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._buffer = b""
        self._in_content = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class
        self._transport.write(b"220 sink.example.net\r\n")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        out: list[bytes] = []
        while buffer:
            if self._in_content:
                # What is looked for may begin in what came before; of long content only the end is kept.
                end = buffer.find(END)
                if end < 0:
                    buffer = buffer[-len(END) + 1 :]
                    break
                buffer = buffer[end + len(END) :]
                self._in_content = False
                self._counter.add()
                out.append(OK)
                continue
            line, newline, rest = buffer.partition(b"\r\n")
            if not newline:
                break
            buffer = rest
            verb = line[:4].upper()
            out.append(REPLIES.get(verb, OK))
            self._in_content = verb == b"DATA"
        self._buffer = buffer
        assert self._transport is not None
        if out:
            self._transport.write(b"".join(out))
            if out[-1] is REPLIES[b"QUIT"]:
                self._transport.close()


class Sink:
    """The sink as a process of its own. port, counter: once it runs."""

    def __init__(self, folder: Path) -> None:
        file = folder / "sink-counter"
        self.counter = Counter(file)
        self._process = subprocess.Popen([sys.executable, "-m", "bench.sink", str(file)], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()


async def serve(file: Path) -> None:
    """Until it is ended."""
    counter = Counter(file)
    server = await asyncio.get_running_loop().create_server(
        lambda: SinkConnection(counter), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
