"""The order of a POP3 session, server side: one table says what is legal where and what it leads to.

No octets come in here, and no I/O, clock, look-ups or logging happen. Not here: lines (`lines`), syntax (`commands`),
whether somebody may log in (policy), the challenges of AUTH (`protocol.sasl`), the messages (the maildrop port).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Final

import msgspec

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.pop3.capabilities import Offer, capability_lines, mechanism_lines
from gatepost.protocol.pop3.commands import (
    Auth,
    AuthResponse,
    Capa,
    Command,
    Dele,
    Lang,
    List,
    Mechanisms,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    Utf8,
)
from gatepost.protocol.pop3.languages import language_answer
from gatepost.protocol.pop3.listing import Listing
from gatepost.protocol.pop3.replies import Reply, err, ok


class State(Enum):
    """Where a session stands (RFC 1939 §3)."""

    AUTHORIZATION = auto()  # greeted, nobody has logged in
    NAMED = auto()  # the same, and USER was accepted: PASS may follow
    SASL = auto()  # a challenge was sent, the peer's response is awaited
    STLS = auto()  # +OK to STLS was sent: nothing is read until TLS stands
    TRANSACTION = auto()  # logged in, the maildrop is locked
    UPDATE = auto()  # QUIT after a login: what was marked is removed, the connection ends
    CLOSED = auto()  # QUIT before a login, or a fatal error


_AUTHORIZATION: Final[Mapping[type[Command], State]] = {
    Capa: State.AUTHORIZATION,
    Mechanisms: State.AUTHORIZATION,
    Utf8: State.AUTHORIZATION,
    Lang: State.AUTHORIZATION,
    User: State.NAMED,
    Auth: State.TRANSACTION,
    Stls: State.STLS,
    Quit: State.CLOSED,
}

# What is legal where, and the state an accepted command leads to. A pair that is absent is answered -ERR; no other code
# decides order, but for `_hindrance`. PASS comes right after USER (RFC 1939 §7): whatever comes between forgets the
# name. AUTH leads to SASL first where the mechanism has a challenge (`challenge`).
ACCEPTED: Final[Mapping[State, Mapping[type[Command], State]]] = {
    State.AUTHORIZATION: _AUTHORIZATION,
    State.NAMED: {**_AUTHORIZATION, Pass: State.TRANSACTION},
    State.SASL: {AuthResponse: State.TRANSACTION},
    State.STLS: {},
    State.TRANSACTION: {
        **dict.fromkeys((Capa, Lang, Stat, List, Uidl, Retr, Top, Dele, Rset, Noop), State.TRANSACTION),
        Quit: State.UPDATE,
    },
    State.UPDATE: {},
    State.CLOSED: {},
}
# A refusal changes nothing, except that a login that failed starts anew, and that QUIT ends a transaction also when
# something could not be removed (RFC 1939 §6).
REFUSED: Final[Mapping[State, Mapping[type[Command], State]]] = {
    State.NAMED: dict.fromkeys(ACCEPTED[State.NAMED], State.AUTHORIZATION),
    State.SASL: {AuthResponse: State.AUTHORIZATION},
    State.TRANSACTION: {Quit: State.UPDATE},
}

NOT_NOW: Final = err("This command is not valid in this state")
HINTS: Final[Mapping[tuple[State, type[Command]], Reply]] = {
    (State.AUTHORIZATION, Pass): err("USER comes first"),
    (State.TRANSACTION, User): err("Already logged in"),
    (State.TRANSACTION, Pass): err("Already logged in"),
    (State.TRANSACTION, Auth): err("Already logged in"),
    (State.TRANSACTION, Stls): err("TLS starts before the login"),
    (State.TRANSACTION, Utf8): err("UTF8 comes before the login"),  # RFC 6856 §2.1
    **{
        (state, command): err("Log in first")
        for state in (State.AUTHORIZATION, State.NAMED)
        for command in (Stat, List, Uidl, Retr, Top, Dele, Rset, Noop)
    },
}
NO_MESSAGE: Final = err("There is no such message")
NO_STLS: Final = err("TLS cannot be started: it is active already, or not configured")
STLS_AFTER_UTF8: Final = err("STLS comes before UTF8")  # RFC 6856 §2.1

_ASKED: Final = frozenset((User, Pass, Auth, AuthResponse, Stls, Retr, Top, Quit))
_ABOUT_A_MESSAGE: Final = (Retr, Top, Dele)
_MAY_BE_ABOUT_A_MESSAGE: Final = (List, Uidl)


class Ask(msgspec.Struct, frozen=True):
    """The caller acts, then calls `answer` (or `challenge` for AUTH and its responses)."""

    command: Command


class Send(msgspec.Struct, frozen=True):
    """Send the reply, and the lines behind it where there are any: ready octets, the final dot included."""

    reply: Reply
    lines: Iterator[bytes] | None = None


class ServerSession:
    """The order of one POP3 session, server side.

    Invariant: at most one command waits for an answer, so replies leave in order. offer: what CAPA lists; the caller
    keeps it true. listing: set by the caller together with a positive answer to a login.
    """

    __slots__ = ("_waiting", "has_utf8", "listing", "offer", "state")

    def __init__(self, offer: Offer) -> None:
        self.state = State.AUTHORIZATION
        self.offer = offer
        self.listing = Listing((), ())
        self.has_utf8 = False
        self._waiting: Command | None = None

    @property
    def is_over(self) -> bool:
        """Nothing follows but the end of the connection."""
        return self.state in (State.UPDATE, State.CLOSED)

    def receive(self, command: Command) -> Ask | Send:
        """What to do about the next command of the peer."""
        if self._waiting is not None:
            raise LocalProtocolError(f"{self._waiting!r} is still unanswered; call answer() first")
        refusal = self._hindrance(command)
        if refusal is not None:
            if type(command) in ACCEPTED[self.state]:
                self._move(command, accepted=False)
            return Send(refusal)
        if type(command) in _ASKED:
            self._waiting = command
            return Ask(command)
        action = self._do(command)
        self._move(command, accepted=True)
        return action

    def answer(self, reply: Reply) -> Send:
        """The caller's answer to the command that `receive` asked about."""
        self._move(self._taken(), reply.is_positive)
        return Send(reply)

    def challenge(self) -> None:
        """The login is not decided: a challenge goes out, and the peer's next line is an AuthResponse."""
        command = self._taken()
        if not isinstance(command, Auth | AuthResponse):
            raise LocalProtocolError(f"{command!r} has no challenge")
        self.state = State.SASL

    def tls_started(self) -> None:
        """TLS stands: everything that was said in clear is forgotten (RFC 2595 §4)."""
        if self.state is not State.STLS:
            raise LocalProtocolError(f"TLS cannot start in {self.state}")
        self.state = State.AUTHORIZATION
        self.has_utf8 = False

    def close(self) -> None:
        """A fatal error was answered: nothing is legal any more."""
        self.state = State.CLOSED
        self._waiting = None

    def _taken(self) -> Command:
        command, self._waiting = self._waiting, None
        if command is None:
            raise LocalProtocolError("there must be a command from receive() first")
        return command

    def _move(self, command: Command, accepted: bool) -> None:
        table = ACCEPTED if accepted else REFUSED
        self.state = table.get(self.state, {}).get(type(command), self.state)

    def _hindrance(self, command: Command) -> Reply | None:
        """Why the command cannot be obeyed now, whatever anybody decides."""
        kind = type(command)
        if kind not in ACCEPTED[self.state]:
            return HINTS.get((self.state, kind), NOT_NOW)
        if isinstance(command, _ABOUT_A_MESSAGE) and not self.listing.has(command.number):
            return NO_MESSAGE
        if isinstance(command, _MAY_BE_ABOUT_A_MESSAGE) and command.number is not None:
            return None if self.listing.has(command.number) else NO_MESSAGE
        if isinstance(command, Stls):
            if self.has_utf8:
                return STLS_AFTER_UTF8
            return None if self.offer.stls else NO_STLS
        return None

    def _do(self, command: Command) -> Send:
        """Answer what needs nobody else."""
        listing = self.listing
        match command:
            case Capa():
                return Send(ok("Capabilities follow"), iter((capability_lines(self.offer),)))
            case Mechanisms():
                return Send(ok("Mechanisms follow"), iter((mechanism_lines(self.offer),)))
            case Utf8():
                self.has_utf8 = True
                return Send(ok("UTF-8 is understood"))
            case Lang(wanted):
                return Send(*language_answer(wanted))
            case Stat():
                count, octets = listing.stat()
                return Send(ok(f"{count} {octets}"))
            case List(None):
                count, octets = listing.stat()
                return Send(ok(f"{count} messages ({octets} octets)"), listing.size_lines())
            case List(number) if number is not None:
                return Send(ok(f"{number} {listing.octets(number)}"))
            case Uidl(None):
                return Send(ok("Unique IDs follow"), listing.uid_lines())
            case Uidl(number) if number is not None:
                return Send(ok(f"{number} {listing.uid(number)}"))
            case Dele(number):
                listing.mark(number)
                return Send(ok(f"Message {number} is marked; QUIT removes it"))
            case Rset():
                listing.unmark_all()
                count, octets = listing.stat()
                return Send(ok(f"{count} messages ({octets} octets)"))
            case _:
                return Send(ok())
