"""A server without I/O, as the intake driver plays it, for tests: it says yes to all that is legal, but to nobody@."""

from __future__ import annotations

from textwrap import dedent

from gatepost.mail.envelope import Envelope
from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.command_syntax import parse_command
from gatepost.protocol.smtp.commands import (
    Auth,
    AuthResponse,
    Command,
    Data,
    Ehlo,
    EndOfChunk,
    EndOfData,
    Helo,
    Lhlo,
    Malformed,
    Quit,
    Rcpt,
    StartTls,
    Xclient,
)
from gatepost.protocol.smtp.extensions import Offer
from gatepost.protocol.smtp.framing import Content, FramingError, Line, Parser
from gatepost.protocol.smtp.server import Ask, Send, ServerSession, Take

OFFER = Offer("mx.example.org", size_limit_octets=1000, starttls=True, auth=("PLAIN",), xclient=True)


class Server:
    """Feed it octets with `say`; what it answers is in `said`, the messages it took in `messages`."""

    def __init__(self, offer: Offer = OFFER, refuse: dict[type[Command], Reply] | None = None) -> None:
        self.offer = offer
        self.parser = Parser(offer.dialect(extended=True))
        self.session = ServerSession(lmtp=offer.lmtp)
        self.refuse = refuse or {}
        self.said = offer.greeting().encode()
        self.messages: list[tuple[Envelope, bytes, EndOfData | EndOfChunk]] = []
        self.commands: list[Command | Malformed] = []
        self._content: list[bytes] = []

    def say(self, octets: bytes) -> None:
        self.parser.feed(octets)
        while not self.session.is_closed and (item := self.parser.next()) is not None:
            if isinstance(item, Content):
                if self.session.takes_content:
                    self._content.append(item.octets)
                continue
            command = parse_command(item.octets, self._dialect()) if isinstance(item, Line) else item
            self.commands.append(command)
            action = self.session.receive(command)
            if isinstance(action, Take):
                self.parser.expect_chunk(action.command.octets, last=action.command.last, begins=action.begins)
                if action.begins:
                    self._content.clear()
                continue
            sent = self.session.answer(self._decide(action.command)) if isinstance(action, Ask) else action
            assert isinstance(sent, Send)
            self.said += sent.encode()
            if isinstance(item, FramingError):
                assert self.session.is_closed

    def _dialect(self):  # type: ignore[no-untyped-def]
        session = self.session
        return self.offer.dialect(extended=session.greeted_with is None or session.extended)

    def _decide(self, command: Command) -> Reply:
        if type(command) in self.refuse:
            return self.refuse[type(command)]
        if isinstance(command, Rcpt) and command.recipient.path.local_part == "nobody":
            return Reply(550, "5.1.1", "No such user")
        if isinstance(command, Helo):
            return self.offer.helo_reply()
        if isinstance(command, Ehlo | Lhlo):
            return self.offer.ehlo_reply()
        if isinstance(command, Data):
            self._content.clear()
            self.parser.expect_content()
            return Reply(354, "", "Go ahead")
        if isinstance(command, Auth) and command.initial is None:
            self.parser.expect_response()
            return Reply(334, "", "")
        if isinstance(command, Auth | AuthResponse):
            return Reply(235, "2.7.0", "Welcome")
        if isinstance(command, StartTls):
            self.parser.drop_read_ahead()
            return Reply(220, "2.0.0", "Go ahead")
        if isinstance(command, Xclient):
            return self.offer.greeting()
        if isinstance(command, Quit):
            return Reply(221, "2.0.0", "Bye")
        if isinstance(command, EndOfData | EndOfChunk):
            return self._end(command)
        return Reply(250, "2.0.0", "Ok")

    def _end(self, command: EndOfData | EndOfChunk) -> Reply:
        if isinstance(command, EndOfChunk) and not command.last:
            return Reply(250, "2.0.0", "Go on")
        if command.defects:
            return Reply(550, "5.6.0", " ".join(command.defects))
        self.messages.append((self.session.envelope, b"".join(self._content), command))
        return Reply(250, "2.0.0", "Kept")


def talk(transcript: str, server: Server | None = None) -> Server:
    """Plays the `C:` lines and compares each `S:` line; a group of `C:` lines leaves in one piece, pipelined.

    An `S:` line stands for a whole reply line, of an EHLO answer for its first line only.
    """
    server = server or Server()
    said: list[str] = []
    pending: list[bytes] = []
    expected: list[str] = []

    def exchange() -> None:
        if pending:
            server.say(b"".join(pending))
            pending.clear()
        said.extend(line.rstrip() for line in server.said.decode("ascii").split("\r\n") if line)
        server.said = b""
        shown = [line for line in said if not line.startswith("250-") and not _is_last_keyword(line)]
        assert shown[: len(expected)] == expected
        assert len(shown) == len(expected), f"said beyond the transcript: {shown[len(expected) :]}"

    previous = "S"
    for line in dedent(transcript).strip().split("\n"):
        side, text = line[0], line[3:]
        if side == "C":
            if previous == "S":
                exchange()
            pending.append(text.encode() + b"\r\n")
        else:
            expected.append(text)
        previous = side
    exchange()
    return server


def _is_last_keyword(line: str) -> bool:
    return line.startswith("250 ") and line.split(" ")[1].isupper()
