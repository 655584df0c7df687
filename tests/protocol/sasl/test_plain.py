from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.mechanism import Challenge, Failure, NeedsPassword, Success
from gatepost.protocol.sasl.plain import Login, Plain


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"\0ada@example.org\0secret", NeedsPassword("ada@example.org", "secret")),
        (b"ada@example.org\0ada@example.org\0secret", NeedsPassword("ada@example.org", "secret")),
        (b"ADA@example.org\0ada@example.org\0secret", NeedsPassword("ada@example.org", "secret")),
        ("\0jörg@example.org\0geheim€".encode(), NeedsPassword("jörg@example.org", "geheim€")),
        (b"\0ada\0 with blanks ", NeedsPassword("ada", " with blanks ")),
    ],
)
def test_plain_asks_for_the_password_it_was_shown(response: bytes, expected: NeedsPassword) -> None:
    assert Plain().step(response) == expected


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (b"", "malformed"),
        (b"ada", "malformed"),
        (b"\0ada", "malformed"),
        (b"\0\0secret", "malformed"),
        (b"\0ada\0", "malformed"),
        (b"\0ada\0sec\0ret", "malformed"),
        (b"\0\xff\0secret", "malformed"),
        (b"\0ada\0\xff", "malformed"),
        (b"\xff\0ada\0secret", "malformed"),
        (b"\0" + b"a" * 1025 + b"\0secret", "malformed"),
        (b"\0ada\0" + b"a" * 1025, "malformed"),
        (b"bob@example.org\0ada@example.org\0secret", "refused"),
        (b"root\0ada@example.org\0secret", "refused"),
    ],
)
def test_plain_that_is_not_right_is_never_asked_about(response: bytes, kind: str) -> None:
    action = Plain().step(response)
    assert isinstance(action, Failure)
    assert action.kind == kind
    assert "secret" not in action.reason


def test_plain_ends_as_the_password_is_found() -> None:
    plain = Plain()
    plain.step(b"\0ada\0secret")
    assert plain.checked(True) == Success("ada")
    plain = Plain()
    plain.step(b"\0ada\0secret")
    assert plain.checked(False) == Failure("refused", "the name or the password is wrong", "ada")


def test_login_asks_twice() -> None:
    login = Login()
    assert login.start() == Challenge(b"Username:")
    assert login.step(b"ada@example.org") == Challenge(b"Password:")
    assert login.step(b"secret") == NeedsPassword("ada@example.org", "secret")
    assert login.checked(True) == Success("ada@example.org")


def test_login_with_the_name_as_initial_response_asks_only_for_the_password() -> None:
    login = Login()
    assert login.step(b"ada@example.org") == Challenge(b"Password:")
    assert login.step(b"secret") == NeedsPassword("ada@example.org", "secret")


@pytest.mark.parametrize("name", [b"", b"\xff", b"a\0b", b"a" * 1025])
def test_login_takes_no_name_that_cannot_be_one(name: bytes) -> None:
    action = Login().step(name)
    assert isinstance(action, Failure)
    assert action.kind == "malformed"


@pytest.mark.parametrize("password", [b"", b"\xff", b"a\0b", b"a" * 1025])
def test_login_takes_no_password_that_cannot_be_one(password: bytes) -> None:
    login = Login()
    login.step(b"ada")
    action = login.step(password)
    assert isinstance(action, Failure)
    assert (action.kind, action.name) == ("malformed", "ada")


def test_a_password_never_shows_in_the_text_of_an_action() -> None:
    assert "secret" not in repr(NeedsPassword("ada", "secret"))
    assert "secret" not in str([NeedsPassword("ada", "secret")])


@pytest.mark.parametrize("mechanism", [Plain, Login])
def test_an_answer_that_nobody_asked_for_is_our_own_mistake(mechanism: type[Plain | Login]) -> None:
    with pytest.raises(LocalProtocolError):
        mechanism().checked(True)
    with pytest.raises(LocalProtocolError):
        mechanism().supply([])


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=3))
def test_no_octets_raise_or_succeed_without_a_check(responses: list[bytes]) -> None:
    for mechanism in (Plain(), Login()):
        for response in responses:
            if not isinstance(action := mechanism.step(response), Challenge):
                assert isinstance(action, NeedsPassword | Failure)
                break
