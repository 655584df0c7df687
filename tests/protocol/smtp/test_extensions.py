"""What is offered, and that the parser takes what was offered and nothing else."""

from __future__ import annotations

import pytest

from gatepost.protocol.smtp.extensions import Offer
from gatepost.protocol.smtp.parameters import Dialect

BARE = ["PIPELINING", "SIZE 0", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"]


@pytest.mark.parametrize(
    ("offer", "keywords"),
    [
        (Offer("mx.example.org"), BARE),
        (Offer("mx.example.org", size_limit_octets=50), [BARE[0], "SIZE 50", *BARE[2:]]),
        (Offer("mx.example.org", starttls=True), [*BARE, "STARTTLS"]),
        (Offer("mx.example.org", auth=("SCRAM-SHA-256", "PLAIN")), [*BARE, "AUTH SCRAM-SHA-256 PLAIN"]),
        (Offer("mx.example.org", rcptmax=100, mailmax=20), [*BARE, "LIMITS MAILMAX=20 RCPTMAX=100"]),
        (Offer("mx.example.org", rcptmax=100), [*BARE, "LIMITS RCPTMAX=100"]),
        (Offer("mx.example.org", expn=True), [*BARE, "EXPN"]),
        (Offer("mx.example.org", xclient=True), [*BARE, "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"]),
        (Offer("mx.example.org", smtputf8=False, chunking=False, dsn=False), [*BARE[:3], BARE[6]]),
    ],
)
def test_keywords_are_those_of_the_offer_in_a_fixed_order(offer: Offer, keywords: list[str]) -> None:
    assert offer.keywords() == keywords
    lines = offer.ehlo_reply().encode().decode("ascii").split("\r\n")
    assert lines == ["250-mx.example.org", *[f"250-{word}" for word in keywords[:-1]], f"250 {keywords[-1]}", ""]


def test_greeting_and_helo_carry_no_enhanced_code() -> None:
    offer = Offer("mx.example.org")
    assert offer.greeting().encode() == b"220 mx.example.org ESMTP\r\n"
    assert offer.helo_reply().encode() == b"250 mx.example.org\r\n"
    assert Offer("mx.example.org", lmtp=True).greeting().encode() == b"220 mx.example.org LMTP\r\n"


def test_the_dialect_follows_the_offer() -> None:
    offer = Offer("mx.example.org", lmtp=True, chunking=False, dsn=False, smtputf8=False, auth=("PLAIN",), strict=False)
    assert offer.dialect(extended=False) == Dialect(
        lmtp=True, strict=False, extended=False, smtputf8=False, dsn=False, chunking=False, auth=True, xclient=False
    )
