from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.sasl.test_scram import END_POINT, OF_VECTOR, VECTOR

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.exchange import (
    Exchange,
    decode_initial,
    decode_line,
    encode,
    failure_reply,
)
from gatepost.protocol.sasl.mechanism import Action, Challenge, Failure, NeedsPassword, NeedsVerifiers, Success
from gatepost.protocol.sasl.server import offered_mechanisms, server_mechanism


def exchange(name: str, nonce: str = "abc", end_point: bytes = b"") -> Exchange:
    mechanism = server_mechanism(name, nonce=nonce, end_point=end_point)
    assert mechanism is not None
    return Exchange(mechanism)


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode())


def line(action: Action) -> bytes:
    assert isinstance(action, Challenge)
    return encode(action)


def test_plain_in_one_line() -> None:
    talk = exchange("PLAIN")
    assert talk.begin(b"\0ada\0secret") == NeedsPassword("ada", "secret")
    assert not talk.is_over
    assert talk.checked(True) == Success("ada")
    assert talk.is_over


def test_plain_without_initial_response_is_asked_for_it_with_an_empty_challenge() -> None:
    talk = exchange("PLAIN")
    assert line(talk.begin(None)) == b""
    assert talk.feed(b64("\0ada\0secret")) == NeedsPassword("ada", "secret")


def test_login_asks_in_base64_as_old_clients_expect() -> None:
    talk = exchange("LOGIN")
    assert line(talk.begin(None)) == b"VXNlcm5hbWU6"
    assert line(talk.feed(b64("ada"))) == b"UGFzc3dvcmQ6"
    assert talk.feed(b64("secret")) == NeedsPassword("ada", "secret")
    assert isinstance(talk.checked(False), Failure)
    assert talk.is_over


def test_scram_ends_with_our_proof_and_an_empty_line() -> None:
    talk = exchange("SCRAM-SHA-256", VECTOR["server_nonce"])
    assert talk.begin(VECTOR["client_first"].encode()) == NeedsVerifiers("user")
    assert line(talk.supply([OF_VECTOR])) == b64(VECTOR["server_first"])
    assert line(talk.feed(b64(VECTOR["client_final"]))) == b64(VECTOR["server_final"])
    assert not talk.is_over
    assert talk.feed(b"") == Success("user", b"", 0)
    assert talk.is_over


def test_scram_cancelled_after_our_proof_logs_nobody_in() -> None:
    for last in (b"*", b64("more")):
        talk = exchange("SCRAM-SHA-256", VECTOR["server_nonce"])
        talk.begin(VECTOR["client_first"].encode())
        talk.supply([OF_VECTOR])
        talk.feed(b64(VECTOR["client_final"]))
        assert isinstance(talk.feed(last), Failure)
        assert talk.is_over


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_an_asterisk_cancels_at_any_challenge(name: str) -> None:
    talk = exchange(name)
    talk.begin(None)
    failure = talk.feed(b"*")
    assert failure == Failure("cancelled", "the client cancelled")
    assert str(failure_reply(failure)) == "501 5.7.0 Authentication cancelled"
    assert talk.is_over


@pytest.mark.parametrize(
    "octets", [b"!!!!", b"YQ", b"YQ=", b"YQ==x", b"=YQ=", b" ", b"\xff\xff\xff\xff", b"**", b"A" * 12_292]
)
def test_what_is_no_base64_ends_the_exchange(octets: bytes) -> None:
    talk = exchange("PLAIN")
    talk.begin(None)
    failure = talk.feed(octets)
    assert isinstance(failure, Failure)
    assert str(failure_reply(failure)) == "501 5.5.2 Authentication response cannot be read"
    assert talk.is_over


def test_a_wrong_password_and_an_unknown_user_read_the_same() -> None:
    assert str(failure_reply(Failure("refused", "whatever", "ada"))) == "535 5.7.8 Authentication credentials invalid"


def test_an_equals_sign_is_an_empty_initial_response() -> None:
    assert decode_initial(b"=") == b""
    assert decode_initial(b"YQ==") == b"a"
    assert decode_initial(b"YQ") is None
    assert decode_line(b"=") is None


def test_calls_out_of_turn_are_our_own_mistake() -> None:
    talk = exchange("PLAIN")
    with pytest.raises(LocalProtocolError):
        talk.feed(b"")
    talk.begin(None)
    with pytest.raises(LocalProtocolError):
        talk.begin(None)
    with pytest.raises(LocalProtocolError):
        talk.checked(True)
    with pytest.raises(LocalProtocolError):
        talk.supply([OF_VECTOR])
    talk.feed(b"*")
    with pytest.raises(LocalProtocolError):
        talk.feed(b64("\0ada\0secret"))


def test_the_strongest_mechanism_comes_first_and_plus_only_with_tls() -> None:
    assert offered_mechanisms(b"") == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    assert offered_mechanisms(END_POINT) == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")


@pytest.mark.parametrize("end_point", [b"", END_POINT])
def test_what_is_offered_can_be_had_and_nothing_else(end_point: bytes) -> None:
    for name in offered_mechanisms(end_point):
        mechanism = server_mechanism(name, nonce="abc", end_point=end_point)
        assert mechanism is not None
        assert mechanism.name == name
    for name in ("CRAM-MD5", "EXTERNAL", "plain", "", *(() if end_point else ("SCRAM-SHA-256-PLUS",))):
        assert server_mechanism(name, nonce="abc", end_point=end_point) is None


def test_scram_under_tls_knows_that_plus_was_offered() -> None:
    failure = exchange("SCRAM-SHA-256", end_point=END_POINT).begin(b"y,,n=ada,r=abc")
    assert isinstance(failure, Failure)
    assert failure.kind == "refused"


LINES = st.lists(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(base64.b64encode)), max_size=6)


@given(name=st.sampled_from(offered_mechanisms(END_POINT)), initial=st.none() | st.binary(max_size=40), lines=LINES)
def test_no_lines_raise_and_every_exchange_ends(name: str, initial: bytes | None, lines: list[bytes]) -> None:
    talk = exchange(name, end_point=END_POINT)
    action = talk.begin(initial)
    for answer in [*lines, b"*"]:
        if isinstance(action, NeedsVerifiers):
            action = talk.supply([OF_VECTOR])
        if isinstance(action, NeedsPassword):
            action = talk.checked(False)
        if talk.is_over:
            break
        action = talk.feed(answer)
    if isinstance(action, NeedsPassword):
        action = talk.checked(False)
    assert isinstance(action, Failure)
