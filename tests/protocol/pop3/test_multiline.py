"""RETR and TOP on their way out: stuffed and cut the same, however the message comes."""

from __future__ import annotations

import poplib
from io import BytesIO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.pop3.multiline import Stuffer, TopCut

MESSAGE = b"Subject: a\r\nX: b\r\n\r\n.one\r\n..\r\n.\r\n\r\nlast\r\n"
TEXTS = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r", b"Subject: x"]), max_size=30).map(b"".join)


def stuffed(pieces: list[bytes]) -> bytes:
    stuffer = Stuffer()
    return b"".join([*(stuffer.feed(piece) for piece in pieces), stuffer.finish()])


def top(pieces: list[bytes], lines: int) -> bytes:
    cut = TopCut(lines)
    return b"".join(cut.feed(piece) for piece in pieces)


def cut_at(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]


class _Client(poplib.POP3):
    """Python's own reading of a multi-line answer."""

    def __init__(self, octets: bytes) -> None:
        self.file = BytesIO(b"+OK\r\n" + octets)
        self._debugging = 0


def as_a_client_reads(octets: bytes) -> bytes:
    client = _Client(octets)
    _, lines, _ = client._getlongresp()  # type: ignore[attr-defined]
    assert client.file.read() == b""
    return b"".join(line + b"\r\n" for line in lines)


def test_each_leading_dot_is_doubled_and_the_end_is_one() -> None:
    expected = b"Subject: a\r\nX: b\r\n\r\n..one\r\n...\r\n..\r\n\r\nlast\r\n.\r\n"
    assert stuffed([MESSAGE]) == expected
    assert stuffed([MESSAGE[at : at + 1] for at in range(len(MESSAGE))]) == expected


@pytest.mark.parametrize(("message", "sent"), [(b"", b".\r\n"), (b"a", b"a\r\n.\r\n"), (b".", b"..\r\n.\r\n")])
def test_a_message_without_a_last_line_end_is_ended(message: bytes, sent: bytes) -> None:
    assert stuffed([message]) == sent


@given(TEXTS, st.lists(st.integers(0, 400), max_size=8))
def test_a_client_reads_back_what_was_kept_however_it_was_cut(message: bytes, places: list[int]) -> None:
    message += b"\r\n"
    sent = stuffed(cut_at(message, places))
    assert sent == stuffed([message])
    if b"\r" not in message.replace(b"\r\n", b""):
        assert as_a_client_reads(sent) == message


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (0, b"Subject: a\r\nX: b\r\n\r\n"),
        (1, b"Subject: a\r\nX: b\r\n\r\n.one\r\n"),
        (3, b"Subject: a\r\nX: b\r\n\r\n.one\r\n..\r\n.\r\n"),
        (5, MESSAGE),
        (10**9, MESSAGE),
    ],
)
def test_top_is_the_header_and_so_many_lines(lines: int, expected: bytes) -> None:
    assert top([MESSAGE], lines) == expected
    assert top([MESSAGE[at : at + 1] for at in range(len(MESSAGE))], lines) == expected


@pytest.mark.parametrize("message", [b"Subject: only a header\r\n", b"", b"Subject: cut"])
def test_top_of_a_message_without_a_body_is_all_of_it(message: bytes) -> None:
    assert top([message], 3) == message


def test_top_of_a_message_without_a_header_begins_with_the_empty_line() -> None:
    assert top([b"\r\n", b"one\r\ntwo\r\n"], 1) == b"\r\none\r\n"


@given(TEXTS, st.lists(st.integers(0, 400), max_size=8), st.integers(0, 5))
def test_top_does_not_depend_on_the_pieces(message: bytes, places: list[int], lines: int) -> None:
    assert top(cut_at(message, places), lines) == top([message], lines)


def test_top_says_when_no_more_needs_to_be_read() -> None:
    cut = TopCut(1)
    cut.feed(b"a: b\r\n\r\n")
    assert not cut.is_done
    cut.feed(b"one\r\ntwo")
    assert cut.is_done
    assert cut.feed(b"three") == b""


def test_a_line_of_a_single_cr_does_not_end_the_header_even_when_cut() -> None:
    message = b"a: b\r\n\r\r\nc: d\r\n\r\nbody\r\n"
    assert top([message[at : at + 1] for at in range(len(message))], 0) == message[:-6]
    assert top([message], 0) == message[:-6]
