"""Text from a peer made printable: unambiguous, bounded, and unable to move a cursor."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.text import printable


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"plain text", "plain text"),
        (b"a\r\nb", "a\\x0d\\x0ab"),
        (b"\xe9", "\\xe9"),
        ("\u00e9", "\\xc3\\xa9"),
        ("\ud800", "\\xed\\xa0\\x80"),
        (b"C:\\x41", "C:\\x5cx41"),
        ("", ""),
    ],
)
def test_one_escape_for_each_octet(octets: bytes | str, text: str) -> None:
    assert printable(octets) == text


def test_a_long_text_is_cut() -> None:
    assert printable(b"x" * 201) == "x" * 200 + "..."
    assert printable(b"x" * 200) == "x" * 200
    assert printable("abcdef", 3) == "abc..."


@given(st.binary(max_size=150))
def test_octets_can_be_read_back(octets: bytes) -> None:
    text = printable(octets)
    assert text.isascii()
    assert text.isprintable()
    back = re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match.group(1), 16)), text)
    assert back.encode("latin-1") == octets


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    assert printable(text).isprintable()
