"""aiosmtpd with a handler that makes each message durable: a file, fsync, rename. `python -m` this serves it."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from bench.servers.server import FOREIGN, HOST, ProgramServer, Purpose


class Handler:
    """Keeps messages in a folder; refuses one recipient."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address == FOREIGN:
            return "550 5.7.1 Relaying denied"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        name = self._folder / str(next(self._numbers))
        part = name.with_suffix(".part")
        descriptor = os.open(part, os.O_CREAT | os.O_WRONLY)
        try:
            os.write(descriptor, envelope.content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(part, name)
        return "250 2.0.0 Kept"


class Aiosmtpd(ProgramServer):
    """One process."""

    name: ClassVar[str] = "aiosmtpd"
    about: ClassVar[str] = "one process; a handler that writes a file, fsync, rename"
    purposes: ClassVar[frozenset[Purpose]] = frozenset({"hold"})

    @classmethod
    def version(cls) -> str | None:
        try:
            return metadata.version("aiosmtpd")
        except metadata.PackageNotFoundError:
            return None

    def start(self) -> None:
        folder = self.place.folder / "kept"
        folder.mkdir()
        self.run([sys.executable, "-m", __name__, str(folder), str(self.port)])


async def serve(folder: Path, port: int) -> None:
    """Until it is ended."""
    from aiosmtpd.smtp import SMTP  # only in the process that serves: it is a package of the tests

    handler = Handler(folder)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, hostname="mx.example.org"), HOST, port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
