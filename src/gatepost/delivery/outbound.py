"""One session with a next hop: delivers jobs over it, one after the other, as long as it is reusable.

Pipelined and in chunks where the peer offers that; bounded in memory and time whatever the peer does. Not here:
how it is opened (`outbound_opening`), which next hop, and when to try again (the delivery loop).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import msgspec

from gatepost.delivery.conversation import Conversation
from gatepost.delivery.next_hop import Job, NextHop, Timeouts
from gatepost.delivery.outbound_opening import OpenFailed, open_conversation, part, trouble
from gatepost.mail.envelope import Recipient
from gatepost.mail.reply import Reply
from gatepost.ports.clock import Clock
from gatepost.ports.connect import ConnectError, Connector, TlsState
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.smtp.client import State
from gatepost.protocol.smtp.client_commands import Needs
from gatepost.protocol.smtp.client_replies import PeerOffer, ProtocolError
from gatepost.protocol.smtp.client_transaction import Receive, RecipientResult, Send, Transaction
from gatepost.protocol.smtp.limits import MIN_RECIPIENTS
from gatepost.protocol.smtp.stuffing import ContentError, DotStuffer, LineEnds
from gatepost.spool.port import SpoolError

__all__ = ["Job", "NextHop", "OpenFailed", "OutboundSession", "RecipientResult", "Timeouts"]

# Below this BDAT gains nothing over a pipelined DATA, which takes as many round trips.
CHUNKED_FROM_OCTETS: Final = 64 * 1024
CHUNK_OCTETS: Final = 256 * 1024
WRITE_OCTETS: Final = 64 * 1024  # pieces are joined up to this: a small message leaves in one write
_NO_TURN: Final = RecipientResult(
    Reply(451, "4.4.2", "The session with the next hop ended before this recipient's turn"),
    "mail",
    "deferred",
    by_peer=False,
)


class _Unreadable(Exception):
    """Our own store cannot give the content."""


class _Begun(msgspec.Struct, frozen=True):
    """A job whose commands have left together with the content of the one before. lines: those commands."""

    job: Job
    transaction: Transaction
    lines: bytes


class OutboundSession:
    """An open session. Use: `open`, `deliver` while `is_reusable`, `quit`.

    hop: where it leads. messages: transactions so far. known: of the job under way, by the recipient's number, who has
    a result already: what counts when the job is cut off.
    """

    def __init__(self, hop: NextHop, talk: Conversation) -> None:
        self.hop = hop
        self.messages = 0
        self.was_stale = False
        self.known: dict[int, RecipientResult] = {}
        self._talk = talk
        self._session = talk.session
        self._is_closed = False
        self._is_cut_off = False
        self._is_in_doubt = False
        self._transaction: Transaction | None = None
        self._promised: Job | None = None  # what comes next
        self._begun: _Begun | None = None
        self._null_auth = True

    @classmethod
    async def open(
        cls, connector: Connector, hop: NextHop, hostname: str, clock: Clock, timeouts: Timeouts | None = None
    ) -> OutboundSession:
        """A session that is ready for mail. hostname: what we call ourselves in EHLO. Raises OpenFailed."""
        return cls(hop, await open_conversation(connector, hop, hostname, clock, timeouts or Timeouts()))

    @property
    def is_reusable(self) -> bool:
        """Whether another job may be given to it: the connection stands, no transaction is left half done, and the
        peer's MAILMAX (RFC 9422) is not reached. The peer may have gone unnoticed: see `deliver`."""
        mailmax = self.offer.mailmax
        is_open = not self._is_closed and not self._is_cut_off
        return is_open and self._session.is_clean and (mailmax is None or self.messages < mailmax)

    @property
    def offer(self) -> PeerOffer:
        return self._session.offer

    @property
    def tls(self) -> TlsState | None:
        return self._talk.stream.tls

    @property
    def local_address(self) -> str:
        return self._talk.stream.local_address

    @property
    def peer(self) -> str:
        """For records: "mx.example.org[192.0.2.7]:25"."""
        return str(self.hop)

    def take_dialogue(self) -> list[str]:
        """What was said since the last call, for the record; bounded, without credentials and content."""
        return self._talk.take_dialogue()

    async def deliver(self, job: Job) -> list[RecipientResult]:
        """What became of each recipient, in the order of the envelope. Never raises for what the peer does.

        More recipients than the peer takes in one transaction go in several. Where the peer turned out to have gone
        since the last job, before it answered anything, all are deferred and `was_stale` is True: nothing was lost, a
        new connection may be tried at once. Raises LocalProtocolError unless `is_reusable`, or `job` is what the last
        job's `following` gave. Cancelled, it leaves the session to `quit`, and in `known` what is known.
        """
        recipients = job.envelope.recipients
        results = self.known = {}
        is_promised, self._promised = job is self._promised, None
        if is_promised and (self._is_closed or not (self._begun or self.is_reusable)):
            self.was_stale = True
            return [_NO_TURN] * len(recipients)
        waiting = list(range(len(recipients)))
        most = self._most
        while waiting:
            group, waiting = waiting[:most], waiting[most:]
            try:
                outcome = await self._transact(job, [recipients[number] for number in group])
            except BaseException:
                self._note_known(group)
                raise
            results.update(zip(group, outcome, strict=True))
            if not self.is_reusable:
                break
            if any(result.kind == "delivered" for result in outcome):
                # Who was one too many has a place in the next transaction (RFC 5321 §4.5.3.1.10).
                waiting = [number for number in group if results[number].is_one_too_many] + waiting
        return [results.get(number, _NO_TURN) for number in range(len(recipients))]

    @property
    def _most(self) -> int:
        """Recipients in one transaction."""
        return min(self.offer.rcptmax or MIN_RECIPIENTS, MIN_RECIPIENTS)

    async def quit(self) -> None:
        """Ends it with QUIT where that is in order, else at once. Never raises for what the peer does."""
        if not self._is_closed:
            self._is_closed = True
            await part(self._talk)

    def close(self) -> None:
        """Ends it at once."""
        self._is_closed = True
        self._talk.stream.close()

    async def _transact(self, job: Job, recipients: Sequence[Recipient]) -> list[RecipientResult]:
        transaction = await self._attempt(job, recipients)
        if transaction.is_null_auth_refused and self.is_reusable:
            # RFC 4954 §5 wants AUTH=<>, and not every server that offers AUTH knows it.
            self._null_auth = False
            transaction = await self._attempt(job, recipients)
        return [result for result in transaction.results if result is not None]

    async def _attempt(self, job: Job, recipients: Sequence[Recipient]) -> Transaction:
        talk = self._talk
        talk.ends_in(talk.timeouts.message + job.octets / talk.timeouts.slowest)
        begun, self._begun = self._begun, None
        if begun is not None and begun.job is job:
            transaction = begun.transaction
            talk.note_sent(begun.lines)
        elif self.is_reusable:
            transaction = self._planned(job, recipients)
        else:
            raise LocalProtocolError("the session takes no more mail; open another")
        self._transaction = transaction
        try:
            await self._run(transaction, job)
        except ConnectError as error:
            await self._broke(transaction, error)
        except ProtocolError as error:
            transaction.lost(trouble(error))
            self.close()
        except _Unreadable as error:
            transaction.lost(Reply(451, "4.3.0", str(error)))
            self.close()  # without the end of data, so that the peer keeps nothing of it
        except ContentError as error:
            transaction.lost(Reply(554, "5.6.0", str(error)), "failed")
            self.close()
        except BaseException:
            if self._is_in_doubt:  # it may arrive twice, and is not lost (RFC 5321 §4.5.3.2.6)
                transaction.lost(Reply(451, "4.4.2", "We ended before the next hop had answered to the end of data"))
            self._is_cut_off = True
            raise
        finally:
            if self._is_in_doubt:
                self._is_in_doubt = False
                job.in_doubt(False)
        self.was_stale = self.messages > 0 and self._is_closed and not transaction.heard_anything
        self.messages += 1
        return transaction

    def _planned(self, job: Job, recipients: Sequence[Recipient]) -> Transaction:
        envelope = job.envelope
        if len(recipients) != len(envelope.recipients):
            envelope = msgspec.structs.replace(envelope, recipients=tuple(recipients))
        chunked = self.offer.chunking and job.octets >= CHUNKED_FROM_OCTETS
        needs = Needs(job.octets, job.has_8bit, job.utf8_header)
        return Transaction(self._session, envelope, needs, chunked=chunked, null_auth=self._null_auth)

    def _begin_following(self, transaction: Transaction, job: Job) -> bytes:
        """The commands of the next job, which may leave with the end of the content (RFC 2920 §3.1); b"" for none.

        Only after a message to which the peer has answered as it should, and where nobody is left for whom the
        recipients of this one are too many.
        """
        offer = self.offer
        if not self.messages or not offer.pipelining or self._session.lmtp or not transaction.is_for_all:
            return b""
        if offer.mailmax is not None and self.messages + 1 >= offer.mailmax:
            return b""
        following = self._promised = job.following()
        if following is None or len(following.envelope.recipients) > self._most:
            return b""
        begun = self._planned(following, following.envelope.recipients)
        action = begun.next()
        if not isinstance(action, Send):  # nothing of it is for this peer
            return b""
        self._begun = _Begun(following, begun, action.octets)
        return action.octets

    async def _run(self, transaction: Transaction, job: Job) -> None:
        while (action := transaction.next()) is not None:
            if isinstance(action, Send):
                await self._talk.write(action.octets)
            elif isinstance(action, Receive):
                transaction.answered(await self._talk.answer())
            else:
                await self._send_content(transaction, job, chunked=action.chunked)
        if self._session.state is State.CLOSED:
            self.close()

    async def _broke(self, transaction: Transaction, error: ConnectError) -> None:
        """The connection is gone. A refusal that came before it broke counts, a positive answer does not: the peer
        cannot have had the whole message."""
        if self._talk.broke_in_writing:
            answer = await self._talk.last_words()
            if answer is not None and not answer.reply.is_positive:
                transaction.answered(answer)
        transaction.lost(self._session.closed_by or trouble(error))
        self.close()

    def _note_known(self, group: Sequence[int]) -> None:
        """The transaction is cut off: who has a result keeps it."""
        if self._transaction is not None:
            known = zip(group, self._transaction.results, strict=True)
            self.known.update((number, result) for number, result in known if result is not None)

    def _is_about_to_end(self, job: Job) -> None:
        """The next octets end the content."""
        self._is_in_doubt = True
        job.in_doubt(True)

    async def _send_content(self, transaction: Transaction, job: Job, *, chunked: bool) -> None:
        pieces = job.content()
        try:
            if chunked:
                await self._send_chunks(transaction, pieces, job)
            else:
                await self._send_stuffed(transaction, pieces, job)
        finally:
            if isinstance(pieces, AsyncGenerator):  # closes what it holds open, also in mid-content
                await pieces.aclose()

    async def _send_stuffed(self, transaction: Transaction, pieces: AsyncIterator[bytes], job: Job) -> None:
        transaction.begin_content()
        stuffer = DotStuffer()
        batch, size = [], 0
        while (piece := await _next_piece(pieces)) is not None:
            batch.append(stuffer.feed(piece))
            size += len(piece)
            if size >= WRITE_OCTETS:
                await self._talk.write_content(b"".join(batch))
                batch, size = [], 0
        batch.append(stuffer.finish())
        self._is_about_to_end(job)
        batch.append(self._begin_following(transaction, job))
        await self._talk.write(b"".join(batch), shown=f"({job.octets} octets)")

    async def _send_chunks(self, transaction: Transaction, pieces: AsyncIterator[bytes], job: Job) -> None:
        lines = LineEnds()
        chunk = await _next_chunk(pieces, lines) or b""
        while True:
            following = await _next_chunk(pieces, lines)
            while not transaction.may_send_chunk:
                transaction.answered(await self._talk.answer())
            if transaction.is_refused:
                return
            if following is None:
                self._is_about_to_end(job)
            line = transaction.chunk(len(chunk), last=following is None)
            await self._talk.write(line + chunk, shown=f"{line[:-2].decode('ascii')} (content)")
            if following is None:
                return
            chunk = following


async def _next_piece(pieces: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(pieces, None)
    except (OSError, SpoolError) as error:
        raise _Unreadable(f"The content cannot be read: {error}") from error


async def _next_chunk(pieces: AsyncIterator[bytes], lines: LineEnds) -> bytes | None:
    """At least CHUNK_OCTETS, less at the end, None behind it."""
    batch: list[bytes] = []
    size = 0
    while size < CHUNK_OCTETS and (piece := await _next_piece(pieces)) is not None:
        if piece:
            lines.check(piece)
            batch.append(piece)
            size += len(piece)
    if size < CHUNK_OCTETS:
        lines.finish()
    return b"".join(batch) if batch else None
