"""xtext and the UTF-8 forms of addresses: both ways, and nothing unprintable slips through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.smtp.xtext import decode_utf8_address, decode_xtext, encode_utf8_address, encode_xtext


@given(st.text(st.characters(max_codepoint=127)))
def test_xtext_is_read_back(text: str) -> None:
    encoded = encode_xtext(text)
    assert encoded.isascii()
    assert not set(encoded) & set(" =\r\n\0")
    assert decode_xtext(encoded) == text


@pytest.mark.parametrize("text", ["+", "+2", "+2b", "+ZZ", "a=b", "a b", "\u00e9", "a\r\n", "\x7f", "+2B\n"])
def test_what_is_no_xtext(text: str) -> None:
    assert decode_xtext(text) is None


def test_only_ascii_is_encoded() -> None:
    with pytest.raises(ValueError):
        encode_xtext("\u00e9")


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_utf8_addresses_are_read_back(text: str) -> None:
    encoded = encode_utf8_address(text)
    assert encoded.isascii()
    assert decode_utf8_address(encoded) == text


@pytest.mark.parametrize(
    "text", ["a b", "a=b", "a+b", "\\", "\\x{}", "\\x{D800}", "\\x{110000}", "\\x{0A}", "\\x{85}", "\x85", "a\n"]
)
def test_what_is_no_utf8_address(text: str) -> None:
    assert decode_utf8_address(text) is None
