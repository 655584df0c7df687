"""What each POP3 command does that the session's table leaves to the driver: log in, send a message, update."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from gatepost.mail.downgrade import DowngradeError
from gatepost.maildrop.port import Maildrop, MaildropError
from gatepost.pickup.login import UNREADABLE, Challenge, Logins, Outcome
from gatepost.pickup.transfer import BrokenOffError, send_message
from gatepost.protocol.pop3.commands import Auth, AuthResponse, Command, Pass, Quit, Retr, Stls, Top, User
from gatepost.protocol.pop3.listing import Listing
from gatepost.protocol.pop3.replies import err, ok

if TYPE_CHECKING:
    from gatepost.pickup.session import Pop3Session

log = structlog.get_logger()

GOODBYE: Final = ok("Goodbye")
DOWNGRADED: Final = ok("The message follows; its header fields held UTF-8 and were made ASCII")
NEEDS_UTF8: Final = err("This message can be had after UTF8 only, which comes before the login", "UTF8")


class Commands:
    """The commands of one session, and what it has handed out.

    maildrop: locked, from the login to the end. retrieved, removed: messages. octets: of messages and tops that were
    sent. is_updating: QUIT is being obeyed; it goes through even if the peer is gone by then.
    """

    def __init__(self, session: Pop3Session) -> None:
        self._session = session
        parts = session.parts
        self.logins = Logins(session.gate, parts.maildrops, parts.settings, session.wire)
        self.maildrop: Maildrop | None = None
        self.retrieved = self.removed = self.octets = 0
        self.is_updating = False

    def act(self, command: Command) -> None:
        """Answer a command that the table lets pass, now or in a task of the session."""
        session = self._session
        match command:
            case User():
                session.answer(self.logins.user(command, session.protocol.offer))
            case Stls():
                session.answer(ok("Begin TLS"))
            case Pass() | Auth() | AuthResponse():
                session.run(partial(self._log_in, command))
            case Retr(number):
                session.run(partial(self._send, number, None))
            case Top(number, lines):
                session.run(partial(self._send, number, lines))
            case Quit() if self.maildrop is not None:
                self.is_updating = True
                session.run(partial(self._update, self.maildrop))
            case Quit():
                session.answer(GOODBYE)
            case _:
                raise AssertionError(f"nobody answers {command!r}")

    def close_maildrop(self) -> None:
        """Unlock; what was marked stays."""
        if self.maildrop is not None:
            self.maildrop.close()
            self.maildrop = None

    async def _log_in(self, command: Pass | Auth | AuthResponse) -> None:
        session = self._session
        result: Challenge | Outcome
        if isinstance(command, Pass):
            result = await self.logins.password(command)
        elif isinstance(command, Auth):
            result = await self.logins.start(command)
        else:
            result = await self.logins.respond(command)
        if isinstance(result, Challenge):
            session.challenge(result.text)
            return
        reply = result.reply
        if result.maildrop is not None:
            self.maildrop = result.maildrop
            messages = result.maildrop.messages
            listing = Listing([message.uid for message in messages], [message.octets for message in messages])
            session.protocol.listing = listing
            count, octets = listing.stat()
            reply = ok(f"{count} messages ({octets} octets)")
        session.answer(reply)
        if result.ends:
            session.protocol.close()

    async def _send(self, number: int, lines: int | None) -> None:
        """RETR and TOP."""
        assert self.maildrop is not None  # the table lets nobody ask before the login
        session = self._session
        reply = ok(f"{session.protocol.listing.octets(number)} octets" if lines is None else "The top of it follows")

        def first(is_downgraded: bool) -> bytes:
            nonlocal reply
            if is_downgraded:
                reply = DOWNGRADED  # no size: what LIST tells is that of the message as it is kept
            return session.unsent() + reply.encode()

        try:
            octets = await send_message(
                session.wire, self.maildrop, number - 1, lines, first, as_it_is=session.protocol.has_utf8
            )
        except DowngradeError as error:
            log.warning("message cannot be downgraded", session=session.gate.id, error=str(error))
            session.answer(NEEDS_UTF8)
            return
        except BrokenOffError as error:
            log.error("message cannot be read to its end", session=session.gate.id, error=str(error))
            session.cut("a message could not be read to its end")
            return
        except MaildropError as error:
            log.error("message cannot be read", session=session.gate.id, error=str(error))
            session.answer(UNREADABLE)
            return
        session.sent_apart(reply)
        self.octets += octets
        self.retrieved += lines is None

    async def _update(self, maildrop: Maildrop) -> None:
        """RFC 1939 §6: remove what is marked and unlock, then say how it went."""
        session = self._session
        marked = session.protocol.listing.marked
        try:
            self.removed = await maildrop.remove(marked)
        except MaildropError as error:
            log.error("messages cannot be removed", session=session.gate.id, error=str(error))
        finally:
            self.is_updating = False
            self.close_maildrop()
            session.updated()
        left = len(marked) - self.removed
        session.answer(
            err(f"{left} of {len(marked)} marked messages could not be removed", "SYS/TEMP") if left else GOODBYE
        )
