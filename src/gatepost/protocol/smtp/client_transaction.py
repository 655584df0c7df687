"""One mail transaction with a next hop: what to send next, and what became of each recipient.

Pure: the driver writes what `Send` holds, reads when told to, and streams the content. Not here: the order that
commands must keep (`client`), connections and times (`delivery.outbound`).
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

import msgspec

from gatepost.mail.envelope import Envelope
from gatepost.mail.reply import Reply
from gatepost.protocol.smtp import client_commands as commands
from gatepost.protocol.smtp.client import Answer, ClientSession, State, Step
from gatepost.protocol.smtp.client_commands import Needs
from gatepost.protocol.smtp.client_replies import ProtocolError

Stage = Literal["connect", "helo", "mail", "rcpt", "data"]
Kind = Literal["delivered", "deferred", "failed"]

STAGES: Final[dict[Step, Stage]] = {
    Step.GREETING: "connect",
    Step.EHLO: "helo",
    Step.HELO: "helo",
    Step.STARTTLS: "helo",
    Step.AUTH: "helo",
    Step.RSET: "mail",
    Step.MAIL: "mail",
    Step.RCPT: "rcpt",
    Step.DATA: "data",
    Step.CONTENT: "data",
    Step.CHUNK: "data",
    Step.LAST_CHUNK: "data",
    Step.QUIT: "data",
}
# Chunks that may be unanswered at once: enough to fill a long line, few enough that a refusal is soon heard.
CHUNKS_AHEAD: Final = 4


class RecipientResult(msgspec.Struct, frozen=True):
    """What became of one recipient.

    at: the stage that decided. kind: "deferred" may be tried again, "failed" not. by_peer: the reply is the peer's
    own; False: it is ours, about the peer. dsn_passed_on: the peer took over the duty to notify (RFC 3461 §5.2);
    where a delivered recipient asked for SUCCESS and it is False, a "relayed" DSN is ours to send.
    """

    reply: Reply
    at: Stage
    kind: Kind
    by_peer: bool = True
    dsn_passed_on: bool = False

    @property
    def is_one_too_many(self) -> bool:
        """The peer takes no more recipients in this transaction, and may in the next (RFC 5321 §4.5.3.1.10)."""
        return self.at == "rcpt" and self.reply.code in (452, 552) and self.reply.esc in ("", "4.5.3", "5.5.3")


class Send(msgspec.Struct, frozen=True):
    """Write `octets`."""

    octets: bytes


class Receive(msgspec.Struct, frozen=True):
    """Read until an answer is there, and pass it to `answered`."""


class SendContent(msgspec.Struct, frozen=True):
    """Stream the content: dot-stuffed behind `begin_content`, or, if `chunked`, as it is behind `chunk` each."""

    chunked: bool


class Transaction:
    """One envelope over a session that `is_clean`.

    With PIPELINING, RSET (where the last transaction led nowhere), MAIL, all RCPT and DATA leave in one group
    (RFC 2920); else one by one, and no further than what was refused. What the peer cannot take is never offered to
    it: such recipients have their result at once.
    """

    def __init__(
        self,
        session: ClientSession,
        envelope: Envelope,
        needs: Needs,
        *,
        chunked: bool = False,
        null_auth: bool = True,
    ) -> None:
        """chunked: send the content by BDAT; the peer must offer CHUNKING. null_auth: say AUTH=<> once logged in."""
        self.results: list[RecipientResult | None] = [None] * len(envelope.recipients)
        self.heard_anything = False  # an answer other than 421
        self._session = session
        self._chunked = chunked
        self._null_auth = null_auth and session.logged_in
        self._accepted: list[int] = []
        self._has_content = False
        self._has_ended = False
        self._at: Stage = "mail"
        self._unsent: deque[tuple[Step, bytes, int]] = deque()
        self._plan(envelope, needs)

    def next(self) -> Send | Receive | SendContent | None:
        """What to do now; None: all recipients have a result. Raises ProtocolError."""
        if self._has_ended:
            return None  # what is still unanswered are commands of the next one
        session = self._session
        if session.closed_by is not None:
            self.lost(session.closed_by)
            return None
        if self._unsent and session.offer.pipelining:
            group = [session.send(step, octets, (number,)) for step, octets, number in self._unsent]
            self._unsent.clear()
            return Send(b"".join(group))
        if session.waits_for is not None:
            return Receive()
        if self._unsent:
            step, octets, number = self._unsent.popleft()
            return Send(session.send(step, octets, (number,)))
        return self._next_after_commands()

    @property
    def is_null_auth_refused(self) -> bool:
        """Whether MAIL was refused for a parameter, and AUTH=<> was among them: it may be tried without."""
        first = self.results[0] if self.results else None
        refused = first is not None and first.by_peer and first.at == "mail" and first.reply.code in (501, 504, 555)
        return self._null_auth and refused

    def answered(self, answer: Answer) -> None:
        """Take note of an answer."""
        self.heard_anything = self.heard_anything or answer.reply.code != 421
        self._at = STAGES[answer.step]
        if answer.step is Step.RCPT:
            if answer.reply.is_positive:
                self._accepted.append(answer.recipient)
            else:
                self._settle([answer.recipient], answer.reply)
            if not self._accepted and not any(step is Step.RCPT for step, _, _ in self._unsent):
                self._unsent.clear()  # DATA would be for nobody
        elif answer.step is Step.MAIL and not answer.reply.is_positive:
            self._unsent.clear()
            self._settle(range(len(self.results)), answer.reply)
        elif answer.step in _ENDS:
            self._has_ended = answer.recipient < 0
            self._settle(self._accepted if self._has_ended else [answer.recipient], answer.reply)
        elif answer.step in (Step.DATA, Step.CHUNK) and not answer.reply.is_positive:
            self._settle(self._accepted, answer.reply)

    def begin_content(self) -> None:
        """The content is on its way; write it dot-stuffed, then the final dot."""
        self._has_content = True
        self._session.send(Step.CONTENT, b"", self._answerers())

    def chunk(self, octets: int, *, last: bool) -> bytes:
        """The BDAT line before the next chunk."""
        self._has_content = True
        line = commands.bdat(octets, last=last)
        return self._session.send(Step.LAST_CHUNK if last else Step.CHUNK, line, self._answerers() if last else (-1,))

    @property
    def may_send_chunk(self) -> bool:
        """Whether the next chunk may leave before more answers were read."""
        # LMTP: a peer that refuses one chunk answers BDAT LAST once, not once a recipient; so it is asked one by one.
        ahead = CHUNKS_AHEAD if self._session.offer.pipelining and not self._session.lmtp else 1
        return self._session.outstanding < ahead

    @property
    def is_for_all(self) -> bool:
        """Whether every recipient was accepted, and waits for the content."""
        return len(self._accepted) == len(self.results)

    @property
    def is_refused(self) -> bool:
        """Whether no recipient is left that content could be for."""
        return not any(self.results[number] is None for number in self._accepted)

    def lost(self, reply: Reply, kind: Kind = "deferred") -> None:
        """It ends here: who has no result yet gets `reply`, which is the peer's own only where it is its 421.

        After the final dot that means not to know (RFC 5321 §4.5.3.2.6): the message may arrive twice, and is not lost.
        """
        waits_for = self._session.waits_for
        at = STAGES[waits_for] if waits_for is not None else self._at
        result = RecipientResult(reply, at, kind, by_peer=reply is self._session.closed_by)
        self.results = [result if known is None else known for known in self.results]

    def _plan(self, envelope: Envelope, needs: Needs) -> None:
        session = self._session
        if refusal := commands.unfit(envelope, needs, session.offer):
            self.results = [RecipientResult(refusal, "mail", "failed", by_peer=False) for _ in self.results]
            return
        utf8 = commands.wants_smtputf8(envelope, needs, session.offer)
        rcpts: list[tuple[Step, bytes, int]] = []
        for number, recipient in enumerate(envelope.recipients):
            if refusal := commands.unfit_recipient(recipient, session.offer):
                self.results[number] = RecipientResult(refusal, "rcpt", "failed", by_peer=False)
            else:
                rcpts.append((Step.RCPT, commands.rcpt(recipient, session.offer, utf8=utf8), number))
        if not rcpts:
            return
        if session.needs_reset:
            self._unsent.append((Step.RSET, commands.RSET, -1))
        line = commands.mail(envelope, needs, session.offer, utf8=utf8, null_auth=self._null_auth)
        self._unsent.append((Step.MAIL, line, -1))
        self._unsent.extend(rcpts)
        if not self._chunked:
            self._unsent.append((Step.DATA, commands.DATA, -1))

    def _next_after_commands(self) -> Send | SendContent | None:
        if self._has_content or (self._session.state is not State.DATA and (not self._chunked or self.is_refused)):
            return None
        if not self.is_refused:
            self._at = "data"
            return SendContent(self._chunked)
        if self._session.lmtp:  # RFC 2033 §4.2 wants 503 here, and does not say how often the dot would be answered
            raise ProtocolError("the peer asks for content without a recipient")
        # RFC 2920 §3.1: 354 although every RCPT was refused; an empty message ends it.
        self._has_content = True
        return Send(self._session.send(Step.CONTENT, b".\r\n"))

    def _answerers(self) -> list[int]:
        return self._accepted if self._session.lmtp else [-1]

    def _settle(self, numbers: list[int] | range, reply: Reply) -> None:
        if reply.is_positive:
            kind: Kind = "delivered"
        else:
            kind = "deferred" if reply.is_transient else "failed"
        result = RecipientResult(reply, self._at, kind, dsn_passed_on=kind == "delivered" and self._session.offer.dsn)
        if result.is_one_too_many:  # 552 counts as 452 here (RFC 5321 §4.5.3.1.10)
            result = msgspec.structs.replace(result, kind="deferred")
        for number in numbers:
            if self.results[number] is None:
                self.results[number] = result


_ENDS: Final = frozenset({Step.CONTENT, Step.LAST_CHUNK})
