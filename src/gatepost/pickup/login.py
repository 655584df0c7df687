"""Logging in to POP3: USER and PASS, AUTH and its responses, then the lock on the maildrop.

How somebody logs in, and what is counted and recorded of it, is `gate.login`, the same as for SMTP. Here it becomes
POP3's replies.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog

from gatepost.audit.event import RecordError
from gatepost.gate.granted import grant_after_login
from gatepost.gate.later import is_later
from gatepost.gate.login import ChallengeStep, LoggedIn, LoginAttempt, Refused, Step, offered_mechanisms, password_login
from gatepost.gate.penalty import wait_after_failure
from gatepost.gate.session import GateSession
from gatepost.maildrop.port import Maildrop, MaildropBusyError, MaildropError, MaildropStore
from gatepost.pickup.settings import PickupSettings
from gatepost.ports.wire import Wire
from gatepost.protocol.pop3.capabilities import Offer
from gatepost.protocol.pop3.commands import Auth, AuthResponse, Pass, User
from gatepost.protocol.pop3.replies import Reply, err, from_smtp, ok
from gatepost.protocol.sasl.exchange import decode_line

log = structlog.get_logger()

NEEDS_TLS: Final = err("Encryption required: use STLS, or the port for POP3 over TLS, before you log in", "AUTH")
BUSY: Final = err("Another session has this maildrop open; try again when it has ended", "IN-USE")
UNREADABLE: Final = err("The maildrop cannot be read now, try again later", "SYS/TEMP")
UNRECORDED: Final = err("The record cannot be written, try again later", "SYS/TEMP")
NOT_BASE64: Final = err("The response is no base64")
CANCELLED: Final = err("Authentication cancelled")

_ENCRYPTION_REQUIRED: Final = 538  # RFC 4954 §6


class Challenge(msgspec.Struct, frozen=True):
    """Send `+ ` and this base64 text; the peer's next line answers it."""

    text: str


class Outcome(msgspec.Struct, frozen=True):
    """How a login ended. maildrop: locked, when it went well. ends: the connection closes after the reply."""

    reply: Reply
    maildrop: Maildrop | None = None
    ends: bool = False


class Logins:
    """The login commands of one session. Each method may be cancelled at any time."""

    def __init__(self, gate: GateSession, maildrops: MaildropStore, settings: PickupSettings, wire: Wire) -> None:
        self._gate = gate
        self._maildrops = maildrops
        self._settings = settings
        self._wire = wire
        self._name = ""
        self._attempt: LoginAttempt | None = None

    def offer(self) -> Offer:
        """What this peer may use now."""
        mechanisms = offered_mechanisms(self._gate)
        return Offer(login=bool(mechanisms), mechanisms=mechanisms, stls=self._wire.can_start_tls)

    def user(self, command: User, offer: Offer) -> Reply:
        """The reply to USER: the same for every name, known or not."""
        if not offer.login:
            return NEEDS_TLS
        self._name = command.name
        return ok("Send the password")

    async def password(self, command: Pass) -> Outcome:
        """USER and PASS."""
        name, self._name = self._name, ""
        try:
            return await self._outcome(await password_login(self._gate, name, command.password, "USER", self._wire))
        except RecordError as error:
            return self._unrecorded(error)

    async def start(self, command: Auth) -> Challenge | Outcome:
        """AUTH."""
        self._attempt = LoginAttempt(self._gate, command.mechanism, self._wire)
        return await self._step(self._attempt.begin(command.initial))

    async def respond(self, command: AuthResponse) -> Challenge | Outcome:
        """A response to a challenge: base64, or `*` to cancel (RFC 5034 §4)."""
        assert self._attempt is not None  # the session's table lets no response come before AUTH
        if command.line == b"*":
            self._attempt = None
            return Outcome(CANCELLED)
        response = decode_line(command.line)
        if response is None:
            self._attempt = None
            return Outcome(NOT_BASE64)
        return await self._step(self._attempt.respond(response))

    async def _step(self, step: Any) -> Challenge | Outcome:
        try:
            result: Step = await step if is_later(step) else step
            if isinstance(result, ChallengeStep):
                return Challenge(result.text)
            self._attempt = None
            return await self._outcome(result)
        except RecordError as error:
            return self._unrecorded(error)

    async def _outcome(self, result: LoggedIn | Refused) -> Outcome:
        if isinstance(result, LoggedIn):
            return await self._open(result)
        if result.delayed:
            settings = self._settings
            await wait_after_failure(self._wire, result.failures, settings.auth_delay, settings.longest_auth_delay)
        if result.reply.code == _ENCRYPTION_REQUIRED:
            return Outcome(NEEDS_TLS)
        return Outcome(from_smtp(result.reply), ends=result.close)

    async def _open(self, login: LoggedIn) -> Outcome:
        account = login.account
        try:
            maildrop = await self._maildrops.open(account)
        except MaildropBusyError:
            return self._logged_out(BUSY)
        except MaildropError as error:
            log.error("maildrop cannot be opened", account=account, error=str(error))
            return self._logged_out(UNREADABLE)
        try:
            await grant_after_login(self._gate, account, login.credential)
        except BaseException:
            maildrop.close()
            raise
        return Outcome(ok(), maildrop)

    def _logged_out(self, reply: Reply) -> Outcome:
        """The password was right, but there is no transaction without a maildrop."""
        self._gate.know(login="", auth_mechanism="")
        return Outcome(reply)

    def _unrecorded(self, error: RecordError) -> Outcome:
        log.error("record cannot be written", error=str(error))
        self._gate.know(login="", auth_mechanism="")
        return Outcome(UNRECORDED, ends=True)
