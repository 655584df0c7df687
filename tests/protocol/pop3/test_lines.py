"""Octets to lines: any split gives the same items; long, endless and misframed lines cost little and desynchronise
nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.pop3.commands import AuthResponse, Malformed, Noop, Quit, Retr, Stat
from gatepost.protocol.pop3.lines import MAX_COMMAND_OCTETS, MAX_SWALLOWED_OCTETS, Item, Parser


def items(pieces: list[bytes]) -> list[Item]:
    parser, found = Parser(), []
    for piece in pieces:
        parser.feed(piece)
        while (item := parser.next()) is not None:
            found.append(item)
            if isinstance(item, Malformed) and item.is_fatal:
                return found
    return found


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in at), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]


SAMPLES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"NOOP\r\n", b"STAT\n", b"RETR 1\r\n", b"PASS a b \r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0\r\n"),
                *(b"\x16\x03\x01\n\r\n", b"x" * 300 + b"\r\n", b"x" * 253, b"AUTH PLAIN " + b"QUFB" * 200 + b"\r\n"),
            ]
        ),
        st.binary(max_size=20),
    ),
    max_size=12,
).map(b"".join)


@given(SAMPLES, st.lists(st.integers(0, 5000), max_size=12))
def test_any_split_of_the_octets_gives_the_same_items(octets: bytes, at: list[int]) -> None:
    assert items(cut(octets, at)) == items([octets])


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_no_octets_raise(pieces: list[bytes]) -> None:
    items(pieces)


def test_a_pipelined_group_is_taken_apart() -> None:
    assert items([b"STAT\r\nRETR 1\r\nQUIT\r\n"]) == [Stat(), Retr(1), Quit()]


def test_a_line_that_ends_with_lf_alone_is_refused_once_and_the_next_is_read() -> None:
    first, second = items([b"STAT\nNOOP\r\n"])
    assert isinstance(first, Malformed)
    assert "CR and LF" in first.reply.text
    assert second == Noop()


@pytest.mark.parametrize("octets", [b"NO\rOP\r\n", b"NO\0OP\r\n", b"NOOP\r\r\n"])
def test_cr_and_nul_are_no_part_of_a_command(octets: bytes) -> None:
    (found,) = items([octets])
    assert isinstance(found, Malformed)


def test_255_octets_are_a_line_and_256_are_not() -> None:
    longest = b"PASS " + b"x" * (MAX_COMMAND_OCTETS - 7) + b"\r\n"
    assert len(longest) == 255
    assert not isinstance(items([longest])[0], Malformed)
    assert isinstance(items([b"PASS x" + longest[5:]])[0], Malformed)


def test_a_long_line_is_answered_once_and_the_next_is_read() -> None:
    found = items([b"x" * 10_000, b"y" * 10_000, b"\r\nNOOP\r\n"])
    assert len(found) == 2
    assert isinstance(found[0], Malformed)
    assert found[1] == Noop()


def test_a_long_line_is_not_kept() -> None:
    parser = Parser()
    for _ in range(100):
        parser.feed(b"x" * 10_000)
        assert parser.next() is None
        assert parser.drop_read_ahead() == 0


def test_an_endless_line_is_fatal() -> None:
    found = items([b"x" * 10_000] * (MAX_SWALLOWED_OCTETS // 10_000 + 1))
    assert isinstance(found[-1], Malformed)
    assert found[-1].is_fatal


def test_a_long_initial_response_is_taken() -> None:
    assert not isinstance(items([b"AUTH PLAIN " + b"QUFB" * 2000 + b"\r\n"])[0], Malformed)


def test_tls_to_a_port_in_clear_is_told_so() -> None:
    (found,) = items([b"\x16", b"\x03\x01\x02\x00\x01\n\x00\r\nNOOP\r\n"])
    assert isinstance(found, Malformed)
    assert found.is_fatal
    assert "STLS" in found.reply.text


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (b"AGEAYg==\r\n", b"AGEAYg=="),
        (b"*\r\n", b"*"),
        (b"\r\n", b""),
        (b"AGEAYg==\n", b"?"),
        (b"QUFB" * 4000 + b"\r\n", b"?"),
        (b"QUIT\r\n", b"QUIT"),
    ],
)
def test_the_line_after_a_challenge_is_a_response_whatever_it_holds(octets: bytes, line: bytes) -> None:
    parser = Parser()
    parser.expect_response()
    parser.feed(octets + b"NOOP\r\n")
    assert parser.next() == AuthResponse(line)
    assert parser.next() == Noop()


def test_what_was_read_ahead_of_tls_is_dropped_and_counted() -> None:
    parser = Parser()
    parser.feed(b"NOOP\r\nSTAT\r\nQU")
    assert parser.next() == Noop()
    assert parser.drop_read_ahead() == 8
    parser.feed(b"QUIT\r\n")
    assert parser.next() == Quit()
