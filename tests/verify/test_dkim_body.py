"""The hash of a body: however it is cut the same, in bounded memory, each canonicalization as the RFC reads."""

from __future__ import annotations

import hashlib
import itertools
import tracemalloc
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.dkim_signer import canonical_body

from gatepost.verify import dkim_body
from gatepost.verify.dkim_body import BodyHash
from gatepost.verify.dkim_signature import Canonicalization

KINDS: Final[tuple[Canonicalization, ...]] = ("simple", "relaxed")
# What decides is blanks and line ends; the rest is any octet.
BODIES: Final = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"word", b"\x00", b"\xff"])).map(
    b"".join
)


def digests(pieces: list[bytes], lengths: tuple[int | None, ...] = (None, 0, 3)) -> dict[object, bytes]:
    body = BodyHash((kind, length) for kind in KINDS for length in lengths)
    for piece in pieces:
        body.feed(piece)
    body.finish()
    return {(kind, length): body.digest(kind, length) for kind in KINDS for length in lengths}


@given(BODIES, st.lists(st.integers(0, 60), max_size=8))
@example(b"a \r\n \r\n", [1, 2, 3, 4, 5, 6])
def test_any_cut_gives_the_same_hash(body: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in itertools.pairwise(places)]
    assert digests(pieces) == digests([body])
    assert digests([body[at : at + 1] for at in range(len(body))]) == digests([body])


@given(BODIES)
def test_the_hash_is_that_of_the_body_made_canonical_at_once(body: bytes) -> None:
    for (kind, length), found in digests([body]).items():  # type: ignore[misc]
        canonical = canonical_body(body, kind)
        assert found == hashlib.sha256(canonical[:length]).digest()


@given(st.integers(1, 5), st.text("  a\t", max_size=30))
def test_few_runs_of_blanks_and_many_come_to_the_same(few: int, text: str) -> None:
    before = dkim_body.FEW_RUNS
    dkim_body.FEW_RUNS = few  # type: ignore[misc]
    try:
        found = digests([text.encode()])
    finally:
        dkim_body.FEW_RUNS = before  # type: ignore[misc]
    assert found["relaxed", None] == hashlib.sha256(canonical_body(text.encode(), "relaxed")).digest()


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b" \r\n", b" \r\n", b""),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),  # RFC 6376 §3.4.5
        (b"no line end \t", b"no line end \t\r\n", b"no line end\r\n"),
        (b"a\r\n\r\nb", b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        (b"a \r \n", b"a \r \n\r\n", b"a \r \n\r\n"),
    ],
)
def test_bodies_that_end_in_many_ways(body: bytes, simple: bytes, relaxed: bytes) -> None:
    found = digests([body])
    assert found["simple", None] == hashlib.sha256(simple).digest()
    assert found["relaxed", None] == hashlib.sha256(relaxed).digest()


@pytest.mark.parametrize("filler", [b"\r\n", b" ", b"\t \r\n", b"\r", b"a  b\r\n"])
def test_a_body_of_25_mb_takes_little_memory_whatever_is_in_it(filler: bytes) -> None:
    piece = filler * (256 * 1024 // len(filler))
    body = BodyHash((kind, None) for kind in KINDS)
    tracemalloc.start()
    try:
        for _ in range(100):
            body.feed(piece)
        body.feed(b"end")
        body.finish()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * 2**20


def test_what_is_wanted_twice_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    sha256 = hashlib.sha256

    def counted() -> object:
        made.append(sha256())
        return made[-1]

    monkeypatch.setattr("gatepost.verify.dkim_body.hashlib.sha256", counted)
    BodyHash([("relaxed", None), ("relaxed", None), ("simple", None), ("relaxed", 5)])
    assert len(made) == 3
