"""The web server in a worker's own event loop, on a socket that was bound before the fork.

Not here: what is served (`health`), and the server for strangers (`public_serving`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

MAX_CONNECTIONS: Final = 100  # beyond them 503: the listener is for a few people and a scraper
GRACE_SECONDS: Final = 2


async def serve_admin(sock: socket.socket, app: ASGIApp, tls: ssl.SSLContext | None = None) -> None:
    """Serves `app` until cancelled; requests that are being answered then have two seconds. Closes `sock`.

    tls: the context; needed wherever others than this machine reach the listener.
    """
    await until_cancelled(Server(configured(app, tls)), sock)


async def until_cancelled(server: uvicorn.Server, sock: socket.socket) -> None:
    """`server` serves at `sock`, which it closes; cancelled, it ends in its own order."""
    serving = asyncio.get_running_loop().create_task(server.serve(sockets=[sock]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


def configured(app: ASGIApp, tls: ssl.SSLContext | None) -> uvicorn.Config:
    """How all web servers here are set up."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a peer is who it is, whatever it says
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_context_factory=None if tls is None else lambda config, default: tls,
    )


class Server(uvicorn.Server):
    """One that leaves the process's signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
