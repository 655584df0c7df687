"""What everybody may read over HTTPS, on listeners of the service `web`: the key directory of our domains.

Both methods of the Web Key Directory (draft-koch-openpgp-webkey-service §3.1, §4.5); a policy file says that there is
one. Everything else is 404. Not here: the socket and the server (`public_serving`), and which keys there are
(`seal.port.PublishedKeys`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gatepost.seal.key_names import ADVANCED_LABEL
from gatepost.seal.port import KeyStoreError, PublishedKeys

log = structlog.get_logger()

PATH: Final = "/.well-known/openpgpkey"
HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",  # §3.1: for mail programs that are web pages
    "Cache-Control": "max-age=300",
    "X-Content-Type-Options": "nosniff",
}


class PublicParts(msgspec.Struct, frozen=True):
    """keys: those that are shown. domains: ours, lower case, A-labels."""

    keys: PublishedKeys
    domains: Collection[str]


def public_app(parts: PublicParts) -> ASGIApp:
    """The application. It answers to the names of our domains only."""
    directory = _Directory(parts)
    return Starlette(routes=[
        Route(f"{PATH}/policy", directory.policy),
        Route(f"{PATH}/hu/{{name}}", directory.key),
        Route(f"{PATH}/{{domain}}/policy", directory.policy),
        Route(f"{PATH}/{{domain}}/hu/{{name}}", directory.key),
    ])  # fmt: skip


class _Directory:
    def __init__(self, parts: PublicParts) -> None:
        self._parts = parts

    async def policy(self, request: Request) -> Response:
        """Empty: there is a key directory, and nothing special about it (§4.5)."""
        if not self._domain(request):
            return _missing()
        return Response(b"", headers=HEADERS, media_type="text/plain")

    async def key(self, request: Request) -> Response:
        """The binary keys under a hash; 503 where the store cannot tell."""
        domain = self._domain(request)
        if not domain:
            return _missing()
        try:
            keys = await self._parts.keys.in_directory(domain, request.path_params["name"])
        except KeyStoreError as error:
            log.error("published keys cannot be read", error=str(error))
            return Response(b"", 503, HEADERS)
        if not keys:
            return _missing()
        body = b"".join(key.material for key in keys)
        return Response(body, headers=HEADERS, media_type="application/octet-stream")

    def _domain(self, request: Request) -> str:
        """Whose directory is asked for, "" for none of ours.

        The advanced method names the domain in the path, and its own host; the direct one in the host alone.
        """
        host = request.headers.get("host", "").partition(":")[0].rstrip(".").lower()
        domain = str(request.path_params.get("domain", "")).lower()
        if domain and host != f"{ADVANCED_LABEL}.{domain}":
            return ""
        domain = domain or host
        return domain if domain in self._parts.domains else ""


def _missing() -> Response:
    return Response(b"", 404, HEADERS)
