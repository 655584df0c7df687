"""A stream with a client session on it: writes in time, waits for answers in time, keeps the dialogue for the record.

Not here: what is said (`outbound_opening`, `outbound`).
"""

from __future__ import annotations

from typing import Final

from gatepost.delivery.next_hop import Timeouts
from gatepost.mail.reply import Reply
from gatepost.mail.text import printable
from gatepost.ports.clock import Clock
from gatepost.ports.connect import ConnectError, Stream
from gatepost.protocol.smtp.client import Answer, ClientSession
from gatepost.protocol.smtp.client_replies import ProtocolError

MAX_DIALOGUE_LINES: Final = 120
_LAST_WORDS: Final = 2.0  # seconds


class Conversation:
    """Every wait ends: with an answer, or with ConnectError when its own time or that of the whole is over."""

    def __init__(self, stream: Stream, session: ClientSession, clock: Clock, timeouts: Timeouts) -> None:
        self.stream = stream
        self.session = session
        self.timeouts = timeouts
        self.broke_in_writing = False
        self._clock = clock
        self._ends_at = float("inf")
        self._dialogue: list[str] = []

    def ends_in(self, seconds: float) -> None:
        """From now on, the whole may take that long."""
        self._ends_at = self._clock.monotonic() + seconds

    async def write(self, octets: bytes, shown: str | None = None) -> None:
        """shown: what the dialogue says instead of `octets`: credentials and content are kept out of it."""
        shown_lines = octets.split(b"\r\n")[:-1] if shown is None else [shown.encode("ascii")]
        self._note([f"C: {printable(line)}" for line in shown_lines])
        await self.write_content(octets)

    async def write_content(self, octets: bytes) -> None:
        """The same without a trace in the dialogue."""
        try:
            await self.stream.write(
                octets, self._left(self._clock.monotonic() + self.timeouts.block, "take our octets")
            )
        except ConnectError:
            self.broke_in_writing = True
            raise

    async def answer(self) -> Answer:
        """The answer to what was sent first and is unanswered. Raises ConnectError, ProtocolError."""
        answer = self.session.next_answer() or await self._awaited()
        self._hear(answer.reply)
        return answer

    async def _awaited(self) -> Answer:
        step = self.session.waits_for
        if step is None:
            raise ProtocolError("there is nothing to wait for")
        ends_at = self._clock.monotonic() + self.timeouts.answer_to(step)
        while True:
            octets = await self.stream.read(self._left(ends_at, "answer"))
            if not octets:
                raise ConnectError("the peer closed the connection without an answer")
            self.session.feed(octets)
            if (answer := self.session.next_answer()) is not None:
                return answer

    async def last_words(self) -> Answer | None:
        """An answer that came before the connection broke: a peer that refuses in mid-content says why, and closes."""
        ends_at = self._clock.monotonic() + _LAST_WORDS
        try:
            while (answer := self.session.next_answer()) is None:
                octets = await self.stream.read(self._left(ends_at, "answer"))
                if not octets:
                    return None
                self.session.feed(octets)
        except (ConnectError, ProtocolError):
            return None
        self._hear(answer.reply)
        return answer

    def take_dialogue(self) -> list[str]:
        """What was said since the last call, "C: ..." and "S: ...", cut at a fixed number of lines."""
        lines, self._dialogue = self._dialogue, []
        return lines

    def _left(self, ends_at: float, what: str) -> float:
        left = min(ends_at, self._ends_at) - self._clock.monotonic()
        if left <= 0:
            raise ConnectError(f"the peer did not {what} in time")
        return left

    def _hear(self, reply: Reply) -> None:
        intro = f"{reply.code} {reply.esc} " if reply.esc else f"{reply.code} "
        self._note([f"S: {intro}{line}" for line in reply.text.split("\n")])  # its text is printable already

    def _note(self, lines: list[str]) -> None:
        room = MAX_DIALOGUE_LINES - len(self._dialogue)
        if room >= 0:
            self._dialogue.extend(lines[:room])
            if len(lines) > room:
                self._dialogue.append(f"... (more than {MAX_DIALOGUE_LINES} lines)")
