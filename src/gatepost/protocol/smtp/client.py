"""The order of one SMTP or LMTP session, client side: what may be sent when, and which command a reply answers.

Not here: the octets of commands (`client_commands`) and replies (`client_replies`), the course of one transaction
(`client_transaction`), and the connection itself (`delivery.outbound`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final

import msgspec

from gatepost.mail.reply import Reply
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.smtp.client_replies import (
    PeerOffer,
    ProtocolError,
    ReplyParser,
    parse_offer,
    parse_reply,
    plain_offer,
)


class Step(Enum):
    """What a reply can answer."""

    GREETING = auto()  # nothing: the peer speaks first
    EHLO = auto()  # LHLO too
    HELO = auto()
    STARTTLS = auto()
    AUTH = auto()  # each response too
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CONTENT = auto()  # the final dot
    CHUNK = auto()  # BDAT
    LAST_CHUNK = auto()  # BDAT LAST
    RSET = auto()
    QUIT = auto()

    __hash__ = object.__hash__  # Enum's own is written in Python, and the tables are read ten times a message


class State(Enum):
    """Where the session will be once what was sent is answered well."""

    CONNECTED = auto()  # the greeting is awaited
    GREETED = auto()  # no EHLO yet, or forgotten after STARTTLS
    READY = auto()  # no transaction open
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()  # content is next, and must come (RFC 5321 §4.1.1.4)
    CHUNKS = auto()  # more BDAT is next
    CLOSED = auto()  # QUIT was sent or 421 came

    __hash__ = object.__hash__


_ANYWHERE: Final = {Step.RSET: State.READY, Step.QUIT: State.CLOSED}
# What may be sent where, and the state it leads to. A pair that is absent is a defect of ours.
SENT: Final[Mapping[State, Mapping[Step, State]]] = {
    State.CONNECTED: {},
    State.GREETED: {Step.EHLO: State.READY, Step.HELO: State.READY, Step.QUIT: State.CLOSED},
    State.READY: {
        Step.STARTTLS: State.GREETED,
        Step.AUTH: State.AUTH,
        Step.MAIL: State.MAIL,
        **_ANYWHERE,
    },
    State.AUTH: {Step.AUTH: State.AUTH},
    State.MAIL: {Step.RCPT: State.RCPT, **_ANYWHERE},
    State.RCPT: {
        Step.RCPT: State.RCPT,
        Step.DATA: State.DATA,
        Step.CHUNK: State.CHUNKS,
        Step.LAST_CHUNK: State.READY,
        **_ANYWHERE,
    },
    State.DATA: {Step.CONTENT: State.READY},
    State.CHUNKS: {Step.CHUNK: State.CHUNKS, Step.LAST_CHUNK: State.READY, **_ANYWHERE},
    State.CLOSED: {},
}
# Where an answer leads elsewhere. A refused MAIL or RCPT leaves the state to the transaction, which sends RSET before
# the next one if it is not back at READY.
REFUSED: Final[Mapping[Step, State]] = {
    Step.GREETING: State.GREETED,  # only QUIT is of use then (RFC 5321 §3.1)
    Step.EHLO: State.GREETED,
    Step.HELO: State.GREETED,
    Step.STARTTLS: State.READY,
    Step.AUTH: State.READY,
    Step.DATA: State.RCPT,
}
ACCEPTED: Final[Mapping[Step, State]] = {Step.GREETING: State.GREETED, Step.AUTH: State.READY}

# What may be sent while answers are outstanding, to a peer that offers PIPELINING (RFC 2920 §3.1, RFC 3030 §4.2).
PIPELINED: Final = frozenset({Step.RSET, Step.MAIL, Step.RCPT, Step.DATA, Step.CHUNK, Step.LAST_CHUNK})
_NO_ENHANCED_CODE: Final = frozenset({Step.GREETING, Step.EHLO, Step.HELO})  # RFC 2034 §4
_PER_RECIPIENT: Final = frozenset({Step.CONTENT, Step.LAST_CHUNK})  # RFC 2033 §4.2, RFC 3030 §2


class Answer(msgspec.Struct, frozen=True):
    """A reply, and what it answers. recipient: for RCPT, and for content in LMTP, the number given at `send`."""

    step: Step
    reply: Reply
    recipient: int = -1


class ClientSession:
    """Attributes replies to commands, whatever the split; no I/O, no clock.

    Invariant: replies come in the order of commands (RFC 2920 §3.2), so the answers outstanding are a queue. A reply
    to nothing, one of a class that its command does not know, or octets in clear behind the answer to STARTTLS raise
    ProtocolError; after that, and in CLOSED, the connection is of no further use.
    """

    def __init__(self, *, lmtp: bool = False) -> None:
        self.state = State.CONNECTED
        self.lmtp = lmtp
        self.offer = PeerOffer()
        self.logged_in = False
        self.closed_by: Reply | None = None  # the 421 that ended it
        self._parser = ReplyParser()
        self._outstanding: deque[tuple[Step, int]] = deque([(Step.GREETING, -1)])

    @property
    def waits_for(self) -> Step | None:
        """What the next reply will answer, None when nothing is outstanding."""
        return self._outstanding[0][0] if self._outstanding else None

    @property
    def outstanding(self) -> int:
        return len(self._outstanding)

    @property
    def is_clean(self) -> bool:
        """Whether a new transaction may start: greeted, nothing outstanding, nothing unread."""
        return self.state in _BETWEEN and not self._outstanding and self._parser.is_empty

    @property
    def needs_reset(self) -> bool:
        """Whether a transaction that led nowhere is still open at the peer."""
        return self.state in _OPEN

    def may_send(self, step: Step) -> bool:
        """Whether `step` is in order now."""
        ahead = not self._outstanding or (self.offer.pipelining and step in PIPELINED)
        return ahead and step in SENT[self.state]

    def send(self, step: Step, octets: bytes, recipients: Sequence[int] = (-1,)) -> bytes:
        """`octets`, to be written now; from here its answer is awaited, one for each of `recipients` (in LMTP the
        final dot and BDAT LAST have many, else give one). Raises LocalProtocolError out of order."""
        if step not in SENT[self.state]:
            raise LocalProtocolError(f"{step.name} cannot be sent in state {self.state.name}")
        if self._outstanding and not (self.offer.pipelining and step in PIPELINED):
            raise LocalProtocolError(f"{step.name} has to wait for the answer to {self._outstanding[0][0].name}")
        if len(recipients) != 1 and not (self.lmtp and step in _PER_RECIPIENT and recipients):
            raise LocalProtocolError(f"{step.name} has one answer")
        self.state = SENT[self.state][step]
        self._outstanding.extend([(step, number) for number in recipients])
        return octets

    def feed(self, octets: bytes) -> None:
        """What the peer sent."""
        self._parser.feed(octets)

    def next_answer(self) -> Answer | None:
        """The next answer, None when more octets are needed or nothing is outstanding. Raises ProtocolError."""
        raw = self._parser.next()
        if raw is None:
            return None
        step, recipient = self._outstanding[0] if self._outstanding else (None, -1)
        reply = parse_reply(raw, enhanced=step not in _NO_ENHANCED_CODE)
        if reply.code == 421:  # at any time (RFC 5321 §3.8): the peer closes, nothing else will be answered
            self.state, self.closed_by = State.CLOSED, reply
            self._outstanding.clear()
            return None if step is None else Answer(step, reply, recipient)
        if step is None:
            raise ProtocolError(f"the peer answers what was not asked: {str(reply)[:60]}")
        if reply.code < 400 and (reply.code >= 300) is not (step is Step.DATA):
            self._check_challenge(step, reply)
        self._outstanding.popleft()
        if step is Step.EHLO and reply.is_positive:
            self.offer = parse_offer(raw)
        elif step is Step.HELO and reply.is_positive:
            self.offer = plain_offer(raw)
        if reply.code >= 400:
            self.state = REFUSED.get(step, self.state)
        elif step in ACCEPTED and reply.code < 300:
            self.state = ACCEPTED[step]
            self.logged_in = self.logged_in or step is Step.AUTH
        elif step is Step.STARTTLS and not self._parser.is_empty:
            # Would be read as if TLS protected it: the injection that made STARTTLS infamous (CVE-2011-0411).
            raise ProtocolError("there are octets in clear behind the answer to STARTTLS")
        return Answer(step, reply, recipient)

    def tls_started(self) -> None:
        """TLS stands: what was said in clear is forgotten, EHLO comes next (RFC 3207 §4.2)."""
        if self.state is not State.GREETED or self._outstanding or not self._parser.is_empty:
            raise LocalProtocolError("TLS starts after a positive answer to STARTTLS")
        self.offer = PeerOffer()

    @staticmethod
    def _check_challenge(step: Step, reply: Reply) -> None:
        """Where the class is not what nearly every command has: 3yz for DATA, 2yz for others."""
        if step is not Step.AUTH:
            raise ProtocolError(f"the peer answers {step.name} with {str(reply)[:60]}")


_OPEN: Final = frozenset({State.MAIL, State.RCPT, State.CHUNKS})
_BETWEEN: Final = _OPEN | {State.READY}
