"""A real POP3 server for real clients: Maildirs on disk, two listeners on loopback, TLS, its own thread and loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from tests.support.desk import Desk, ListRecorder
from tests.support.system_clock import SystemClock

from gatepost.gate.parts import GateParts
from gatepost.mail.network import NetworkSet
from gatepost.net.connection import TlsForPeers
from gatepost.net.listener import Listener, Served, bind, serve
from gatepost.net.tls import ServerTls, TlsSettings
from gatepost.pickup.parts import PickupParts
from gatepost.pickup.session import Pop3Session
from gatepost.pickup.settings import PickupSettings
from gatepost.store.maildir.store import MaildirStore

_T = TypeVar("_T")
NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Pop3Server:
    """ports: by service, "pop3" and "pop3s". new_loop: makes its event loop.

    Its account is ada@example.org, as in `tests.support.desk`.
    """

    def __init__(self, folder: Path, new_loop: NewLoop = uvloop.new_event_loop) -> None:
        self._loop = new_loop()
        clock = SystemClock()
        self.maildrops = MaildirStore(folder / "maildrops", host="mx.example.org", clock=clock)
        desk = Desk()
        self.recorder: ListRecorder = desk.recorder
        self._close_desk = desk.close
        gate: GateParts = desk.parts.gate
        self._parts = PickupParts(gate=gate, maildrops=self.maildrops, settings=PickupSettings(auth_delay=0.0))
        server_tls = ServerTls(TlsSettings(), "localhost", folder, clock)
        self._tls = TlsForPeers(server_tls.context, server_tls.end_point_for)
        self.certificate = server_tls.pairs[0]
        self.ports: dict[str, int] = {}
        self._served: list[Served] = []

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work` on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def deliver(self, *contents: bytes, account: str = "ada@example.org") -> None:
        """Put messages into a maildrop."""
        for content in contents:
            self.run(self.maildrops.deliver(account, "id.0", b"", _whole(content)))

    def wait_until_over(self, sessions: int) -> None:
        """Returns when so many sessions are on record."""
        self.run(self._until(lambda: len(self.recorder.of("pop3.session")) >= sessions))

    @contextmanager
    def running(self) -> Iterator[Pop3Server]:
        """Serve, in a thread."""
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            self.run(self._listen())
            yield self
        finally:
            self.run(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._loop.close()
            self.maildrops.close()
            self._close_desk()

    async def _listen(self) -> None:
        for service in ("pop3", "pop3s"):
            sock = bind("127.0.0.1:0")
            address, port = sock.getsockname()
            listener = Listener(f"{address}:{port}", service)
            made = await serve(sock, listener, lambda wire: Pop3Session(wire, self._parts), self._tls, NetworkSet(()))
            self._served.append(made)
            self.ports[service] = port

    async def _stop(self) -> None:
        for served in self._served:
            served.stop()
        await self._until(lambda: not any(served.connections for served in self._served))

    async def _until(self, is_so: Callable[[], object]) -> None:
        for _ in range(500):
            if is_so():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not come to pass within 10 seconds")


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
