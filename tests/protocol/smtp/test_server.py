"""The order of a session: every command in every state, and the dialogues in which order matters."""

from __future__ import annotations

import pytest
from tests.protocol.smtp.conversation import OFFER, Server, talk

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.protocol.errors import LocalProtocolError
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
    Malformed,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xclient,
)
from gatepost.protocol.smtp.extensions import Offer
from gatepost.protocol.smtp.server import Ask, Send, ServerSession, Take
from gatepost.protocol.smtp.server_states import State
from gatepost.protocol.smtp.xclient import XclientAttributes

OK = Reply(250, "2.0.0", "Ok")
ADA = Recipient(Path("ada", "example.org"))
BOB = Recipient(Path("bob", "example.org"))
EVERY_COMMAND: dict[str, Command] = {
    "HELO": Helo("c.example.net"),
    "EHLO": Ehlo("c.example.net"),
    "LHLO": Lhlo("c.example.net"),
    "MAIL": Mail(Path("eve", "example.net")),
    "RCPT": Rcpt(ADA),
    "DATA": Data(),
    "BDAT": Bdat(3, False),
    "RSET": Rset(),
    "NOOP": Noop(),
    "QUIT": Quit(),
    "VRFY": Vrfy("ada"),
    "EXPN": Expn("staff"),
    "HELP": Help(),
    "STARTTLS": StartTls(),
    "AUTH": Auth("PLAIN", b"\0a\0b"),
    "XCLIENT": Xclient(XclientAttributes()),
    "response": AuthResponse(b"\0a\0b"),
    "dot": EndOfData(),
    "chunk": EndOfChunk(False),
    "last": EndOfChunk(True),
}
POSITIVE = {"DATA": 354, "QUIT": 221, "STARTTLS": 220, "AUTH": 235, "response": 235, "XCLIENT": 220}

# What an accepted command leads to; 503: bad sequence; no: the driver's mistake, never the peer's.
TABLE = """
            CONNECTED READY     AUTH  MAIL  RCPT  DATA  CHUNK BDAT
HELO        READY     READY     503   READY READY 503   503   503
EHLO        READY     READY     503   READY READY 503   503   503
LHLO        READY     READY     503   READY READY 503   503   503
MAIL        503       MAIL      503   503   503   503   503   503
RCPT        503       503       503   RCPT  RCPT  503   503   503
DATA        503       503       503   503   DATA  503   503   503
BDAT        swallow   swallow   -     swallow CHUNK -   -     CHUNK
RSET        CONNECTED READY     503   READY READY 503   503   READY
NOOP        CONNECTED READY     503   MAIL  RCPT  503   503   BDAT
QUIT        CLOSED    CLOSED    503   CLOSED CLOSED 503 503   CLOSED
VRFY        CONNECTED READY     503   MAIL  RCPT  503   503   503
EXPN        CONNECTED READY     503   MAIL  RCPT  503   503   503
HELP        CONNECTED READY     503   MAIL  RCPT  503   503   503
STARTTLS    503       STARTTLS  503   503   503   503   503   503
AUTH        503       READY     503   503   503   503   503   503
XCLIENT     CONNECTED CONNECTED 503   503   503   503   503   503
response    503       503       READY 503   503   503   503   503
dot         no        no        no    no    no    READY no    no
chunk       no        no        no    no    no    no    BDAT  no
last        no        no        no    no    no    no    READY no
"""
# A command refused by a decision leaves the state as it is, but these.
AFTER_REFUSAL = {("AUTH", "response"): "READY", ("DATA", "dot"): "READY", ("CHUNK", "chunk"): "READY"}
AFTER_REFUSAL |= {("CHUNK", "last"): "READY"}


def _cells() -> list[tuple[str, str, str]]:
    header, *rows = TABLE.strip().split("\n")
    states = header.split()
    cells = []
    for row in rows:
        verb, *expected = row.split()
        cells += [(state, verb, what) for state, what in zip(states, expected, strict=True)]
    return cells


