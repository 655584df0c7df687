"""`POST /api/grants`: another POP3 or IMAP server announces a login.

Not here: what comes of it (`gate.announced`), and which listener it is on (`health`).
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gatepost.accounts.port import AccountsError
from gatepost.audit.event import RecordError
from gatepost.gate.announced import Announcement, AnnouncementError, Answer
from gatepost.mail.network import is_loopback
from gatepost.standing.port import StandingError

log = structlog.get_logger()

MAX_OCTETS: Final = 16 * 1024  # an announcement has two hundred
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_ASKS: Final = "allow"  # Dovecot asks before and after a login whether it may be; nothing has happened yet
_TELLS: Final = ("", "report")


class GrantsApi(msgspec.Struct, frozen=True):
    """token: whoever has it may announce. take: what comes of an announcement. refused: told of (address, why) when
    somebody else tried to."""

    token: str
    take: Callable[[Announcement], Awaitable[Answer]]
    refused: Callable[[str, str], None]

    async def announce(self, request: Request) -> Response:
        """200 with `status` 0 (as Dovecot wants it), whether there is a grant, its end, or why there is none.

        400 for what is no announcement, 401 without the token, 403 in clear from another host, 503 when it cannot be
        kept.
        """
        ip = request.client.host if request.client else ""
        if request.url.scheme != "https" and not is_loopback(ip):
            return self._refuse(ip, 403, "announce logins over TLS, or from this machine")
        if not self._has_token(request):
            return self._refuse(ip, 401, "the token of admin.grants_token is needed")
        command = request.query_params.get("command", "")
        if command == _ASKS:
            return _answer(200, status=0, msg="")
        if command not in _TELLS:
            return _answer(400, status=0, msg='command: it is "report", or left out')
        try:
            announced = msgspec.json.decode(await _body(request), type=Announcement)
            answer = await self.take(announced)
        except (msgspec.DecodeError, AnnouncementError) as error:
            return _answer(400, status=0, msg=str(error))
        except ClientDisconnect:
            return _answer(400, status=0, msg="")
        except (AccountsError, StandingError, RecordError) as error:
            log.error("announced login not taken", error=str(error))
            return _answer(503, status=0, msg="the grant cannot be kept now; the next login may announce it")
        return _answer(200, status=0, msg="", **msgspec.to_builtins(answer))

    def _has_token(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token.encode())

    def _refuse(self, ip: str, status: int, why: str) -> Response:
        try:
            self.refused(ip, why)
        except RecordError as error:
            log.error("record cannot be written", error=str(error))
        return _answer(status, {"WWW-Authenticate": "Bearer"} if status == 401 else {}, status=0, msg=why)


def _answer(code: int, headers: dict[str, str] | None = None, **content: Any) -> Response:
    body = msgspec.json.encode(content) + b"\n"
    return Response(body, code, {**HEADERS, **(headers or {})}, media_type="application/json")


async def _body(request: Request) -> bytes:
    """Raises AnnouncementError when it is too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_OCTETS:
            raise AnnouncementError(f"the announcement is longer than {MAX_OCTETS} octets")
    return body
