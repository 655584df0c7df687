from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.smtp.stuffing import ContentError, DotStuffer

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x.", b"x", b"text . text"]), max_size=8)


def stuff(pieces: list[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join([stuffer.feed(piece) for piece in pieces]) + stuffer.finish()


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(octets) + 1) for place in places}), len(octets)]
    return [octets[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"", b".\r\n"),
        (b"text\r\n", b"text\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
        (b"a\r\n..\r\n", b"a\r\n...\r\n.\r\n"),
        (b"a.\r\nb", b"a.\r\nb\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
    ],
)
def test_a_dot_at_the_start_of_a_line_is_doubled_and_no_other(content: bytes, sent: bytes) -> None:
    assert stuff([content]) == sent


@given(LINES, st.booleans(), st.lists(st.integers(0, 200), max_size=6))
def test_any_split_gives_the_same_octets_and_a_receiver_reads_the_content_back(
    lines: list[bytes], ends_in_crlf: bool, places: list[int]
) -> None:
    content = b"\r\n".join(lines) + (b"\r\n" if ends_in_crlf else b"")
    sent = stuff(cut(content, places))

    assert sent == stuff([content])
    body, end = sent[:-3], sent[-3:]
    assert end == b".\r\n"
    received = [line[1:] if line.startswith(b".") else line for line in body.split(b"\r\n")]
    assert b"\r\n".join(received) in (content, content + b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + body  # the content cannot end the data


@pytest.mark.parametrize("smuggled", [b"a\n.\r\nb\r\n", b"a\r\n.\nb\r\n", b"a\r.\r\nb\r\n", b"a\r\r\n", b"\n", b"a\r"])
@given(places=st.lists(st.integers(0, 20), max_size=4))
def test_a_line_end_that_is_not_crlf_never_leaves(smuggled: bytes, places: list[int]) -> None:
    """A next hop that takes LF for a line end would see an end of data here, and a second message behind it."""
    with pytest.raises(ContentError):
        stuff(cut(smuggled, places))
