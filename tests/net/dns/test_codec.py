"""Hostile octets: whatever a server sends, there is an answer or `MalformedReply`."""

from __future__ import annotations

import contextlib

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from gatepost.net.dns import codec
from gatepost.ports.resolver import Answer, Outcome

ASKED = codec.question("b.example", "MX")
QUERY = codec.encode(ASKED, 0x1234, edns=True, validating=False)


def good_reply() -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(QUERY))
    reply.answer.append(dns.rrset.from_text("b.example.", 300, "IN", "MX", "10 mx.b.example.", "0 ."))
    return reply.to_wire()


@given(st.binary(max_size=200))
def test_noise_is_not_ours_and_decoding_it_raises_nothing_else(octets: bytes) -> None:
    codec.answers(octets, QUERY)
    with contextlib.suppress(codec.MalformedReply):
        assert isinstance(codec.decode(octets, ASKED, validating=True), Answer)


@given(st.integers(0, len(good_reply()) - 1), st.integers(0, 255), st.integers(0, 80))
def test_a_damaged_reply_raises_nothing_else(at: int, octet: int, cut: int) -> None:
    damaged = bytearray(good_reply())
    damaged[at] = octet
    for reply in (bytes(damaged), bytes(damaged[: len(damaged) - cut])):
        codec.answers(reply, QUERY)
        with contextlib.suppress(codec.MalformedReply):
            codec.decode(reply, ASKED, validating=True)


def test_an_answer_belongs_to_its_query_only() -> None:
    reply = good_reply()
    assert codec.answers(reply, QUERY)
    assert codec.answers(reply[:13] + reply[13:].replace(b"example", b"EXAMPLE", 1), QUERY)
    assert not codec.answers(reply[1:], QUERY)
    assert not codec.answers(QUERY, QUERY)
    for other in (codec.question("c.example", "MX"), codec.question("b.example", "A")):
        assert not codec.answers(reply, codec.encode(other, 0x1234, edns=True, validating=False))
    assert not codec.answers(reply, codec.encode(ASKED, 0x1235, edns=True, validating=False))


def test_a_reply_without_question_may_only_be_an_error() -> None:
    assert codec.answers(b"\x12\x34\x81\x81" + bytes(8), QUERY)
    assert not codec.answers(b"\x12\x34\x81\x80" + bytes(8), QUERY)


def test_an_extended_error_says_more() -> None:
    reply = dns.message.make_response(dns.message.from_wire(QUERY))
    reply.set_rcode(dns.rcode.SERVFAIL)
    reply.use_edns(0, options=[dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, "said by a stranger")])
    answer = codec.decode(reply.to_wire(), ASKED, validating=True)
    assert (answer.outcome, answer.error) == (Outcome.FAILED, "SERVFAIL (dnssec bogus)")
