from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.reply import Reply
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.smtp.client import SENT, Answer, ClientSession, State, Step
from gatepost.protocol.smtp.client_replies import PeerOffer, ProtocolError

PIPELINING = b"250-mx.example.org\r\n250 PIPELINING\r\n"
PLAIN = b"250 mx.example.org\r\n"


def answers(session: ClientSession, *pieces: bytes) -> list[Answer]:
    found = []
    for piece in pieces:
        session.feed(piece)
        while (answer := session.next_answer()) is not None:
            found.append(answer)
    return found


def ready(offer: bytes = PLAIN, *, lmtp: bool = False) -> ClientSession:
    session = ClientSession(lmtp=lmtp)
    answers(session, b"220 mx.example.org ESMTP\r\n")
    session.send(Step.EHLO, b"")
    answers(session, offer)
    return session


PATHS: dict[State, list[tuple[Step, bytes]]] = {
    State.GREETED: [],
    State.READY: [(Step.EHLO, PLAIN)],
    State.AUTH: [(Step.EHLO, PLAIN), (Step.AUTH, b"334 \r\n")],
    State.MAIL: [(Step.EHLO, PLAIN), (Step.MAIL, b"250 ok\r\n")],
    State.RCPT: [(Step.EHLO, PLAIN), (Step.MAIL, b"250 ok\r\n"), (Step.RCPT, b"250 ok\r\n")],
    State.DATA: [
        (Step.EHLO, PLAIN),
        (Step.MAIL, b"250 ok\r\n"),
        (Step.RCPT, b"250 ok\r\n"),
        (Step.DATA, b"354 go\r\n"),
    ],
    State.CHUNKS: [
        (Step.EHLO, PLAIN),
        (Step.MAIL, b"250 ok\r\n"),
        (Step.RCPT, b"250 ok\r\n"),
        (Step.CHUNK, b"250 ok\r\n"),
    ],
    State.CLOSED: [(Step.QUIT, b"221 bye\r\n")],
}
# Written out again, not derived: what may be sent in each state.
IN_ORDER = {
    State.CONNECTED: "",
    State.GREETED: "EHLO HELO QUIT",
    State.READY: "STARTTLS AUTH MAIL RSET QUIT",
    State.AUTH: "AUTH",
    State.MAIL: "RCPT RSET QUIT",
    State.RCPT: "RCPT DATA CHUNK LAST_CHUNK RSET QUIT",
    State.DATA: "CONTENT",
    State.CHUNKS: "CHUNK LAST_CHUNK RSET QUIT",
    State.CLOSED: "",
}


def in_state(state: State) -> ClientSession:
    session = ClientSession()
    if state is State.CONNECTED:
        return session
    answers(session, b"220 mx.example.org\r\n")
    for step, reply in PATHS[state]:
        session.send(step, b"")
        answers(session, reply)
    assert session.state is state
    return session


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", Step)
def test_every_command_in_every_state(state: State, step: Step) -> None:
    session = in_state(state)
    if step.name in IN_ORDER[state].split():
        assert session.send(step, b"x") == b"x"
        assert session.state is SENT[state][step]
    else:
        with pytest.raises(LocalProtocolError):
            session.send(step, b"x")
        assert session.state is state


@given(st.lists(st.integers(0, 120), max_size=8))
def test_replies_are_attributed_to_the_right_command_whatever_the_split(places: list[int]) -> None:
    session = ready(PIPELINING)
    session.send(Step.MAIL, b"")
    for number in range(3):
        session.send(Step.RCPT, b"", (number,))
    session.send(Step.DATA, b"")
    octets = b"250 2.1.0 Ok\r\n550-5.1.1 No\r\n550 5.1.1 no\r\n250 2.1.5 Ok\r\n452 4.5.3 Many\r\n354 Go\r\n"
    edges = [0, *sorted(places), len(octets)]
    found = answers(session, *(octets[a:b] for a, b in pairwise(edges)))
    assert [(answer.step, answer.recipient, answer.reply.code) for answer in found] == [
        (Step.MAIL, -1, 250),
        (Step.RCPT, 0, 550),
        (Step.RCPT, 1, 250),
        (Step.RCPT, 2, 452),
        (Step.DATA, -1, 354),
    ]


def test_without_pipelining_nothing_is_sent_ahead() -> None:
    session = ready()
    session.send(Step.MAIL, b"")
    with pytest.raises(LocalProtocolError):
        session.send(Step.RCPT, b"")


def test_nothing_is_sent_behind_data_before_its_answer() -> None:
    session = ready(PIPELINING)
    for step in (Step.MAIL, Step.RCPT, Step.DATA):
        session.send(step, b"")
    with pytest.raises(LocalProtocolError):
        session.send(Step.CONTENT, b"")


@pytest.mark.parametrize("greeting", [b"554 no service\r\n", b"421 busy\r\n"])
def test_a_refused_greeting_leaves_only_quit(greeting: bytes) -> None:
    session = ClientSession()
    assert answers(session, greeting)[0].step is Step.GREETING
    assert not session.may_send(Step.MAIL)


