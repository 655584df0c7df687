"""The order of a session: every command in every state, and what STLS, UTF8, marks and misuse do."""

from __future__ import annotations

import pytest

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.pop3 import commands
from gatepost.protocol.pop3.capabilities import Offer
from gatepost.protocol.pop3.commands import (
    Auth,
    AuthResponse,
    Capa,
    Command,
    Dele,
    Lang,
    List,
    Mechanisms,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    Utf8,
)
from gatepost.protocol.pop3.listing import Listing
from gatepost.protocol.pop3.replies import err, ok
from gatepost.protocol.pop3.server import Ask, Send, ServerSession, State

OFFER = Offer(login=True, mechanisms=("PLAIN",), stls=True)
EXAMPLES: dict[type[Command], Command] = {
    type(command): command
    for command in (
        *(Capa(), User("ada@example.org"), Pass("secret"), Auth("PLAIN", None), Mechanisms(), AuthResponse(b"")),
        *(Stls(), Utf8(), Lang(None), Stat(), List(1), Uidl(None), Retr(1), Top(1, 0), Dele(1), Rset(), Noop(), Quit()),
    )
}


def session_in(state: State) -> ServerSession:
    """Led there by commands, as a peer does it."""
    session = ServerSession(OFFER)

    def say(command: Command, accepted: bool = True) -> None:
        if isinstance(session.receive(command), Ask):
            session.answer(ok() if accepted else err("no"))

    match state:
        case State.NAMED:
            say(User("ada@example.org"))
        case State.SASL:
            session.receive(Auth("PLAIN", None))
            session.challenge()
        case State.STLS:
            say(Stls())
        case State.TRANSACTION | State.UPDATE:
            say(User("ada@example.org"))
            say(Pass("secret"))
            session.listing = Listing(("a", "b", "c"), (10, 20, 30))
            if state is State.UPDATE:
                say(Quit())
        case State.CLOSED:
            say(Quit())
    assert session.state is state
    return session


# By state: the command, then the state after a yes and after a no. What is not named is refused and changes nothing.
S = State
BEFORE = {
    Capa: (S.AUTHORIZATION, None),
    Mechanisms: (S.AUTHORIZATION, None),
    Utf8: (S.AUTHORIZATION, None),
    Lang: (S.AUTHORIZATION, None),
    User: (S.NAMED, S.AUTHORIZATION),
    Auth: (S.TRANSACTION, S.AUTHORIZATION),
    Stls: (S.STLS, S.AUTHORIZATION),
    Quit: (S.CLOSED, S.AUTHORIZATION),
}
EXPECTED: dict[State, dict[type[Command], tuple[State, State | None]]] = {
    S.AUTHORIZATION: BEFORE,
    S.NAMED: {**BEFORE, Pass: (S.TRANSACTION, S.AUTHORIZATION)},
    S.SASL: {AuthResponse: (S.TRANSACTION, S.AUTHORIZATION)},
    S.STLS: {},
    S.TRANSACTION: {
        Capa: (S.TRANSACTION, None),
        Lang: (S.TRANSACTION, None),
        Stat: (S.TRANSACTION, None),
        List: (S.TRANSACTION, None),
        Uidl: (S.TRANSACTION, None),
        Retr: (S.TRANSACTION, S.TRANSACTION),
        Top: (S.TRANSACTION, S.TRANSACTION),
        Dele: (S.TRANSACTION, None),
        Rset: (S.TRANSACTION, None),
        Noop: (S.TRANSACTION, None),
        Quit: (S.UPDATE, S.UPDATE),
    },
    S.UPDATE: {},
    S.CLOSED: {},
}
CASES = [(state, command) for state in State for command in commands.ALL]


def test_the_table_covers_every_state_and_every_command() -> None:
    assert set(EXPECTED) == set(State)
    assert set(EXAMPLES) == set(commands.ALL)


