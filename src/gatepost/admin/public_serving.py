"""The web server for everybody: as `serving`, and bounded, since its peers are strangers.

A stranger's connection has ten seconds for its handshake and thirty in all, and no more than 64 are open in a worker;
who comes then waits in the kernel. So a web page's worth of slow clients takes nothing away from mail.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gatepost.admin.serving import Server, configured, until_cancelled

MAX_OPEN: Final = 64
HANDSHAKE_SECONDS: Final = 10.0
LIFE_SECONDS: Final = 30.0


async def serve_public(
    sock: socket.socket, app: ASGIApp, tls: ssl.SSLContext | None, life_seconds: float = LIFE_SECONDS
) -> None:
    """Serves `app` until cancelled. Closes `sock`. tls: None only where another server of ours is in front."""
    sock.setblocking(False)
    await until_cancelled(_Bounded(configured(app, None), tls, life_seconds), sock)


class _Bounded(Server):
    """Accepts for itself: the server that it is built on bounds neither handshakes nor lives."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None, life_seconds: float) -> None:
        super().__init__(config)
        self._tls = tls
        self._life_seconds = life_seconds
        self._places = asyncio.Semaphore(MAX_OPEN)
        self._accepting: list[asyncio.Task[None]] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.servers = []
        self._accepting = [loop.create_task(self._accept(sock)) for sock in sockets or ()]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)
        for task in self._serving:
            task.cancel()

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            try:
                accepted, _ = await loop.sock_accept(sock)
            except OSError:  # too many files, or a peer that is gone already
                self._places.release()
                await asyncio.sleep(0.1)
                continue
            except BaseException:
                self._places.release()
                raise
            task = loop.create_task(self._serve_one(accepted))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve_one(self, accepted: socket.socket) -> None:
        ended = asyncio.Event()

        def protocol() -> HttpToolsProtocol:
            return _Connection(ended, config=self.config, server_state=self.server_state, app_state={})

        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                protocol, accepted, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None
            )
            try:
                async with asyncio.timeout(self._life_seconds):
                    await ended.wait()
            finally:
                if not ended.is_set():
                    transport.abort()
        except OSError:  # no handshake, or not in time
            accepted.close()
        finally:
            self._places.release()


class _Connection(HttpToolsProtocol):
    """Tells when it has ended."""

    def __init__(self, ended: asyncio.Event, **parts: Any) -> None:
        super().__init__(**parts)
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()
        super().connection_lost(exc)
