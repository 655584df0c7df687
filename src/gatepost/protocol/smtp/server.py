"""The order of an SMTP or LMTP session, server side.

No octets, I/O, clock, look-ups or logging. Not here: what is legal where (`server_states`), lines and content
(`framing`), syntax (`command_syntax`), what a peer may do (`policy`), the challenges of AUTH (`protocol.sasl`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.smtp.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfChunk,
    EndOfData,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Malformed,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
)
from gatepost.protocol.smtp.server_states import (
    ACCEPTED,
    AUTH_ALREADY,
    AUTH_CANCELLED,
    BAD_SEQUENCE,
    HINTS,
    NEEDS_EHLO,
    NEEDS_SMTPUTF8,
    REFUSED,
    TLS_ALREADY,
    State,
)

_HINDERED: Final = frozenset((Rcpt, StartTls, Auth, Bdat))
_UNNOTED: Final = frozenset((Data, Noop, Help, Vrfy, Expn, Quit, StartTls))  # nothing is kept of them
_AUTH: Final = (Auth, AuthResponse)
_GREETINGS: Final = (Helo, Ehlo, Lhlo)
_TRANSACTION: Final = frozenset((State.MAIL, State.RCPT, State.DATA, State.CHUNK, State.BDAT))


class Ask(msgspec.Struct, frozen=True):
    """`command` is legal now: decide, then call `answer`."""

    command: Command


class Take(msgspec.Struct, frozen=True):
    """A chunk follows `command` and is answered at its end: let the parser expect it, send nothing.

    begins: it is the first of a message (or of none: a refused one is read too, RFC 3030 §2).
    """

    command: Bdat
    begins: bool


class Send(msgspec.Struct, frozen=True):
    """`replies` go to the peer now, in this order: one, or one for each recipient (LMTP)."""

    replies: tuple[Reply, ...]

    def encode(self) -> bytes:
        """The octets for the wire."""
        replies = self.replies
        return replies[0].encode() if len(replies) == 1 else b"".join([reply.encode() for reply in replies])


class ServerSession:
    """One session: commands in, actions out.

    Invariant: at most one command waits for an answer, so replies leave in order (RFC 2920 §3.2).

    state: read only. greeted_with: the accepted Helo, Ehlo or Lhlo, None before it and after STARTTLS and XCLIENT.
    is_authenticated: AUTH was answered 235. is_tls: the connection is encrypted.
    """

    __slots__ = (
        "_mail",
        "_recipients",
        "_refused_chunk",
        "_waiting",
        "greeted_with",
        "is_authenticated",
        "is_tls",
        "lmtp",
        "state",
    )

    def __init__(self, *, lmtp: bool = False, is_tls: bool = False) -> None:
        self.lmtp = lmtp
        self.is_tls = is_tls
        self.is_authenticated = False
        self.greeted_with: Helo | Ehlo | Lhlo | None = None
        self.state = State.CONNECTED
        self._waiting: Command | None = None
        self._mail: Mail | None = None
        self._recipients: list[Recipient] = []
        self._refused_chunk: Reply | None = None

    @property
    def extended(self) -> bool:
        """The peer said EHLO or LHLO, so it knows what is offered."""
        return self.greeted_with is not None and type(self.greeted_with) is not Helo

    @property
    def is_closed(self) -> bool:
        """The connection is to be closed once everything written has left."""
        return self.state is State.CLOSED

    @property
    def in_transaction(self) -> bool:
        """MAIL was accepted, and the transaction is not over."""
        return self.state in _TRANSACTION

    @property
    def takes_content(self) -> bool:
        """Content that arrives belongs to the message; otherwise it is that of a refused chunk, to be dropped."""
        return self.state is State.DATA or self.state is State.CHUNK

    @property
    def mail(self) -> Mail | None:
        """The accepted MAIL of the open transaction, with its AUTH parameter, which the envelope does not have."""
        return self._mail

    @property
    def recipients(self) -> int:
        """How many forward-paths were accepted in this transaction."""
        return len(self._recipients)

    @property
    def envelope(self) -> Envelope:
        """The envelope as accepted so far; it is gone once the end of data has been answered."""
        mail = self._mail
        if mail is None:
            return _EMPTY
        return Envelope(
            reverse_path=mail.reverse_path,
            recipients=tuple(self._recipients),
            body=mail.body,
            smtputf8=mail.smtputf8,
            size=mail.size,
            ret=mail.ret,
            envid=mail.envid,
        )

    def receive(self, command: Command | Malformed) -> Ask | Take | Send:
        """What to do about the next thing that the peer said.

        Raises LocalProtocolError when a command is unanswered, TLS is being started, or the session is closed.
        """
        if self._waiting is not None:
            raise LocalProtocolError(f"{type(self._waiting).__name__} is unanswered; call answer() first")
        state = self.state
        if state is State.CLOSED or state is State.STARTTLS:
            raise LocalProtocolError(f"nothing is received in {state.name}")
        if isinstance(command, Malformed):
            return self._refuse_malformed(command)
        kind = type(command)
        if kind is EndOfChunk and self._refused_chunk is not None:
            reply, self._refused_chunk = self._refused_chunk, None
            return Send((reply,))
        if kind not in ACCEPTED[state]:
            if kind is EndOfData or kind is EndOfChunk:
                raise LocalProtocolError(f"{kind.__name__} in {state.name}: no content was expected")
            return self._refuse(command, HINTS.get((state, kind), BAD_SEQUENCE))
        hindrance = self._hindrance(command) if kind in _HINDERED else None
        if hindrance is not None:
            return self._refuse(command, hindrance)
        if isinstance(command, Bdat):
            self.state = State.CHUNK
            return Take(command, begins=state is not State.BDAT)
        if isinstance(command, AuthResponse) and command.response is None:
            self.state = State.READY
            return Send((AUTH_CANCELLED,))
        self._waiting = command
        return Ask(command)

    def answer(self, reply: Reply | tuple[Reply, ...]) -> Send:
        """The waiting command gets `reply`, and the session moves on; 421 closes it.

        LMTP has one reply for each recipient after the content (RFC 2033 §4.2), in the order of the envelope: a
        tuple gives them, a single reply is repeated. Raises LocalProtocolError when no command waits or the number
        of replies is wrong.
        """
        command = self._waiting
        if command is None:
            raise LocalProtocolError("answer() needs a command from receive() first")
        replies = (reply,) if type(reply) is Reply and not self.lmtp else self._replies(command, reply)
        self._waiting = None
        state = self.state
        code = replies[0].code if len(replies) == 1 else _weightiest(replies)
        if code == 421:
            self._close()
        elif code < 400:
            self._accept(command, code)
        else:
            self.state = REFUSED.get(state, state)
            if state is State.DATA or state is State.CHUNK:
                self._forget_transaction()
        return Send(replies)

    def close(self, reply: Reply) -> Send:
        """`reply` (421 mostly) ends the session at any time: a time-out, a shutdown, no more room."""
        self._waiting = None
        self._close()
        return Send((reply,))

    def tls_started(self) -> None:
        """TLS stands: what the peer said before is forgotten (RFC 3207 §4.2).

        Raises LocalProtocolError unless STARTTLS was answered 220.
        """
        if self.state is not State.STARTTLS:
            raise LocalProtocolError(f"TLS cannot start in {self.state.name}")
        self.is_tls = True
        self._forget_session()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _refuse_malformed(self, command: Malformed) -> Send:
        if command.is_fatal:
            self._close()
        elif self.state is State.AUTH:
            self.state = State.READY
        return Send((command.reply,))

    def _refuse(self, command: Command, reply: Reply) -> Take | Send:
        if isinstance(command, Bdat):
            self._refused_chunk = reply  # its octets are on the way whatever we say (RFC 3030 §2)
            return Take(command, begins=True)
        return Send((reply,))

    def _hindrance(self, command: Command) -> Reply | None:
        """Why `command`, legal in this state, is out of order all the same."""
        if isinstance(command, Rcpt):
            if command.recipient.path.is_ascii or (self._mail is not None and self._mail.smtputf8):
                return None
            return NEEDS_SMTPUTF8
        if isinstance(command, StartTls) and self.is_tls:
            return TLS_ALREADY
        if isinstance(command, Auth) and self.is_authenticated:
            return AUTH_ALREADY
        return None if self.extended else NEEDS_EHLO

    def _replies(self, command: Command, reply: Reply | tuple[Reply, ...]) -> tuple[Reply, ...]:
        wanted = len(self._recipients) if self.lmtp and _ends_message(command) else 1
        if isinstance(reply, Reply):
            return (reply,) if wanted == 1 or reply.code == 421 else (reply,) * wanted
        if len(reply) != wanted:
            raise LocalProtocolError(f"{type(command).__name__} has {wanted} replies, not {len(reply)}")
        return reply

    def _accept(self, command: Command, code: int) -> None:
        if code == 334:
            if not isinstance(command, _AUTH):
                raise LocalProtocolError(f"334 is no answer to {type(command).__name__}")
            self.state = State.AUTH
            return
        kind = type(command)
        self.state = ACCEPTED[self.state][kind]
        if kind in _UNNOTED:
            return
        if isinstance(command, Rcpt):
            self._recipients.append(command.recipient)
        elif isinstance(command, Mail):
            self._mail = command
        elif isinstance(command, _AUTH):
            self.is_authenticated = True
        elif isinstance(command, _GREETINGS):
            self.greeted_with = command
            self._forget_transaction()
        elif isinstance(command, EndOfChunk):
            if command.last:
                self.state = State.READY
                self._forget_transaction()
        elif isinstance(command, (EndOfData, Rset)):
            self._forget_transaction()
        elif isinstance(command, Xclient):
            self._forget_session()

    def _close(self) -> None:
        self.state = State.CLOSED
        self._forget_transaction()

    def _forget_transaction(self) -> None:
        self._mail = None
        self._recipients = []

    def _forget_session(self) -> None:
        self.state = State.CONNECTED
        self.greeted_with = None
        self.is_authenticated = False
        self._forget_transaction()


def _ends_message(command: Command) -> bool:
    return isinstance(command, EndOfData) or (isinstance(command, EndOfChunk) and command.last)


def _weightiest(replies: tuple[Reply, ...]) -> int:
    """The code that decides how the session goes on: 421 ends it, and one recipient accepted is a message taken."""
    codes = [reply.code for reply in replies]
    return 421 if 421 in codes else min(codes)


_EMPTY: Final = Envelope()