@pytest.mark.parametrize(("state", "kind"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_every_command_in_every_state(state: State, kind: type[Command]) -> None:
    expected = EXPECTED[state].get(kind)
    session = session_in(state)
    action = session.receive(EXAMPLES[kind])
    if expected is None:
        assert isinstance(action, Send)
        assert not action.reply.is_positive
        assert session.state is state
        return
    accepted, refused = expected
    assert isinstance(action, Ask) is (refused is not None)
    if isinstance(action, Send):
        assert action.reply.is_positive
    else:
        assert session.answer(ok()).reply == ok()
    assert session.state is accepted
    if refused is not None:
        session = session_in(state)
        session.receive(EXAMPLES[kind])
        session.answer(err("no"))
        assert session.state is refused


def sent(session: ServerSession, command: Command) -> bytes:
    action = session.receive(command)
    assert isinstance(action, Send)
    return action.reply.encode() + b"".join(action.lines or ())


def test_a_second_command_before_the_answer_is_our_own_mistake() -> None:
    session = session_in(State.AUTHORIZATION)
    session.receive(User("ada@example.org"))
    with pytest.raises(LocalProtocolError, match="unanswered"):
        session.receive(Quit())


def test_an_answer_without_a_command_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        session_in(State.AUTHORIZATION).answer(ok())
    with pytest.raises(LocalProtocolError):
        session_in(State.AUTHORIZATION).tls_started()


def test_only_a_login_has_a_challenge() -> None:
    session = session_in(State.AUTHORIZATION)
    session.receive(Quit())
    with pytest.raises(LocalProtocolError):
        session.challenge()


def test_a_challenge_may_follow_a_challenge() -> None:
    session = session_in(State.SASL)
    session.receive(AuthResponse(b"YQ=="))
    session.challenge()
    session.receive(AuthResponse(b"YQ=="))
    session.answer(ok())
    assert session.state is State.TRANSACTION


@pytest.mark.parametrize("between", [Capa(), Utf8(), Lang("en"), Mechanisms()])
def test_pass_comes_right_after_user(between: Command) -> None:
    session = session_in(State.NAMED)
    session.receive(between)
    assert sent(session, Pass("secret")) == b"-ERR USER comes first\r\n"


def test_stls_forgets_what_was_said_in_clear() -> None:
    session = session_in(State.NAMED)
    session.receive(Stls())
    session.answer(ok())
    session.tls_started()
    assert session.state is State.AUTHORIZATION
    assert not sent(session, Pass("secret")).startswith(b"+OK")


def test_stls_is_refused_where_tls_cannot_start_or_utf8_was_said() -> None:
    session = ServerSession(Offer(login=True))
    assert sent(session, Stls()).startswith(b"-ERR TLS cannot be started")
    session = session_in(State.AUTHORIZATION)
    assert sent(session, Utf8()).startswith(b"+OK")
    assert session.has_utf8
    assert sent(session, Stls()).startswith(b"-ERR STLS comes before UTF8")


def test_capa_lists_the_offer() -> None:
    assert b"\r\nSASL PLAIN\r\n" in sent(session_in(State.AUTHORIZATION), Capa())
    assert b"\r\nSASL PLAIN\r\n" in sent(session_in(State.TRANSACTION), Capa())


def test_numbers_and_sizes_are_told() -> None:
    session = session_in(State.TRANSACTION)
    assert sent(session, Stat()) == b"+OK 3 60\r\n"
    assert sent(session, List(None)) == b"+OK 3 messages (60 octets)\r\n1 10\r\n2 20\r\n3 30\r\n.\r\n"
    assert sent(session, List(2)) == b"+OK 2 20\r\n"
    assert sent(session, Uidl(None)) == b"+OK Unique IDs follow\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n"
    assert sent(session, Uidl(3)) == b"+OK 3 c\r\n"


def test_a_marked_message_is_as_good_as_gone_until_rset() -> None:
    session = session_in(State.TRANSACTION)
    assert sent(session, Dele(2)).startswith(b"+OK")
    assert sent(session, Stat()) == b"+OK 2 40\r\n"
    assert sent(session, List(None)).endswith(b"\r\n1 10\r\n3 30\r\n.\r\n")
    assert sent(session, Uidl(None)).endswith(b"\r\n1 a\r\n3 c\r\n.\r\n")
    for command in (Dele(2), Retr(2), Top(2, 0), List(2), Uidl(2)):
        assert sent(session, command) == b"-ERR There is no such message\r\n"
    assert list(session.listing.marked) == [1]
    assert sent(session, Rset()) == b"+OK 3 messages (60 octets)\r\n"
    assert not session.listing.marked
    assert isinstance(session.receive(Retr(2)), Ask)


@pytest.mark.parametrize("number", [0, 4, 9999999999])
@pytest.mark.parametrize("kind", [Retr, Dele, List, Uidl])
def test_a_number_that_nobody_has_is_refused(kind: type[Command], number: int) -> None:
    session = session_in(State.TRANSACTION)
    assert sent(session, kind(number)) == b"-ERR There is no such message\r\n"


def test_an_empty_maildrop_has_empty_lists() -> None:
    session = session_in(State.TRANSACTION)
    session.listing = Listing((), ())
    assert sent(session, Stat()) == b"+OK 0 0\r\n"
    assert sent(session, List(None)).endswith(b"\r\n.\r\n")
    assert sent(session, Uidl(None)) == b"+OK Unique IDs follow\r\n.\r\n"


def test_a_long_list_leaves_in_pieces() -> None:
    listing = Listing(["uid"] * 100_000, [1] * 100_000)
    pieces = list(listing.uid_lines())
    assert len(b"".join(pieces).splitlines()) == 100_001
    assert max(map(len, pieces)) < 1 << 16


def test_after_a_fatal_error_nothing_is_legal() -> None:
    session = session_in(State.TRANSACTION)
    session.receive(Retr(1))
    session.close()
    assert session.is_over
    assert isinstance(session.receive(Noop()), Send)