def _session_in(state: str) -> ServerSession:
    session = ServerSession()

    def accept(command: Command, code: int = 250) -> None:
        assert isinstance(session.receive(command), Ask)
        session.answer(Reply(code, "", "Ok"))

    steps: dict[str, list[tuple[Command, int]]] = {
        "CONNECTED": [],
        "READY": [(Ehlo("c"), 250)],
        "AUTH": [(Ehlo("c"), 250), (Auth("PLAIN"), 334)],
        "MAIL": [(Ehlo("c"), 250), (Mail(Path("eve", "example.net")), 250)],
        "RCPT": [(Ehlo("c"), 250), (Mail(Path("eve", "example.net")), 250), (Rcpt(ADA), 250)],
    }
    steps["DATA"] = [*steps["RCPT"], (Data(), 354)]
    for command, code in steps.get(state, steps["RCPT"]):
        accept(command, code)
    if state in ("CHUNK", "BDAT"):
        assert isinstance(session.receive(Bdat(1, False)), Take)
        if state == "BDAT":
            accept(EndOfChunk(False))
    assert session.state is State[state]
    return session


def test_the_table_of_expectations_has_every_command_in_every_state() -> None:
    cells = _cells()
    states = {state.name for state in State} - {"STARTTLS", "CLOSED"}
    assert {(state, verb) for state, verb, _ in cells} == {(s, v) for s in states for v in EVERY_COMMAND}


@pytest.mark.parametrize(("state", "verb", "expected"), _cells())
def test_every_command_in_every_state(state: str, verb: str, expected: str) -> None:
    session = _session_in(state)
    command = EVERY_COMMAND[verb]
    if expected == "no":
        with pytest.raises(LocalProtocolError):
            session.receive(command)
        return
    action = session.receive(command)
    if expected == "503":
        assert isinstance(action, Send)
        assert [(reply.code, reply.esc) for reply in action.replies] == [(503, "5.5.1")]
        assert session.state is State[state]
    elif expected in ("swallow", "-"):  # "-": no BDAT can be read in these states, the content is not over
        assert action == Take(Bdat(3, False), begins=True)
        assert session.state is State[state]
        if expected == "swallow":
            end = session.receive(EndOfChunk(False))
            assert isinstance(end, Send)
            assert end.replies[0].code == 503
    elif isinstance(action, Take):
        assert session.state is State[expected]
    else:
        assert action == Ask(command)
        session.answer(Reply(POSITIVE.get(verb, 250), "", "Ok"))
        assert session.state is State[expected]


@pytest.mark.parametrize(("state", "verb", "expected"), [c for c in _cells() if c[2] not in ("503", "no", "swallow")])
def test_a_refused_command_changes_nothing_but_ends_content(state: str, verb: str, expected: str) -> None:
    if verb == "BDAT":
        return  # it is decided at the end of its chunk
    session = _session_in(state)
    session.receive(EVERY_COMMAND[verb])
    envelope = session.envelope
    session.answer(Reply(450, "4.3.0", "Not now"))
    after = AFTER_REFUSAL.get((state, verb), state)
    assert session.state is State[after]
    assert session.envelope == (envelope if after == state else Envelope())


@pytest.mark.parametrize("state", ["CONNECTED", "READY", "AUTH", "MAIL", "RCPT", "BDAT"])
def test_a_malformed_line_gets_its_reply_and_changes_nothing_but_ends_auth(state: str) -> None:
    session = _session_in(state)
    reply = Reply(501, "5.5.4", "Syntax")
    assert session.receive(Malformed("RCPT", reply, "why")) == Send((reply,))
    assert session.state is (State.READY if state == "AUTH" else State[state])


def test_a_fatal_line_closes_the_session() -> None:
    session = _session_in("RCPT")
    session.receive(Malformed("", Reply(500, "5.5.2", "Lines"), "bare LF", is_fatal=True))
    assert session.is_closed
    with pytest.raises(LocalProtocolError):
        session.receive(Noop())


@pytest.mark.parametrize("state", ["CONNECTED", "READY", "MAIL", "RCPT", "DATA", "BDAT"])
def test_a_421_closes_the_session_wherever_it_is_said(state: str) -> None:
    session = _session_in(state)
    if state == "DATA":
        session.receive(EndOfData())
    else:
        session.receive(Noop())
    session.answer(Reply(421, "4.3.2", "Shutting down"))
    assert session.is_closed
    assert session.envelope == Envelope()


def test_close_ends_a_session_that_waits_for_an_answer() -> None:
    session = _session_in("RCPT")
    session.receive(Data())
    assert session.close(Reply(421, "4.4.2", "Timeout")).encode() == b"421 4.4.2 Timeout\r\n"
    assert session.is_closed


