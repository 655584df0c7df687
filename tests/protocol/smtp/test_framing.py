"""Where lines, messages and chunks end: for any cut of the octets, and for all that is meant to look like an end."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.protocol.smtp.commands import AuthResponse, EndOfChunk, EndOfData, Malformed
from gatepost.protocol.smtp.framing import Content, FramingError, Item, Line, Parser, command_line_limit
from gatepost.protocol.smtp.limits import MAX_AUTH_LINE_OCTETS, MAX_SWALLOWED_OCTETS
from gatepost.protocol.smtp.parameters import Dialect

NO_EXTENSIONS = Dialect(size=False, eight_bit_mime=False, smtputf8=False, dsn=False, chunking=False)
TOKENS = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"\0",
        b"a",
        b"\xff",
        b"\r\n.",
        b"\r\n.\r\n",
        b"\n.\n",
        b"b" * 600,
        b"\x16",
        b"DATA\r\n",
    ]
)
STREAMS = st.lists(TOKENS, max_size=14).map(b"".join) | st.binary(max_size=60)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Octets, and the same octets in pieces."""
    octets = draw(STREAMS)
    cuts = sorted(draw(st.sets(st.integers(0, max(len(octets), 1)), max_size=8)))
    edges = [0, *[min(cut, len(octets)) for cut in cuts], len(octets)]
    return octets, [octets[a:b] for a, b in pairwise(edges) if a < b]


def content_parser() -> Parser:
    parser = Parser(NO_EXTENSIONS)
    parser.expect_content()
    return parser


def items_of(parser: Parser, pieces: list[bytes]) -> list[Item]:
    """All items; neighbouring pieces of content are joined. `DATA` begins content, as an intake would."""
    items: list[Item] = []
    for piece in pieces:
        parser.feed(piece)
        while (item := parser.next()) is not None:
            if isinstance(item, Content) and items and isinstance(items[-1], Content):
                items[-1] = Content(items[-1].octets + item.octets)
            else:
                items.append(item)
            if item == Line(b"DATA"):
                parser.expect_content()
    return items


def by_the_book(octets: bytes) -> tuple[bytes, bytes] | None:
    """Content and what follows it, after RFC 5321 §4.5.2 line by line; None: the end has not come."""
    kept = []
    while b"\r\n" in octets:
        line, _, octets = octets.partition(b"\r\n")
        if line == b".":
            return b"".join(kept), octets
        kept.append((line[1:] if line.startswith(b".") else line) + b"\r\n")
    return None


def octet_by_octet(octets: bytes) -> list[bytes]:
    return [octets[i : i + 1] for i in range(len(octets))]


# --- DATA ---------------------------------------------------------------------------------------------------------


@given(cut_streams())
@example((b".\r\n", [b".", b"\r", b"\n"]))
@example((b"a\r\n.\rb\r\n.\r\n", [b"a\r\n.\r", b"b\r\n.\r\n"]))
def test_any_cut_of_content_gives_the_same_items(stream: tuple[bytes, list[bytes]]) -> None:
    octets, pieces = stream
    whole = items_of(content_parser(), [octets])
    assert items_of(content_parser(), pieces) == whole
    assert items_of(content_parser(), octet_by_octet(octets)) == whole


@given(STREAMS)
def test_content_ends_and_is_unstuffed_as_the_rfc_says_line_by_line(octets: bytes) -> None:
    parser = content_parser()
    items = items_of(parser, [octets])
    expected = by_the_book(octets)
    ends = [i for i, item in enumerate(items) if isinstance(item, EndOfData)]
    if expected is None:
        assert ends == []
        return
    content = items[0].octets if isinstance(items[0], Content) else b""
    end = items[ends[0]]
    assert isinstance(end, EndOfData)
    assert content == expected[0]
    assert end.octets == len(content)
    assert end.has_8bit is (max(content, default=0) > 127)
    assert ("bare-cr" in end.defects) is bool(re.search(rb"\r(?!\n)", content))
    assert ("bare-lf" in end.defects) is bool(re.search(rb"(?<!\r)\n", content))
    assert ("nul" in end.defects) is (b"\0" in content)
    follow = Parser(NO_EXTENSIONS)
    assert items[ends[0] + 1 :] == items_of(follow, [expected[1]])


