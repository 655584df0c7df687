"""The POP3 session driver: octets from the wire, through protocol and gate, to replies and messages.

Here is the order of things: reading, waiting, answering, ending. What each command does is in `pickup.commands`, what
is legal when in `protocol.pop3.server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final

import structlog

from gatepost.audit.event import RecordError
from gatepost.gate.dialogue import Dialogue
from gatepost.gate.later import is_later
from gatepost.gate.session import Decided, GateSession
from gatepost.gate.turns import TURN
from gatepost.mail.reply import Reply as SmtpReply
from gatepost.pickup.commands import Commands
from gatepost.pickup.parts import PickupParts
from gatepost.ports.wire import Timer, Wire
from gatepost.protocol.pop3.commands import Malformed, shown
from gatepost.protocol.pop3.lines import Item, Parser
from gatepost.protocol.pop3.replies import Reply, err, from_smtp, ok
from gatepost.protocol.pop3.server import Ask, ServerSession, State

log = structlog.get_logger()

BUSY_READ_AHEAD: Final = 64 * 1024  # octets that a peer may send ahead while it waits for an answer
UNSENT_OCTETS: Final = 64 * 1024  # answers that may pile up before the peer must take some
_PIECES_AT_ONCE: Final = 2  # of a list: what is longer is sent as the peer takes it

SHUTTING_DOWN: Final = err("This server is going down, try again soon", "SYS/TEMP")
TOO_MANY_MISTAKES: Final = err("Too many errors, goodbye", "SYS/PERM")
BROKEN: Final = err("Internal error, try again later", "SYS/TEMP")

Work = Callable[[], Coroutine[Any, Any, None]]


class Pop3Session:
    """One connection. A `ports.wire.SessionDriver`; calls never overlap.

    Invariants: while an answer is awaited (`_task`) nothing is taken from the parser, so replies leave in order.
    Nothing is removed but by QUIT in a transaction.
    """

    def __init__(self, wire: Wire, parts: PickupParts) -> None:
        self.wire = wire
        self.parts = parts
        self.gate = GateSession(parts.gate, wire.peer, wire.tls)
        self.dialogue = Dialogue()
        self.commands = Commands(self)
        self.protocol = ServerSession(self.commands.logins.offer())
        self.parser = Parser()
        self._out: list[bytes] = []
        self._unsent = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._began = self._heard_at = parts.gate.clock.monotonic()
        self._mistakes = 0
        self._ends_because = ""  # why we close the connection, where no reply tells
        self._expelled: SmtpReply | None = None  # what the peer is sent away with
        self._lost: str | None = None  # why it is over, None while it stands
        self._is_paused = self._is_going_down = self._peer_finished = False

    # --- called by the wire --------------------------------------------------------------------------------------

    def connection_made(self) -> None:
        """Decide about the peer, then greet it."""
        self.gate.came(self.expel)
        self._timer = self.wire.call_later(self.parts.settings.timeout, self._check_idle)
        decided = self.gate.connect()
        if is_later(decided):
            self.run(partial(self._greet_later, decided))
        else:
            self._greet(decided)  # type: ignore[arg-type]
            self._flush()

    def handshake_failed(self, reason: str) -> None:
        """Implicit TLS came to nothing; that is all there is to record."""
        self.gate.handshake_failed()
        self.connection_lost(reason)

    def data_received(self, octets: bytes) -> None:
        """Take what came, answer what is complete, in one write."""
        self.parser.feed(octets)
        if self._task is None:
            self._pump()
        elif self.parser.read_ahead > BUSY_READ_AHEAD and not self._is_paused:
            self._is_paused = True
            self.wire.pause()

    def tls_started(self) -> None:
        """The handshake after STLS is done; the session begins anew inside."""
        tls = self.wire.tls
        assert tls is not None  # the wire says so before it calls
        self.gate.tls_started(tls)
        self.protocol.tls_started()
        recognised = self.gate.recognise()
        if is_later(recognised):
            self.run(partial(self._offer_later, recognised))
        else:
            self.protocol.offer = self.commands.logins.offer()
            if self._expelled is not None:
                self._pump()

    async def _offer_later(self, recognised: Awaitable[object]) -> None:
        await recognised
        self.protocol.offer = self.commands.logins.offer()

    def peer_finished(self) -> None:
        """Half-closed: what is being answered is answered, then the connection ends."""
        self._peer_finished = True
        if self._task is None:
            self.wire.close()

    def connection_lost(self, reason: str) -> None:
        """The end: unlock and record. What was marked stays, unless QUIT is being obeyed."""
        if self._lost is not None:
            return
        self._lost = reason or self._ends_because or ("" if self.protocol.is_over else "the peer left without QUIT")
        if self._timer is not None:
            self._timer.cancel()
        if self.commands.is_updating:
            return  # `updated` ends it
        if self._task is not None:
            self._task.cancel()
        self._ended()

    def shut_down(self) -> None:
        """The server stops: who has not logged in is sent away now, a transaction ends as its peer wants."""
        self._is_going_down = True
        is_idle = self._task is None and self._lost is None and not self.protocol.is_over
        if is_idle and self.commands.maildrop is None and self.protocol.state is not State.STLS:
            self._say(SHUTTING_DOWN)
            self.protocol.close()
            self._flush()

    def expel(self, reply: SmtpReply) -> None:
        """`reply` ends the session once what is under way is answered; nothing is removed."""
        self._expelled = reply
        if self._task is None and self._lost is None:
            self._pump()

    # --- the pump ------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Take commands until one must be waited for, then write all replies at once (RFC 2449 §6.6)."""
        if self._expelled is not None and not self.protocol.is_over and self.protocol.state is not State.STLS:
            self._mistakes = 0  # it is none
            self._say(from_smtp(self._expelled))
            self.protocol.close()
        try:
            left = TURN
            while self._task is None and not self.protocol.is_over and self.protocol.state is not State.STLS:
                if not left:
                    self._send_out()
                    self.run(self._give_way)
                    break
                item = self.parser.next()
                if item is None:
                    break
                left -= 1
                self._heard_at = self.parts.gate.clock.monotonic()
                self._take(item)
                if self._unsent > UNSENT_OCTETS and self._task is None:
                    self.run(self._catch_up)
        except Exception:
            self._broke()
        self._flush()

    def _take(self, item: Item) -> None:
        if isinstance(item, Malformed):
            self.dialogue.heard(item.shown)
            self._say(item.reply)
            if item.is_fatal:
                self.protocol.close()
            return
        self.dialogue.heard(shown(item))
        action = self.protocol.receive(item)
        if isinstance(action, Ask):
            self.commands.act(action.command)
            return
        self._say(action.reply)
        if action.lines is not None:
            self._list(action.lines)

    def run(self, work: Work) -> None:
        """`work` answers; meanwhile nothing else is taken. It begins in its task: one cancelled before is none."""
        self._task = asyncio.get_running_loop().create_task(self._wait_for(work))

    async def _wait_for(self, work: Work) -> None:
        try:
            await work()
        except ConnectionError:
            self.wire.abort()
        except Exception:
            self._broke()
        self._task = None
        if self._lost is not None:
            return
        self._heard_at = self.parts.gate.clock.monotonic()
        self._pump()
        # Not before: a peer that sends faster than it is answered would be ahead by ever more.
        if self._is_paused and (self._task is None or self.parser.read_ahead <= BUSY_READ_AHEAD):
            self._is_paused = False
            self.wire.resume()
        if self._is_going_down:
            self.shut_down()

    async def _greet_later(self, decided: Awaitable[Decided]) -> None:
        self._greet(await decided)

    def _greet(self, decided: Decided) -> None:
        decision, _ = decided
        self.gate.note(decision)
        # What waits for RCPT in SMTP has nothing to wait for here.
        verdict = decision.verdict or next((each for each in decision.later if not each.freezes), None)
        if verdict is None:
            self.protocol.offer = self.commands.logins.offer()
            self._say(ok(f"{self.parts.gate.hostname} POP3 server ready"))
        else:
            if not verdict.silent:
                self._say(from_smtp(verdict.reply.with_id(self.gate.id)))
            self.protocol.close()

    # --- answers, also for `commands` ----------------------------------------------------------------------------

    def answer(self, reply: Reply) -> None:
        """The answer to the command that was asked about."""
        self._say(self.protocol.answer(reply).reply)

    def challenge(self, text: str) -> None:
        """The answer to AUTH or a response: base64 that the peer answers in its next line."""
        self.protocol.challenge()
        self.parser.expect_response()
        self.dialogue.said("+ (challenge)")
        self._write(f"+ {text}\r\n".encode("ascii"))

    def unsent(self) -> bytes:
        """Earlier answers that a long one must carry in front of it."""
        return b"".join(self._out)

    def sent_apart(self, reply: Reply) -> None:
        """The answer to the command that was asked about has left already, and `unsent` with it."""
        self._out.clear()
        self._unsent = 0
        self.dialogue.said(self.protocol.answer(reply).reply)

    def cut(self, why: str) -> None:
        """End the connection in the middle of an answer: the peer must not take what it has for the whole."""
        self._ends_because = why
        self._out.clear()
        self.protocol.close()
        self.wire.abort()

    def updated(self) -> None:
        """QUIT has been obeyed."""
        if self._lost is not None:
            self._ended()

    def _say(self, reply: Reply) -> None:
        self.dialogue.said(reply)
        self._write(reply.encode())
        if reply.is_positive or self.commands.maildrop is not None:
            self._mistakes = 0
            return
        self._mistakes += 1
        if self._mistakes == self.parts.settings.mistakes:
            self._say(TOO_MANY_MISTAKES)
            self.protocol.close()

    def _list(self, lines: Iterator[bytes]) -> None:
        for piece in islice(lines, _PIECES_AT_ONCE):
            self._write(piece)
        rest = next(lines, None)
        if rest is not None:
            self._write(rest)
            self.run(partial(self._list_rest, lines))

    async def _list_rest(self, lines: Iterator[bytes]) -> None:
        await self._catch_up()
        for piece in lines:
            self._write(piece)
            await self._catch_up()

    async def _give_way(self) -> None:
        """Other sessions have their turn, and the peer takes what it was answered."""
        await self.parts.gate.turns.next()
        await self.wire.drained()

    async def _catch_up(self) -> None:
        """Send what is ready, and go on when the peer has taken it."""
        self._send_out()
        await self.wire.drained()

    def _write(self, octets: bytes) -> None:
        self._out.append(octets)
        self._unsent += len(octets)

    def _flush(self) -> None:
        if self._task is not None:
            return  # what is pipelined leaves together with the answer that is awaited
        if self.protocol.state is State.STLS and self._out:
            dropped = self.parser.drop_read_ahead()
            if dropped:
                self.dialogue.heard(f"({dropped} octets behind STLS, dropped)")
            self._send_out(self.wire.start_tls)
            return
        self._send_out()
        if self.protocol.is_over or self._peer_finished:
            self.wire.close()

    def _send_out(self, send: Callable[[bytes], None] | None = None) -> None:
        octets = b"".join(self._out)
        self._out.clear()
        self._unsent = 0
        if octets:
            (send or self.wire.write)(octets)

    # --- the end -------------------------------------------------------------------------------------------------

    def _check_idle(self) -> None:
        """One timer for the whole connection, set again only when it fires: most sessions never see it."""
        timeout = self.parts.settings.timeout
        waits = self._heard_at + timeout - self.parts.gate.clock.monotonic()
        if waits <= 0 and self._task is None:
            # RFC 1939 §3: no answer, and nothing is removed.
            self._ends_because = f"silent for {timeout:.0f} seconds"
            self.protocol.close()
            self.wire.close()
            return
        self._timer = self.wire.call_later(max(waits, 1.0), self._check_idle)

    def _broke(self) -> None:
        """A defect of ours: this session ends, the others go on."""
        log.exception("session failed", session=self.gate.id)
        if not self.protocol.is_over:
            self._say(BROKEN)
            self.protocol.close()

    def _ended(self) -> None:
        """Once, when the connection is gone and nothing runs for it any more."""
        commands = self.commands
        commands.close_maildrop()
        details: dict[str, Any] = {"retrieved": commands.retrieved, "removed": commands.removed}
        if self._lost:
            details["lost"] = self._lost
        event = self.gate.event(
            "pop3.session",
            id=self.gate.id,
            octets=commands.octets,
            verdicts=self.gate.evaluated,
            dialogue=self.dialogue.lines(),
            took_ms=round((self.parts.gate.clock.monotonic() - self._began) * 1000),
            details=details,
        )
        try:
            self.gate.record(event)
        except RecordError as error:
            log.error("record cannot be written", error=str(error))
        self.gate.end()
