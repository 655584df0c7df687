"""`/healthz` and `/metrics` on the admin listener: a small web application over plain callables.

Pages and the rest of the HTTP API come later and mount beside these. Not here: the socket and the server (`serving`),
and what `/api/grants` does (`grants`).
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost.admin.exposition import CONTENT_TYPE, Gauges, exposition
from gatepost.admin.grants import GrantsApi
from gatepost.audit.metrics import Counts
from gatepost.mail.network import NetworkSet

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class HealthReport(msgspec.Struct, frozen=True):
    """What `/healthz` says. problems: why it is not ok, in words for an operator. workers: their process IDs.
    queue: recipients by state. disk_free: octets. record: whether it can be written."""

    workers: tuple[int, ...] = ()
    queue: dict[str, int] = {}
    disk_free: int = 0
    record: bool = True
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.record and not self.problems


class AdminParts(msgspec.Struct, frozen=True):
    """What the application stands on.

    counts, gauges: for `/metrics`; may block, they run in a thread. health: for `/healthz`. names: what a request may
    call this server (its host name, the addresses that it listens on); loopback names always may. trusted: peers that
    may read without a token. token: "" for none. grants: takes logins that other servers announce; None where nobody
    may.
    """

    counts: Callable[[], Counts]
    gauges: Callable[[], Gauges]
    health: Callable[[], Awaitable[HealthReport]]
    names: Collection[str] = ()
    trusted: NetworkSet = NetworkSet()
    token: str = ""
    grants: GrantsApi | None = None


def admin_app(parts: AdminParts) -> ASGIApp:
    """The application."""
    views = _Views(parts)
    routes = [Route("/healthz", views.healthz), Route("/metrics", views.metrics)]
    if parts.grants is not None:
        routes.append(Route("/api/grants", parts.grants.announce, methods=["POST"]))
    return _OwnNames(Starlette(routes=routes), {*parts.names, "localhost", "127.0.0.1", "::1"})


class _Views:
    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    async def healthz(self, request: Request) -> Response:
        """200 or 503; the particulars only for those who may read metrics."""
        report = await self._parts.health()
        found: dict[str, Any] = {"ok": report.ok}
        if self._may_read(request):
            found |= msgspec.to_builtins(report)
        body = msgspec.json.format(msgspec.json.encode(found)) + b"\n"
        return Response(body, 200 if report.ok else 503, _HEADERS, media_type="application/json")

    async def metrics(self, request: Request) -> Response:
        if not self._may_read(request):
            headers = {**_HEADERS, "WWW-Authenticate": "Bearer"}
            return Response("metrics are for trusted peers, or with a token\n", 401, headers, media_type="text/plain")
        counts = await run_in_threadpool(self._parts.counts)
        gauges = await run_in_threadpool(self._parts.gauges)
        return Response(exposition(counts, gauges), 200, _HEADERS, media_type=CONTENT_TYPE)

    def _may_read(self, request: Request) -> bool:
        """Whether the peer is trusted (one on a unix socket got there by its file's mode) or has the token."""
        peer = request.client
        if peer is None or not peer.host or peer.host in self._parts.trusted:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        wanted = self._parts.token
        return bool(wanted) and scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), wanted.encode())


class _OwnNames:
    """Answers only requests that call the server by a name of its own: a page elsewhere, whose name was made to point
    here, reads nothing (DNS rebinding)."""

    def __init__(self, app: ASGIApp, names: set[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_own(scope):
            text = "This server does not go by that name\n"
            await Response(text, 421, _HEADERS, media_type="text/plain")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return False
        host = hosts[0].decode("latin-1").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return name.rstrip(".") in self._names