SMUGGLING = {
    "LF.LF": (b"a\n.\nMAIL FROM:<x@example.net>\r\n", ("bare-lf",)),
    "LF.CRLF": (b"a\n.\r\nMAIL FROM:<x@example.net>\r\n", ("bare-lf",)),
    "CRLF.LF": (b"a\r\n.\nMAIL FROM:<x@example.net>\r\n", ("bare-lf",)),
    "CR.CR": (b"a\r.\rMAIL FROM:<x@example.net>\r\n", ("bare-cr",)),
    "CRLF.CR": (b"a\r\n.\rMAIL FROM:<x@example.net>\r\n", ("bare-cr",)),
    "CR.CRLF": (b"a\r.\r\nMAIL FROM:<x@example.net>\r\n", ("bare-cr",)),
    "CR.LF": (b"a\r.\nMAIL FROM:<x@example.net>\r\n", ("bare-cr", "bare-lf")),
    "LF.CR": (b"a\n.\rMAIL FROM:<x@example.net>\r\n", ("bare-cr", "bare-lf")),
    "CRLF NUL .CRLF": (b"a\r\n\0.\r\nMAIL FROM:<x@example.net>\r\n", ("nul",)),
    "CRLF. NUL CRLF": (b"a\r\n.\0\r\nMAIL FROM:<x@example.net>\r\n", ("nul",)),
    "CRLF.CRCRLF": (b"a\r\n.\r\r\nMAIL FROM:<x@example.net>\r\n", ("bare-cr",)),
    "CRLF.. ": (b"a\r\n..\r\nMAIL FROM:<x@example.net>\r\n", ()),
    "CRLF. blank": (b"a\r\n. \r\nMAIL FROM:<x@example.net>\r\n", ()),
}


@pytest.mark.parametrize("cut", ["whole", "octet by octet"])
@pytest.mark.parametrize("vector", SMUGGLING)
def test_what_resembles_the_end_of_data_ends_nothing_and_is_named(vector: str, cut: str) -> None:
    octets, defects = SMUGGLING[vector]
    stream = octets + b".\r\nNOOP\r\n"
    items = items_of(content_parser(), [stream] if cut == "whole" else octet_by_octet(stream))
    assert [type(item) for item in items] == [Content, EndOfData, Line]
    assert isinstance(items[0], Content)
    assert b"MAIL FROM" in items[0].octets
    assert isinstance(items[1], EndOfData)
    assert items[1].defects == defects
    assert items[2] == Line(b"NOOP")


@pytest.mark.parametrize("cut", ["whole", "octet by octet"])
@pytest.mark.parametrize("vector", SMUGGLING)
def test_in_chunks_nothing_but_their_size_is_an_end(vector: str, cut: str) -> None:
    octets, defects = SMUGGLING[vector]
    half = len(octets) // 2
    items: list[Item] = []
    parser = Parser(NO_EXTENSIONS)
    for chunk, last in ((octets[:half], False), (octets[half:], True)):
        parser.expect_chunk(len(chunk), last=last, begins=not last)
        items += items_of(parser, [chunk] if cut == "whole" else octet_by_octet(chunk))
    end = items[-1]
    assert isinstance(end, EndOfChunk)
    assert (end.last, end.octets, end.defects) == (True, len(octets), defects)
    assert b"".join(item.octets for item in items if isinstance(item, Content)) == octets


def test_content_may_be_empty_and_commands_follow() -> None:
    assert items_of(content_parser(), [b".\r\nQUIT\r\n"]) == [EndOfData(), Line(b"QUIT")]


def test_an_end_is_not_seen_before_it_is_whole() -> None:
    parser = content_parser()
    assert items_of(parser, [b"a\r\n.\r"]) == [Content(b"a")]
    assert items_of(parser, [b"\n"]) == [Content(b"\r\n"), EndOfData(3)]


@pytest.mark.parametrize("piece", [b"x" * 70 + b"\r\n", b"..\r\n", b"\r\n.a", b"\r", b".", b"\n.\n"])
def test_content_is_not_kept_in_memory(piece: bytes) -> None:
    parser = content_parser()
    for _ in range(500):
        parser.feed(piece)
        while parser.next() is not None:
            pass
        assert parser.read_ahead <= 4


def test_facts_of_content_are_exact_for_long_lines_only() -> None:
    def facts(lines: list[bytes]) -> EndOfData:
        item = items_of(content_parser(), [b"\r\n".join([*lines, b".", b""])])[-1]
        assert isinstance(item, EndOfData)
        return item

    assert facts([b"x" * 998]) == EndOfData(1000, 0)
    assert facts([b"x" * 999]) == EndOfData(1001, 999)
    assert facts([b"." + b"." * 998, b"y" * 998]).longest_line == 0  # a doubled dot does not count
    assert facts([b"x" * 70] * 50 + [b"y" * 5000] + [b"x" * 998] * 5 + [b"z" * 1200]).longest_line == 5000
    assert facts([b"a", b"\xc3\xa9"]).has_8bit
    assert not facts([b"a", b"b"]).has_8bit


