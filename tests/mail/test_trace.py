"""Trace fields: what they say, and that no peer can write a line of its own into them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.trace import Hop, protocol_keyword, received

AT = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
HOP = Hop(
    helo="client.example.net",
    ip="192.0.2.7",
    ptr="",
    by="mx.example.org",
    protocol="ESMTPS",
    tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
    id="01JD",
    recipient="ada@example.org",
)


def test_a_received_field_names_peer_host_protocol_id_recipient_and_time() -> None:
    assert received(HOP, AT) == (
        b"Received: from client.example.net ([192.0.2.7])\r\n"
        b"\tby mx.example.org with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384) id 01JD\r\n"
        b"\tfor <ada@example.org>;\r\n"
        b"\tTue, 24 Nov 2026 10:00:00 +0000\r\n"
    )


def test_an_ipv6_peer_is_an_address_literal_and_a_withheld_one_is_not_told() -> None:
    six = msgspec.structs.replace(HOP, ip="2001:db8::1", ptr="client.example.net")
    assert b"(client.example.net [IPv6:2001:db8::1])" in received(six, AT)
    withheld = received(msgspec.structs.replace(HOP, ip=""), AT)
    assert b"client" not in withheld
    assert withheld.startswith(b"Received: from submitter.invalid (address withheld)\r\n")


@given(st.text(max_size=300))
def test_whatever_the_peer_calls_itself_the_field_stays_one_field(helo: str) -> None:
    field = received(msgspec.structs.replace(HOP, helo=helo), AT)
    assert len(message_from_bytes(field + b"\r\n").items()) == 1
    assert re.fullmatch(rb"[\t\r\n\x20-\x7e]*", field)
    assert field.count(b"(") == field.count(b")") == 2
    assert field.count(b";") == 1


@pytest.mark.parametrize(
    ("facts", "keyword"),
    [
        ({"extended": False}, "SMTP"),
        ({"extended": False, "tls": True}, "SMTP"),
        ({}, "ESMTP"),
        ({"tls": True}, "ESMTPS"),
        ({"login": True}, "ESMTPA"),
        ({"tls": True, "login": True}, "ESMTPSA"),
        ({"utf8": True, "tls": True}, "UTF8SMTPS"),
        ({"lmtp": True}, "LMTP"),
        ({"lmtp": True, "utf8": True}, "UTF8LMTP"),
    ],
)
def test_the_with_keyword_of_rfc_3848(facts: dict[str, Any], keyword: str) -> None:
    values = {"extended": True, "tls": False, "login": False, "utf8": False, "lmtp": False, **facts}
    assert protocol_keyword(**values) == keyword
