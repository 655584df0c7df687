"""The SMTP and LMTP session driver: octets from the wire, through protocol and policy, to replies and the spool.

Here is the order of things: reading, waiting, answering, ending. What each command does is in `intake.commands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog

from gatepost.audit.event import RecordError
from gatepost.gate.dialogue import Dialogue
from gatepost.gate.later import is_later
from gatepost.gate.session import GateSession
from gatepost.gate.turns import TURN
from gatepost.intake.commands import Commands
from gatepost.intake.hearing import Hearing
from gatepost.intake.offering import mends_line_ends
from gatepost.intake.pace import Pace
from gatepost.intake.parts import IntakeParts
from gatepost.intake.repair import LineEnds
from gatepost.intake.settings import ListenerSettings
from gatepost.mail.reply import Reply
from gatepost.ports.wire import Timer, Wire
from gatepost.protocol.smtp.command_syntax import parse_command
from gatepost.protocol.smtp.commands import Command, EndOfChunk, EndOfData, Malformed
from gatepost.protocol.smtp.framing import Content, Item, Line, Parser
from gatepost.protocol.smtp.server import Ask, Send, ServerSession, Take
from gatepost.protocol.smtp.server_states import State

log = structlog.get_logger()

BUSY_READ_AHEAD: Final = 64 * 1024  # octets that a peer may send ahead while it waits for an answer
STARTTLS, CLOSED = State.STARTTLS, State.CLOSED
FOLLOWED: Final = frozenset((235, 334, 354))  # replies with which something else begins
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "This server is going down, try again soon")
IDLE: Final = Reply(421, "4.4.2", "Timeout: no command for too long")
SLOW: Final = Reply(421, "4.4.2", "Timeout: the content comes too slowly")
BROKEN: Final = Reply(421, "4.3.0", "Internal error, try again later")
CLOSING: Final = Reply(421, "4.7.0", "Closing the connection")


class SmtpSession:
    """One connection. A `ports.wire.SessionDriver`; calls never overlap.

    Invariant: while an answer is awaited (`_task`) nothing is taken from the parser, so replies leave in order.
    """

    def __init__(self, wire: Wire, parts: IntakeParts, listener: ListenerSettings) -> None:
        self.wire = wire
        self.parts = parts
        self.gate = GateSession(parts.gate, wire.peer, wire.tls)
        self.dialogue = Dialogue()
        self.hearing = Hearing(self.dialogue)
        self.commands = Commands(self, listener)
        lmtp = wire.peer.service == "lmtp"
        self.line_ends = LineEnds() if mends_line_ends(self.gate) else None
        self.protocol = ServerSession(lmtp=lmtp, is_tls=wire.tls is not None)
        self.dialect = self.commands.offer.dialect(extended=True)
        self.parser = Parser(self.dialect)
        self._out: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._awaited: Any = None  # what the task waits for
        self._paused = False
        self._timer: Timer | None = None
        self._began = self._heard_at = parts.gate.clock.monotonic()
        self._is_going_down = False
        self._is_over = False
        self._ends = False
        self._expelled: Reply | None = None  # what the peer is sent away with
        self._ends_because = ""  # why we close the connection, where the last reply does not tell
        self._pace: Pace | None = None  # of the content that is coming
        self._peer_finished = False

    # --- called by the wire --------------------------------------------------------------------------------------

    def connection_made(self) -> None:
        """Decide about the peer, then greet it."""
        self.gate.came(self.expel)
        self._timer = self.wire.call_later(self.parts.settings.timeout, self._check_idle)
        self._use(self.commands.connected(), self._greet)

    def handshake_failed(self, reason: str) -> None:
        """Implicit TLS came to nothing; that is all there is to record."""
        self.gate.handshake_failed()
        self.connection_lost(reason)

    def data_received(self, octets: bytes) -> None:
        """Take what came, answer what is complete, in one write."""
        self.parser.feed(octets if self.line_ends is None else self.line_ends.mend(octets))
        if self._task is None:
            self._pump()
        elif self.parser.read_ahead > BUSY_READ_AHEAD and not self._paused:
            self._paused = True
            self.wire.pause()

    def tls_started(self) -> None:
        """The handshake after STARTTLS is done; the session begins anew inside."""
        tls = self.wire.tls
        assert tls is not None  # the wire says so before it calls
        self.protocol.tls_started()
        self.gate.tls_started(tls)
        self.commands.forget_greeting()
        if self.parser.read_ahead or self._expelled is not None:
            self._pump()

    def peer_finished(self) -> None:
        """Half-closed: what is being answered is answered, then the connection ends."""
        self._peer_finished = True
        if self._task is None:
            self.wire.close()

    def connection_lost(self, reason: str) -> None:
        """Record the session; whatever was not answered is not kept."""
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None and not self.commands.is_keeping:
            self._task.cancel()  # but a message that is being kept is kept and recorded, though nobody hears of it
            self._task.add_done_callback(self._close_awaited)
        reason = reason or self._ends_because
        self.commands.session_ended(reason, self.protocol.state is STARTTLS)
        try:
            self.commands.end_transaction(reason or "connection closed")
            self.gate.record(self._event(reason))
        except RecordError as error:
            log.error("record cannot be written", error=str(error))
        self.gate.end()
        if self._task is None:
            del self.commands  # they know this session: without the ring it is gone at once, and its memory at hand

    def shut_down(self) -> None:
        """The server stops: a session between transactions ends now, another after its transaction."""
        self._is_going_down = True
        if self._task is None and not self.protocol.in_transaction and not self._is_over:
            self._end(SHUTTING_DOWN)

    def expel(self, reply: Reply) -> None:
        """`reply` ends the session, whatever it is about, once what is under way is answered."""
        self._expelled = reply
        if self._task is None and not self._is_over:
            self._pump()

    # --- the pump ------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Take items until one must be waited for, then write all replies at once (RFC 2920 §3.2). After a turn of
        them others have theirs."""
        parser, protocol = self.parser, self.protocol
        left = TURN
        if self._expelled is not None and not protocol.is_closed and protocol.state is not STARTTLS:
            self._send(protocol.close(self._expelled))
        try:
            while left and self._task is None and (state := protocol.state) is not CLOSED and state is not STARTTLS:
                item = parser.next()
                if item is None:
                    break
                left -= 1
                if type(item) is Line:
                    command = parse_command(item.octets, self.dialect)
                    self.hearing.line(item.octets, command)
                    self._take(command)
                elif type(item) is Content:
                    self._note_pace(len(item.octets))
                    if protocol.takes_content:
                        self.commands.content(item.octets)
                    continue
                else:
                    self.hearing.other(item)
                    self._take(item)
                if self._pace is not None and (_ends_content(item) or not protocol.in_transaction):
                    self._pace = None
        except Exception:
            self._broke()
        if left < TURN:  # an octet of a line now and then is no command, and keeps no connection
            self._heard_at = self.parts.gate.clock.monotonic()
        if self._is_going_down and self._task is None and not protocol.in_transaction and not protocol.is_closed:
            self._send(protocol.close(SHUTTING_DOWN))
        if not left and self._task is None and protocol.state is not CLOSED and protocol.state is not STARTTLS:
            self._write_out()
            self._use(self._give_way(), lambda _: None)
            return
        self._flush()

    def _note_pace(self, octets: int) -> None:
        if self._pace is None:
            self._pace = Pace(self.parts.gate.clock.monotonic(), self.parts.settings.timeout)
        self._pace.took(octets)

    async def _give_way(self) -> None:
        """Other sessions had their turn, and the peer has taken what it was answered: who reads nothing gets nothing
        more."""
        await self.parts.gate.turns.next()
        with suppress(ConnectionError):  # it is gone, and `connection_lost` says so
            await self.wire.drained()

    def _take(self, command: Command | Malformed) -> None:
        action = self.protocol.receive(command)
        if isinstance(action, Ask):
            result = self.commands.answer(command)
            if hasattr(result, "__await__"):
                self._use(result, self._answer)
            else:
                self._answer(result)
        elif isinstance(action, Take):
            if self.protocol.takes_content:
                self.commands.begin_content()
            self.parser.expect_chunk(action.command.octets, last=action.command.last, begins=action.begins)
        elif isinstance(command, Malformed):
            self._use(self.commands.malformed(command), self._refuse)
        elif len(action.replies) == 1 and not self.protocol.is_closed:
            reply = action.replies[0]
            self._use(self.commands.refused(type(command).__name__.upper(), reply), self._refuse)
        else:
            self._send(action)

    def _refuse(self, reply: Reply) -> None:
        """The answer to what the session's order, or its grammar, refuses; 421 ends it."""
        is_over = reply.code == 421 and not self.protocol.is_closed
        self._send(self.protocol.close(reply) if is_over else Send((reply,)))

    def _answer(self, reply: Reply | tuple[Reply, ...]) -> None:
        action = self.protocol.answer(reply)
        self._send(action)
        if action.replies[0].code in FOLLOWED:
            self.commands.answered(action.replies[0])
        if self._ends and not self.protocol.is_closed:
            self.protocol.close(CLOSING)

    def _use(self, result: Any, use: Callable[[Any], None]) -> None:
        """`use` a result, now or when it can be had; meanwhile nothing else is taken."""
        if is_later(result):
            self._awaited = result
            self._task = asyncio.get_running_loop().create_task(self._wait(result, use))
        else:
            use(result)

    async def _wait(self, result: Awaitable[Any], use: Callable[[Any], None]) -> None:
        try:
            value = await result
            self._task = None
            if self._is_over:
                return
            use(value)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._task = None
            self._broke()
        now = self.parts.gate.clock.monotonic()
        if self._pace is not None:
            self._pace.waited(now - self._heard_at)
        self._heard_at = now
        self._pump()
        # Not before: a peer that sends faster than it is answered would be ahead by ever more.
        if self._paused and (self._task is None or self.parser.read_ahead <= BUSY_READ_AHEAD):
            self._paused = False
            self.wire.resume()

    def _close_awaited(self, _: object) -> None:
        """What the task was cancelled before is told that nobody waits for it; what has run does not notice."""
        if asyncio.iscoroutine(self._awaited):
            self._awaited.close()

    def _greet(self, reply: Reply | None) -> None:
        if reply is None:
            self.protocol.close(CLOSING)  # without a word
        elif reply.is_positive:
            self.dialogue.said(reply)
            self._out.append(reply.encode())
        else:
            self._send(self.protocol.close(reply))
        if self._task is None:
            self._flush()

    def _send(self, action: Send) -> None:
        for reply in action.replies:
            self.dialogue.said(reply)
        self._out.append(action.encode())

    def _flush(self) -> None:
        state, out = self.protocol.state, self._out
        if self._task is not None and state is not STARTTLS:
            return  # what is pipelined leaves together with the answer that is awaited
        if state is STARTTLS and out:
            dropped = self.parser.drop_read_ahead()
            if dropped:
                self.dialogue.heard(f"({dropped} octets behind STARTTLS, dropped)")
            octets = b"".join(out)
            out.clear()
            self.wire.start_tls(octets)
            return
        if out:
            self._write_out()
        if state is CLOSED or (self._peer_finished and self._task is None):
            self.wire.close()

    def _write_out(self) -> None:
        out = self._out
        if out:
            octets = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.wire.write(octets)

    def end_after_answer(self) -> None:
        """The answer that is being made is the last one: what follows cannot be trusted to be commands."""
        self._ends = True

    # --- the end -------------------------------------------------------------------------------------------------

    def _end(self, reply: Reply) -> None:
        self._send(self.protocol.close(reply))
        self._flush()

    def _check_idle(self) -> None:
        """One timer for the whole connection, set again only when it fires: most sessions never see it."""
        now = self.parts.gate.clock.monotonic()
        waits = self._heard_at + self.parts.settings.timeout - now
        if waits <= 0 and self._task is None:
            self._end(IDLE)
            return
        if self._pace is not None and self._task is None and (fault := self._pace.fault(now)):
            self._ends_because = fault
            self._end(SLOW)
            return
        self._timer = self.wire.call_later(max(waits, 1.0), self._check_idle)

    def _broke(self) -> None:
        """A defect of ours: this session ends with 421, the others go on."""
        log.exception("session failed", session=self.gate.id)
        if not self.protocol.is_closed:
            self._send(self.protocol.close(BROKEN))

    def _event(self, reason: str) -> Any:
        clock = self.parts.gate.clock
        details: dict[str, Any] = {"messages": self.commands.messages}
        if self.line_ends is not None and self.line_ends.repaired:
            details["bare_lf_repaired"] = self.line_ends.repaired
        if reason:
            details["lost"] = reason
        return self.gate.event(
            "smtp.session",
            id=self.gate.id,
            verdicts=self.gate.evaluated,
            dialogue=self.dialogue.lines(),
            took_ms=round((clock.monotonic() - self._began) * 1000),
            details=details,
        )


def _ends_content(item: Item) -> bool:
    """The content of a message is whole with it."""
    return type(item) is EndOfData or (type(item) is EndOfChunk and item.last)