@given(st.lists(st.integers(0, 2500), max_size=12), st.data())
def test_the_longest_line_is_found_in_any_cut(lengths: list[int], data: st.DataObject) -> None:
    octets = b"".join(b"x" * n + b"\r\n" for n in lengths)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(octets)), max_size=6)))
    edges = [0, *cuts, len(octets)]
    end = items_of(content_parser(), [octets[a:b] for a, b in pairwise(edges)] + [b".\r\n"])[-1]
    longest = max(lengths, default=0)
    assert isinstance(end, EndOfData)
    assert (end.longest_line, end.octets) == (longest if longest > 998 else 0, len(octets))


# --- BDAT ---------------------------------------------------------------------------------------------------------


@given(STREAMS, st.lists(st.integers(0, 20), max_size=5), st.booleans())
def test_any_division_into_chunks_gives_the_same_facts(octets: bytes, sizes: list[int], one_by_one: bool) -> None:
    def facts(sizes: list[int]) -> EndOfChunk:
        parser = Parser()
        rest, end = octets, None
        for i, size in enumerate(sizes):
            last = i == len(sizes) - 1
            chunk, rest = (rest, b"") if last else (rest[:size], rest[size:])
            parser.expect_chunk(len(chunk), last=last, begins=i == 0)
            for piece in octet_by_octet(chunk) if one_by_one else [chunk]:
                parser.feed(piece)
            items = []
            while (item := parser.next()) is not None:
                items.append(item)
            end = items[-1]
        assert isinstance(end, EndOfChunk)
        return end

    assert facts([*sizes, 0]) == facts([0])


def test_a_chunk_of_nothing_ends_at_once_and_the_next_line_is_a_command() -> None:
    parser = Parser()
    parser.expect_chunk(0, last=True, begins=True)
    assert items_of(parser, [b"NOOP\r\n"]) == [EndOfChunk(True), Line(b"NOOP")]


def test_a_cr_at_the_end_of_a_chunk_is_bare_only_if_no_lf_follows() -> None:
    parser = Parser()
    parser.expect_chunk(2, last=False, begins=True)
    assert items_of(parser, [b"a\r"]) == [Content(b"a\r"), EndOfChunk(False, 2)]
    parser.expect_chunk(1, last=True, begins=False)
    assert items_of(parser, [b"\n"]) == [Content(b"\n"), EndOfChunk(True, 3)]
    parser.expect_chunk(2, last=True, begins=True)
    assert items_of(parser, [b"a\r"])[-1] == EndOfChunk(True, 2, defects=("bare-cr",))


# --- lines --------------------------------------------------------------------------------------------------------


@given(cut_streams())
def test_any_cut_of_lines_gives_the_same_items_and_no_octets_raise(stream: tuple[bytes, list[bytes]]) -> None:
    octets, pieces = stream
    whole = items_of(Parser(NO_EXTENSIONS), [octets])
    assert items_of(Parser(NO_EXTENSIONS), pieces) == whole
    assert items_of(Parser(NO_EXTENSIONS), octet_by_octet(octets)) == whole


@pytest.mark.parametrize(
    ("octets", "defect"),
    [
        (b"NOOP\n", "bare-lf"),
        (b"\n", "bare-lf"),
        (b"NO\rOP\r\n", "bare-cr"),
        (b"NOOP\r\r\n", "bare-cr"),
        (b"NO\0OP\r\n", "nul"),
        (b"x" * 700 + b"\n", "bare-lf"),
        (b"x" * 700 + b"\r" + b"x" * 700 + b"\r\n", "bare-cr"),
        (b"x" * 700 + b"\0\r\n", "nul"),
        (b"\x16\x03\x01\x02\x00\x01", "tls"),
    ],
)
def test_a_broken_command_line_is_fatal_and_nothing_is_read_after_it(octets: bytes, defect: str) -> None:
    parser = Parser(NO_EXTENSIONS)
    items = items_of(parser, [octets, b"QUIT\r\n", b"QUIT\r\n"])
    assert len(items) == 1
    assert isinstance(items[0], FramingError)
    assert (items[0].defect, items[0].is_fatal, items[0].reply.code) == (defect, True, 500)
    assert items[0].reason.isprintable()