def test_a_421_at_any_time_ends_the_session_and_what_was_outstanding() -> None:
    session = ready(PIPELINING)
    session.send(Step.MAIL, b"")
    session.send(Step.RCPT, b"", (0,))
    found = answers(session, b"250 ok\r\n421 4.3.2 Shutting down\r\n")
    assert [answer.reply.code for answer in found] == [250, 421]
    assert session.state is State.CLOSED
    assert session.waits_for is None
    assert session.closed_by == Reply(421, "4.3.2", "Shutting down")


def test_a_421_to_nothing_ends_the_session_too() -> None:
    session = ready()
    assert answers(session, b"421 4.4.2 Idle\r\n") == []
    assert session.state is State.CLOSED
    assert not session.is_clean


@pytest.mark.parametrize(
    ("step", "octets"),
    [
        (Step.MAIL, b"354 go\r\n"),
        (Step.MAIL, b"334 \r\n"),
        (Step.RSET, b"354 go\r\n"),
        (Step.STARTTLS, b"354 go\r\n"),
    ],
)
def test_a_positive_reply_of_the_wrong_class_is_a_protocol_error(step: Step, octets: bytes) -> None:
    session = ready()
    session.send(step, b"")
    with pytest.raises(ProtocolError):
        answers(session, octets)


def test_250_to_data_is_a_protocol_error() -> None:
    session = in_state(State.RCPT)
    session.send(Step.DATA, b"")
    with pytest.raises(ProtocolError):
        answers(session, b"250 ok\r\n")


def test_a_reply_to_nothing_is_a_protocol_error() -> None:
    session = ready()
    with pytest.raises(ProtocolError):
        answers(session, b"250 surprise\r\n")


@pytest.mark.parametrize("injected", [b"250 ok\r\n", b"2", b"250-mx\r\n"])
def test_octets_in_clear_behind_the_answer_to_starttls_are_an_attack(injected: bytes) -> None:
    """Somebody in the middle who appends replies to the 220 would have them read as if TLS had protected them."""
    session = ready(b"250-mx.example.org\r\n250 STARTTLS\r\n")
    session.send(Step.STARTTLS, b"")
    with pytest.raises(ProtocolError):
        answers(session, b"220 go\r\n" + injected)


def test_starttls_forgets_what_was_offered_in_clear() -> None:
    session = ready(b"250-mx.example.org\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n")
    session.send(Step.STARTTLS, b"")
    answers(session, b"220 go\r\n")
    session.tls_started()
    assert session.offer == PeerOffer()
    assert session.state is State.GREETED


def test_a_refused_starttls_leaves_the_session_ready() -> None:
    session = ready()
    session.send(Step.STARTTLS, b"")
    answers(session, b"454 4.7.0 No TLS today\r\n")
    assert session.is_clean
    with pytest.raises(LocalProtocolError):
        session.tls_started()


def test_ehlo_that_is_refused_may_be_followed_by_helo() -> None:
    session = in_state(State.GREETED)
    session.send(Step.EHLO, b"")
    answers(session, b"502 5.5.1 What\r\n")
    session.send(Step.HELO, b"")
    answers(session, b"250-mx.example.org\r\n250 PIPELINING\r\n")
    assert session.offer == PeerOffer(name="mx.example.org")
    assert session.is_clean


def test_greeting_and_ehlo_have_no_enhanced_code() -> None:
    session = ClientSession()
    assert answers(session, b"220 2.0.0 mx\r\n")[0].reply == Reply(220, "", "2.0.0 mx")


def test_in_lmtp_the_final_dot_has_an_answer_for_each_recipient() -> None:
    session = ready(PIPELINING, lmtp=True)
    session.send(Step.MAIL, b"")
    for number in range(3):
        session.send(Step.RCPT, b"", (number,))
    session.send(Step.DATA, b"")
    answers(session, b"250 ok\r\n" * 4 + b"354 go\r\n")
    session.send(Step.CONTENT, b"", (0, 2))
    found = answers(session, b"250 ok\r\n550 full\r\n")
    assert [(answer.recipient, answer.reply.code) for answer in found] == [(0, 250), (2, 550)]
    assert session.is_clean


def test_only_lmtp_has_many_answers() -> None:
    session = in_state(State.DATA)
    with pytest.raises(LocalProtocolError):
        session.send(Step.CONTENT, b"", (0, 1))


def test_octets_that_wait_unread_make_a_session_unclean() -> None:
    session = ready()
    session.feed(b"25")
    assert session.next_answer() is None
    assert not session.is_clean


def test_a_login_is_known_once_it_is_accepted() -> None:
    session = ready()
    session.send(Step.AUTH, b"")
    answers(session, b"334 dXNlcg==\r\n")
    assert not session.logged_in
    session.send(Step.AUTH, b"")
    answers(session, b"235 2.7.0 Ok\r\n")
    assert session.logged_in
    assert session.is_clean