def test_one_command_at_a_time_waits_for_an_answer() -> None:
    session = ServerSession()
    session.receive(Noop())
    with pytest.raises(LocalProtocolError, match="Noop is unanswered"):
        session.receive(Noop())
    session.answer(OK)
    with pytest.raises(LocalProtocolError, match="receive"):
        session.answer(OK)


def test_334_is_no_answer_but_to_auth() -> None:
    session = ServerSession()
    session.receive(Noop())
    with pytest.raises(LocalProtocolError, match="334"):
        session.answer(Reply(334, "", ""))


def test_the_envelope_is_what_was_accepted() -> None:
    session = ServerSession()
    for command, reply in (
        (Ehlo("c"), OK),
        (Mail(Path("eve", "example.net"), 77, "8BITMIME", True, "HDRS", "id 1"), OK),
        (Rcpt(ADA), OK),
        (Rcpt(Recipient(Path("nobody", "example.org"))), Reply(550, "5.1.1", "No such user")),
        (Rcpt(BOB), OK),
    ):
        session.receive(command)
        session.answer(reply)
    expected = Envelope(Path("eve", "example.net"), (ADA, BOB), "8BITMIME", True, 77, "HDRS", "id 1")
    assert session.envelope == expected
    assert session.recipients == 2
    session.receive(Data())
    session.answer(Reply(354, "", "Go"))
    session.receive(EndOfData())
    assert session.envelope == expected  # the decision about the content needs it
    session.answer(OK)
    assert session.envelope == Envelope()


@pytest.mark.parametrize("verb", ["RSET", "EHLO", "HELO"])
def test_a_reset_forgets_the_transaction(verb: str) -> None:
    session = _session_in("RCPT")
    session.receive(EVERY_COMMAND[verb])
    session.answer(OK)
    assert (session.envelope, session.recipients, session.mail) == (Envelope(), 0, None)
    assert not session.in_transaction


def test_an_unacceptable_ehlo_keeps_greeting_and_transaction() -> None:
    session = _session_in("RCPT")
    session.receive(Ehlo("mx.example.org"))
    session.answer(Reply(550, "5.7.1", "That is me"))
    assert session.greeted_with == Ehlo("c")
    assert session.recipients == 1


def test_starttls_forgets_all_that_was_said_in_clear() -> None:
    session = _session_in("READY")
    session.receive(Auth("PLAIN", b"x"))
    session.answer(Reply(235, "2.7.0", "Welcome"))
    session.receive(StartTls())
    session.answer(Reply(220, "2.0.0", "Go ahead"))
    with pytest.raises(LocalProtocolError):
        session.receive(Ehlo("too.early.example.net"))
    session.tls_started()
    assert session.state is State.CONNECTED
    assert (session.greeted_with, session.extended, session.is_authenticated) == (None, False, False)
    assert session.is_tls
    session.receive(Ehlo("c"))
    session.answer(OK)
    again = session.receive(StartTls())
    assert isinstance(again, Send)
    assert again.replies[0].code == 503


def test_a_refused_starttls_keeps_the_session_in_clear() -> None:
    session = _session_in("READY")
    session.receive(StartTls())
    session.answer(Reply(454, "4.7.0", "TLS is not available"))
    assert (session.state, session.is_tls, session.extended) == (State.READY, False, True)
    with pytest.raises(LocalProtocolError):
        session.tls_started()


def test_xclient_begins_the_session_anew_and_sets_no_login() -> None:
    session = _session_in("READY")
    session.receive(Auth("PLAIN", b"x"))
    session.answer(Reply(235, "2.7.0", "Welcome"))
    session.receive(Xclient(XclientAttributes(addr="192.0.2.7")))
    session.answer(Reply(220, "", "mx.example.org ESMTP"))
    assert (session.state, session.greeted_with, session.is_authenticated) == (State.CONNECTED, None, False)


@pytest.mark.parametrize("command", [StartTls(), Auth("PLAIN", b"x")])
def test_extensions_need_ehlo(command: Command) -> None:
    session = ServerSession()
    session.receive(Helo("c"))
    session.answer(OK)
    action = session.receive(command)
    assert isinstance(action, Send)
    assert action.replies[0].code == 503


