from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.client_replies import (
    MAX_LINE_OCTETS,
    MAX_LINES,
    MAX_REPLY_OCTETS,
    MAX_TEXT_CHARACTERS,
    PeerOffer,
    ProtocolError,
    RawReply,
    ReplyParser,
    parse_offer,
    parse_reply,
)


def parse(*pieces: bytes) -> list[RawReply]:
    parser, replies = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next()) is not None:
            replies.append(reply)
    return replies


STREAM = (
    b"220 mx.example.org ESMTP\r\n250-mx.example.org\r\n250-SIZE 1000\r\n250 DSN\r\n"
    b"550-5.1.1 No\r\n550 5.1.1 one\r\n354\r\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=10))
def test_any_split_gives_the_same_replies(places: list[int]) -> None:
    edges = [0, *sorted(places), len(STREAM)]
    assert parse(*(STREAM[a:b] for a, b in pairwise(edges))) == [
        RawReply(220, (b"mx.example.org ESMTP",)),
        RawReply(250, (b"mx.example.org", b"SIZE 1000", b"DSN")),
        RawReply(550, (b"5.1.1 No", b"5.1.1 one")),
        RawReply(354, (b"",)),
    ]


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"hello\r\n", "no SMTP reply"),
        (b"\r\n", "no SMTP reply"),
        (b"25\r\n", "no SMTP reply"),
        (b"120 wait\r\n", "no SMTP reply"),
        (b"650 what\r\n", "no SMTP reply"),
        (b"250_ok\r\n", "no SMTP reply"),
        (b"SSH-2.0-x\r\n", "no SMTP reply"),
        (b"250-one\r\n251 two\r\n", "changes its code"),
        (b"250 ok\n", "other than CRLF"),
        (b"550 no such user x\n250 ok\r\n", "other than CRLF"),
        (b"250 o\rk\r\n", "other than CRLF"),
        (b"250 " + b"x" * MAX_LINE_OCTETS, "longer than"),
        (b"250-x\r\n" * (MAX_LINES + 1), "longer than"),
        ((b"250-" + b"x" * 2000 + b"\r\n") * (MAX_REPLY_OCTETS // 2000 + 1), "longer than"),
    ],
)
def test_what_is_no_reply_or_has_no_end_is_a_protocol_error(octets: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        parse(octets)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_octets_raise_anything_else_and_errors_can_be_printed(pieces: list[bytes]) -> None:
    said = ""
    try:
        for reply in parse(*pieces):
            said = parse_reply(reply).text.replace("\n", "")
            parse_offer(reply)
    except ProtocolError as error:
        said = str(error)
    assert said.isascii()
    assert said.isprintable()


def test_an_endless_line_is_never_held_beyond_its_limit() -> None:
    parser = ReplyParser()
    for _ in range(MAX_LINE_OCTETS // 100):
        parser.feed(b"2" * 100)
        assert parser.next() is None
    parser.feed(b"2" * 100)
    with pytest.raises(ProtocolError):
        parser.next()


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (RawReply(250, (b"2.1.5 Ok",)), Reply(250, "2.1.5", "Ok")),
        (RawReply(550, (b"5.1.1 No", b"5.1.1 such user")), Reply(550, "5.1.1", "No\nsuch user")),
        (RawReply(550, (b"5.1.1 No", b"mixed")), Reply(550, "5.1.1", "No\nmixed")),
        (RawReply(550, (b"4.1.1 class of another code",)), Reply(550, "", "4.1.1 class of another code")),
        (RawReply(550, (b"5.1.1234 no code",)), Reply(550, "", "5.1.1234 no code")),
        (RawReply(550, (b"5.7.1",)), Reply(550, "5.7.1", "")),
        (RawReply(550, (b"No\x1b[2J\x00\xff",)), Reply(550, "", "No\\x1b[2J\\x00\\xff")),
        (RawReply(354, (b"2.0.0 go",)), Reply(354, "", "2.0.0 go")),
    ],
)
def test_the_enhanced_code_stands_apart_and_the_text_is_printable(raw: RawReply, reply: Reply) -> None:
    assert parse_reply(raw) == reply


def test_the_text_that_is_kept_is_bounded() -> None:
    assert len(parse_reply(RawReply(550, (b"x" * 4000, b"y" * 4000))).text) <= MAX_TEXT_CHARACTERS + 10


def test_a_full_offer_is_read() -> None:
    lines = (
        b"mx.example.org at your service",
        b"size 1000",
        b"8BITMIME",
        b"SMTPUTF8",
        b"DSN",
        b"CHUNKING",
        b"PIPELINING",
        b"STARTTLS",
        b"REQUIRETLS",
        b"ENHANCEDSTATUSCODES",
        b"AUTH plain LOGIN",
        b"AUTH=LOGIN XOLD",
        b"LIMITS RCPTMAX=20 MAILMAX=5 FUTURE=1",
        b"X-UNKNOWN a b",
    )
    assert parse_offer(RawReply(250, lines)) == PeerOffer(
        name="mx.example.org",
        extended=True,
        size=1000,
        eight_bit_mime=True,
        smtputf8=True,
        dsn=True,
        chunking=True,
        pipelining=True,
        starttls=True,
        requiretls=True,
        enhanced=True,
        auth=("PLAIN", "LOGIN", "XOLD"),
        rcptmax=20,
        mailmax=5,
    )


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"SIZE", 0),
        (b"SIZE 0", 0),
        (b"SIZE x", 0),
        (b"SIZE -5", 0),
        (b"SIZE 99999999999999999999999", 0),
        (b"DSN", None),
    ],
)
def test_size_without_a_usable_number_is_no_limit(line: bytes, size: int | None) -> None:
    assert parse_offer(RawReply(250, (b"mx.example.org", line))).size == size


def test_malformed_limits_limit_nothing() -> None:
    offer = parse_offer(RawReply(250, (b"mx", b"LIMITS RCPTMAX=0 MAILMAX= =5 RCPTMAX")))
    assert (offer.rcptmax, offer.mailmax) == (None, None)
