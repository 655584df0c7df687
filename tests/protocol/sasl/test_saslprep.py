from __future__ import annotations

import pytest
import scramp.utils
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.sasl.saslprep import SaslprepError, saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        # RFC 4013 §3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # our own
        ("a\u00a0b", "a b"),
        ("pa\u0308ss", "p\u00e4ss"),
        ("\u00ad", ""),
        ("", ""),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
    ],
)
def test_one_text_in_many_encodings_has_one_form(text: str, prepared: str) -> None:
    assert saslprep(text, stored=True) == saslprep(text, stored=False) == prepared


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\u0007", "control character"),
        ("a\tb", "control character"),
        ("a\0b", "control character"),
        ("\u0627\u0031", "first or last"),
        ("\u0627a\u0628", "mixes letters"),
        ("\ue000", "private-use"),
        ("\ud800", "surrogate"),
        ("\u200e", "how text is shown"),
        ("\ufffd", "not plain text"),
    ],
)
def test_what_may_not_be_in_a_password_is_named_by_kind(text: str, says: str) -> None:
    with pytest.raises(SaslprepError, match=says):
        saslprep(text, stored=False)


def test_emoji_are_not_kept_but_may_be_asked_for() -> None:
    with pytest.raises(SaslprepError, match=r"emoji.*of that kind"):
        saslprep("pass\U0001f600word", stored=True)
    assert saslprep("pass\U0001f600word", stored=False) == "pass\U0001f600word"


@given(st.text(max_size=12))
def test_another_implementation_prepares_the_same(text: str) -> None:
    try:
        theirs = scramp.utils.saslprep(text)
    except scramp.utils.ScramException:
        theirs = None
    try:
        ours = saslprep(text, stored=True)
    except SaslprepError:
        ours = None
    if theirs is not None:
        assert ours == theirs
    elif ours is not None:  # it does not follow RFC 3454 §6 where a text neither begins nor ends from right to left
        pytest.fail(f"only we take {text!r}")


@given(st.text(max_size=12))
def test_preparing_twice_changes_nothing(text: str) -> None:
    try:
        once = saslprep(text, stored=False)
    except SaslprepError:
        return
    assert saslprep(once, stored=False) == once