def test_utf8_recipient_needs_smtputf8_at_mail() -> None:
    jose = Rcpt(Recipient(Path("jos\u00e9", "example.org")))
    session = _session_in("MAIL")
    action = session.receive(jose)
    assert isinstance(action, Send)
    assert (action.replies[0].code, action.replies[0].esc) == (553, "5.6.7")
    session.receive(Rset())
    session.answer(OK)
    session.receive(Mail(Path("eve", "example.net"), smtputf8=True))
    session.answer(OK)
    assert session.receive(jose) == Ask(jose)


class TestLmtp:
    def _after_two_recipients(self) -> ServerSession:
        session = ServerSession(lmtp=True)
        for command in (Lhlo("c"), Mail(Path("eve", "example.net")), Rcpt(ADA), Rcpt(BOB)):
            session.receive(command)
            session.answer(OK)
        return session

    def test_the_dot_has_one_reply_for_each_recipient(self) -> None:
        session = self._after_two_recipients()
        session.receive(Data())
        session.answer(Reply(354, "", "Go"))
        session.receive(EndOfData())
        with pytest.raises(LocalProtocolError, match="2 replies"):
            session.answer((OK,))
        sent = session.answer((OK, Reply(452, "4.2.2", "Full")))
        assert sent.encode() == b"250 2.0.0 Ok\r\n452 4.2.2 Full\r\n"
        assert session.state is State.READY

    def test_a_single_reply_is_repeated(self) -> None:
        session = self._after_two_recipients()
        session.receive(Bdat(1, True))
        session.receive(EndOfChunk(True))
        assert session.answer(Reply(552, "5.3.4", "Too big")).encode() == b"552 5.3.4 Too big\r\n" * 2
        assert session.envelope == Envelope()

    def test_chunks_before_the_last_have_one_reply(self) -> None:
        session = self._after_two_recipients()
        session.receive(Bdat(1, False))
        session.receive(EndOfChunk(False))
        assert session.answer(OK).encode() == b"250 2.0.0 Ok\r\n"

    def test_421_is_said_once(self) -> None:
        session = self._after_two_recipients()
        session.receive(Data())
        session.answer(Reply(354, "", "Go"))
        session.receive(EndOfData())
        assert session.answer(Reply(421, "4.3.2", "Down")).encode() == b"421 4.3.2 Down\r\n"
        assert session.is_closed

    def test_dialogue(self) -> None:
        talk(
            """
            S: 220 mx.example.org LMTP
            C: EHLO c.example.net
            S: 500 5.5.2 Command not recognized
            C: HELO c.example.net
            S: 500 5.5.2 Command not recognized
            C: LHLO c.example.net
            C: MAIL FROM:<eve@example.net>
            S: 250 2.0.0 Ok
            C: DATA
            S: 503 5.5.1 Bad sequence of commands: no valid recipients
            C: RCPT TO:<ada@example.org>
            C: RCPT TO:<bob@example.org>
            C: DATA
            S: 250 2.0.0 Ok
            S: 250 2.0.0 Ok
            S: 354 Go ahead
            C: x
            C: .
            S: 250 2.0.0 Kept
            S: 250 2.0.0 Kept
            """,
            Server(Offer("mx.example.org", lmtp=True)),
        )


def test_rcpt_before_mail_is_refused_and_the_session_goes_on() -> None:
    server = talk("""
        S: 220 mx.example.org ESMTP
        C: EHLO client.example.net
        C: RCPT TO:<ada@example.org>
        S: 503 5.5.1 Bad sequence of commands
        C: MAIL FROM:<bob@example.net>
        S: 250 2.0.0 Ok
        C: DATA
        S: 503 5.5.1 Bad sequence of commands: no valid recipients
        C: RCPT TO:<ada@example.org>
        S: 250 2.0.0 Ok
        C: DATA
        S: 354 Go ahead
        C: Subject: x
        C:
        C: ..dot
        C: .
        S: 250 2.0.0 Kept
    """)
    assert [content for _, content, _ in server.messages] == [b"Subject: x\r\n\r\n.dot\r\n"]


def test_a_pipelined_group_is_answered_in_order() -> None:
    talk("""
        S: 220 mx.example.org ESMTP
        C: EHLO client.example.net
        C: MAIL FROM:<bob@example.net>
        C: RCPT TO:<ada@example.org
        C: RCPT TO:<ada@example.org>
        C: NOOP
        C: QUIT
        C: NOOP
        S: 250 2.0.0 Ok
        S: 501 5.1.3 Bad address syntax: the closing angle bracket is missing or misplaced
        S: 250 2.0.0 Ok
        S: 250 2.0.0 Ok
        S: 221 2.0.0 Bye
    """)


