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
MAX_PLAIN_OCTETS: Final = 200  # what is sent is shown as it is up to this
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
        self.note_sent(octets if shown is None else shown.encode("ascii") + b"\r\n")
        await self.write_content(octets)

    def note_sent(self, lines: bytes) -> None:
        """The dialogue says that `lines` were sent."""
        text = lines.decode("latin-1")
        said = text.split("\r\n")[:-1]
        if len(text) > MAX_PLAIN_OCTETS or "\\" in text or not "".join(said).isprintable() or not text.isascii():
            said = [printable(line) for line in said]
        self._note(["C: " + line for line in said])

    async def write_content(self, octets: bytes) -> None:
        """The same without a trace in the dialogue."""
        left = min(self.timeouts.block, self._ends_at - self._clock.monotonic())
        if left <= 0:
            raise ConnectError("the peer did not take our octets in time")
        try:
            await self.stream.write(octets, left)
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
        now = self._clock.monotonic()
        ends_at = min(now + self.timeouts.answer_to(step), self._ends_at)
        while True:
            if ends_at <= now:
                raise ConnectError("the peer did not answer in time")
            octets = await self.stream.read(ends_at - now)
            if not octets:
                raise ConnectError("the peer closed the connection without an answer")
            self.session.feed(octets)
            if (answer := self.session.next_answer()) is not None:
                return answer
            now = self._clock.monotonic()

    async def last_words(self) -> Answer | None:
        """An answer that came before the connection broke: a peer that refuses in mid-content says why, and closes."""
        ends_at = min(self._clock.monotonic() + _LAST_WORDS, self._ends_at)
        try:
            while (answer := self.session.next_answer()) is None:
                now = self._clock.monotonic()
                if ends_at <= now or not (octets := await self.stream.read(ends_at - now)):
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

    def _hear(self, reply: Reply) -> None:
        intro = f"{reply.code} {reply.esc} " if reply.esc else f"{reply.code} "
        text = reply.text  # printable already
        self._note([f"S: {intro}{line}" for line in text.split("\n")] if "\n" in text else [f"S: {intro}{text}"])

    def _note(self, lines: list[str]) -> None:
        room = MAX_DIALOGUE_LINES - len(self._dialogue)
        if room >= 0:
            self._dialogue.extend(lines[:room])
            if len(lines) > room:
                self._dialogue.append(f"... (more than {MAX_DIALOGUE_LINES} lines)")
