"""Where a server's SMTP or LMTP session stands, and one table that says what is legal there and what it leads to.

Not here: the session that goes by it (`server`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from gatepost.mail.reply import Reply
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
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
)


class State(Enum):
    """Where a session stands."""

    CONNECTED = auto()  # 220 sent, no greeting from the peer yet
    READY = auto()  # greeted, no transaction open
    AUTH = auto()  # 334 sent, the peer's response is awaited
    STARTTLS = auto()  # 220 to STARTTLS sent: nothing is read until TLS stands
    MAIL = auto()  # reverse-path accepted
    RCPT = auto()  # at least one forward-path accepted
    DATA = auto()  # 354 sent, content is arriving
    CHUNK = auto()  # the octets of a BDAT chunk are arriving
    BDAT = auto()  # a chunk was accepted, and it was not the last
    CLOSED = auto()  # 221, 421 or a fatal error: only the closing of the connection is left

    __hash__ = object.__hash__  # Enum's own is written in Python, and the table is read twice a command


_ANYWHERE: Final = (Noop, Help, Vrfy, Expn)  # they change nothing


def _anywhere(state: State) -> dict[type[Command], State]:
    return {**dict.fromkeys(_ANYWHERE, state), Quit: State.CLOSED}


_GREET: Final[Mapping[type[Command], State]] = {Helo: State.READY, Ehlo: State.READY, Lhlo: State.READY}

# What is legal where, and the state an accepted command leads to (RFC 5321 §4.1.4). A pair that is absent is answered
# 503 5.5.1; no other code decides order, but for `ServerSession._hindrance`: AUTH, STARTTLS and BDAT need EHLO, AUTH
# and STARTTLS are for once. STARTTLS and XCLIENT forget the greeting (RFC 3207 §4.2). Between the chunks of a message
# there are only more chunks, RSET, NOOP and QUIT (RFC 3030 §2).
ACCEPTED: Final[Mapping[State, Mapping[type[Command], State]]] = {
    State.CONNECTED: {
        **_anywhere(State.CONNECTED),
        **_GREET,
        Rset: State.CONNECTED,
        StartTls: State.STARTTLS,
        Xclient: State.CONNECTED,
    },
    State.READY: {
        **_anywhere(State.READY),
        **_GREET,
        Rset: State.READY,
        StartTls: State.STARTTLS,
        Xclient: State.CONNECTED,
        Auth: State.READY,
        Mail: State.MAIL,
    },
    State.AUTH: {AuthResponse: State.READY},
    State.STARTTLS: {},
    State.MAIL: {**_anywhere(State.MAIL), **_GREET, Rset: State.READY, Rcpt: State.RCPT},
    State.RCPT: {
        **_anywhere(State.RCPT),
        **_GREET,
        Rset: State.READY,
        Rcpt: State.RCPT,
        Data: State.DATA,
        Bdat: State.CHUNK,
    },
    State.DATA: {EndOfData: State.READY},
    State.CHUNK: {EndOfChunk: State.BDAT},  # the last one leads to READY
    State.BDAT: {Bdat: State.CHUNK, Rset: State.READY, Noop: State.BDAT, Quit: State.CLOSED},
    State.CLOSED: {},
}
# A refusal changes nothing (§4.1.4), except that the end of data closes the transaction however it is answered
# (§4.1.1.4), that a refused chunk ends its message (RFC 3030 §2), and that AUTH is over.
REFUSED: Final[Mapping[State, State]] = {
    State.DATA: State.READY,
    State.CHUNK: State.READY,
    State.AUTH: State.READY,
}

BAD_SEQUENCE: Final = Reply(503, "5.5.1", "Bad sequence of commands")
# The same refusal, with a hint where the usual reason is known.
HINTS: Final[Mapping[tuple[State, type[Command]], Reply]] = {
    (State.CONNECTED, Mail): Reply(503, "5.5.1", "Bad sequence of commands: greet with EHLO or HELO first"),
    (State.CONNECTED, Auth): Reply(503, "5.5.1", "Bad sequence of commands: greet with EHLO first"),
    (State.MAIL, Mail): Reply(503, "5.5.1", "Bad sequence of commands: a transaction is open, RSET ends it"),
    (State.RCPT, Mail): Reply(503, "5.5.1", "Bad sequence of commands: a transaction is open, RSET ends it"),
    (State.MAIL, Data): Reply(503, "5.5.1", "Bad sequence of commands: no valid recipients"),
    (State.MAIL, Bdat): Reply(503, "5.5.1", "Bad sequence of commands: no valid recipients"),
    (State.BDAT, Data): Reply(503, "5.5.1", "Bad sequence of commands: DATA and BDAT are not mixed"),
}
NEEDS_EHLO: Final = Reply(503, "5.5.1", "Bad sequence of commands: greet with EHLO first")
TLS_ALREADY: Final = Reply(503, "5.5.1", "TLS is active already")
AUTH_ALREADY: Final = Reply(503, "5.5.1", "Already authenticated")  # RFC 4954 §4
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "Authentication cancelled")  # RFC 4954 §4
NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "A non-ASCII address needs SMTPUTF8 at MAIL")  # RFC 6531 §3.5