def test_mail_before_any_greeting_is_refused() -> None:
    talk("""
        S: 220 mx.example.org ESMTP
        C: MAIL FROM:<bob@example.net>
        S: 503 5.5.1 Bad sequence of commands: greet with EHLO or HELO first
        C: HELO old
        S: 250 mx.example.org
        C: MAIL FROM:<bob@example.net> SIZE=10
        S: 555 5.5.4 Parameter SIZE not recognized or not implemented
        C: MAIL FROM:<bob@example.net>
        S: 250 2.0.0 Ok
    """)


def test_auth_with_a_challenge_and_cancellation() -> None:
    talk("""
        S: 220 mx.example.org ESMTP
        C: EHLO client.example.net
        C: AUTH PLAIN
        S: 334
        C: *
        S: 501 5.7.0 Authentication cancelled
        C: AUTH PLAIN
        S: 334
        C: not base64!
        S: 501 5.5.2 Cannot decode the response
        C: NOOP
        S: 250 2.0.0 Ok
        C: AUTH PLAIN
        S: 334
        C: AGEAYg==
        S: 235 2.7.0 Welcome
        C: AUTH PLAIN
        S: 503 5.5.1 Already authenticated
        C: MAIL FROM:<bob@example.net>
        S: 250 2.0.0 Ok
        C: AUTH PLAIN
        S: 503 5.5.1 Bad sequence of commands
    """)


def _up_to_rcpt() -> Server:
    server = Server()
    server.say(b"EHLO c\r\nMAIL FROM:<eve@example.net>\r\nRCPT TO:<ada@example.org>\r\n")
    server.said = b""
    return server


def test_chunks_make_one_message_and_data_is_not_mixed_in() -> None:
    server = _up_to_rcpt()
    server.say(
        b"BDAT 4\r\nab\r\nDATA\r\nRCPT TO:<bob@example.org>\r\nNOOP\r\nBDAT 6 LAST\r\n.\r\nc\r\nMAIL FROM:<>\r\n"
    )
    assert [line[:9] for line in server.said.split(b"\r\n")] == [
        *(b"250 2.0.0", b"503 5.5.1", b"503 5.5.1", b"250 2.0.0", b"250 2.0.0", b"250 2.0.0", b"")
    ]
    assert [content for _, content, _ in server.messages] == [b"ab\r\n.\r\nc\r\n"]


def test_rset_between_chunks_forgets_them() -> None:
    server = _up_to_rcpt()
    server.say(b"BDAT 4\r\nab\nxRSET\r\nMAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\nBDAT 3 LAST\r\nc\r\n")
    assert [(content, end.octets, end.defects) for _, content, end in server.messages] == [(b"c\r\n", 3, ())]


def test_the_octets_of_a_refused_chunk_are_never_commands() -> None:
    """An attacker saw: BDAT in the wrong place, and the lines of its chunk obeyed as commands."""
    server = Server()
    server.say(b"EHLO c\r\nBDAT 27 LAST\r\nMAIL FROM:<x@example.net>\r\nNOOP\r\n")
    assert server.session.mail is None
    assert server.said.endswith(b"503 5.5.1 Bad sequence of commands\r\n250 2.0.0 Ok\r\n")


def test_a_refused_chunk_ends_its_message_and_the_pipelined_rest_is_swallowed() -> None:
    server = Server(refuse={EndOfChunk: Reply(552, "5.3.4", "Too big")})
    server.say(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\n")
    server.said = b""
    server.say(b"BDAT 5\r\nNOOP\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert [line[:3] for line in server.said.split(b"\r\n")] == [b"552", b"503", b"250", b""]
    assert server.messages == []


def test_bdat_after_helo_is_refused_with_its_chunk_unread() -> None:
    """HELO offers nothing, so what follows BDAT is unknown: the connection closes."""
    server = Server(OFFER)
    server.say(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\nBDAT 6 LAST\r\nQUIT\r\n")
    assert server.session.is_closed
    assert server.said.endswith(b"502 5.5.1 Command not implemented\r\n")