@pytest.mark.parametrize("extra", [0, 1, 3000])
def test_a_line_over_the_limit_is_answered_once_and_the_next_is_read(extra: int) -> None:
    limit = command_line_limit(NO_EXTENSIONS)
    assert limit == 512
    fits = b"NOOP " + b"x" * (limit - 7)
    for stream in ([fits + b"x" * extra + b"\r\nRSET\r\n"], octet_by_octet(fits + b"x" * extra + b"\r\nRSET\r\n")):
        first, *rest = items_of(Parser(NO_EXTENSIONS), stream)
        assert rest == [Line(b"RSET")]
        if extra:
            assert isinstance(first, Malformed)
            assert (first.reply.code, first.reply.esc, first.is_fatal) == (500, "5.5.2", False)
        else:
            assert first == Line(fits)


def test_an_endless_line_costs_no_memory_and_ends_the_connection() -> None:
    parser = Parser()
    fed = 0
    while (item := parser.next()) is None:
        assert parser.read_ahead <= 12_288 + 8192
        parser.feed(b"x" * 8192)
        fed += 8192
    assert isinstance(item, FramingError)
    assert item.defect == "endless"
    assert MAX_SWALLOWED_OCTETS < fed <= MAX_SWALLOWED_OCTETS + 16384


@pytest.mark.parametrize(
    ("dialect", "limit"),
    [
        (NO_EXTENSIONS, 512),
        (Dialect(smtputf8=False, eight_bit_mime=False, dsn=False), 512 + 26),
        (Dialect(auth=True), 512 + 26 + 17 + 10 + 500 + 9 + 107),
        (Dialect(), 512 + 29 + 507),
        (Dialect(xclient=True), 2048),
    ],
)
def test_the_limit_grows_with_what_extensions_add(dialect: Dialect, limit: int) -> None:
    assert command_line_limit(dialect) == limit


def test_an_auth_line_may_carry_a_token() -> None:
    line = b"auth XOAUTH2 " + b"A" * 8000
    assert items_of(Parser(Dialect(auth=True)), [line + b"\r\n"]) == [Line(line)]
    assert isinstance(items_of(Parser(Dialect()), [line + b"\r\n"])[0], Malformed)


def test_a_response_is_one_line_of_up_to_12288_octets() -> None:
    for octets, stream in (
        (MAX_AUTH_LINE_OCTETS, b"QUJD" * 3071 + b"QQ\r\n"),
        (MAX_AUTH_LINE_OCTETS + 1, b"QUJD" * 3071 + b"QQQ\r\n"),
    ):
        assert len(stream) == octets
    parser = Parser()
    parser.expect_response()
    assert items_of(parser, [b"QUJD" * 3070 + b"\r\nRSET\r\n"]) == [AuthResponse(b"ABC" * 3070), Line(b"RSET")]
    parser.expect_response()
    too_long, then = items_of(parser, octet_by_octet(b"QUJD" * 3073 + b"\r\nRSET\r\n"))
    assert isinstance(too_long, Malformed)
    assert (too_long.reply.code, too_long.reply.esc) == (500, "5.5.6")
    assert then == Line(b"RSET")


def test_read_ahead_is_dropped_and_counted() -> None:
    parser = Parser()
    parser.feed(b"STARTTLS\r\nMAIL FROM:<x@example.net>\r\nRC")
    assert parser.next() == Line(b"STARTTLS")
    assert parser.read_ahead == 29
    assert parser.drop_read_ahead() == 29
    assert items_of(parser, [b"EHLO c\r\n"]) == [Line(b"EHLO c")]


def test_an_idle_connection_holds_nothing() -> None:
    parser = Parser()
    parser.feed(b"NOOP\r\n" * 1000)
    while parser.next() is not None:
        pass
    assert parser._buffer == b""


def test_an_over_long_last_line_counts_without_its_end() -> None:
    parser = Parser()
    parser.expect_chunk(1500, last=True, begins=True)
    assert items_of(parser, [b"x" * 700, b"x" * 799 + b"\r"])[-1] == EndOfChunk(True, 1500, 1499, defects=("bare-cr",))


@pytest.mark.parametrize("octets", [b"AUTH PLAIN aHVudGVyMg==\n", b"auth plain aHVudGVyMg==\r\r\n", b"aHVudGVyMg==\n"])
def test_no_password_stands_in_the_reason_of_a_framing_error(octets: bytes) -> None:
    parser = Parser()
    if not octets.lower().startswith(b"auth"):
        parser.expect_response()
    error = items_of(parser, [octets])[0]
    assert isinstance(error, FramingError)
    assert "aHVudGVyMg" not in error.reason
