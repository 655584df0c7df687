"""XCLIENT attributes: what is taken, and that no value raises or becomes a login."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.smtp.xclient import Missing, XclientAttributes, XclientError, parse_attributes


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("ADDR=192.0.2.7 PORT=40112", XclientAttributes(addr="192.0.2.7", port=40112)),
        ("addr=IPV6:2001:DB8::0007", XclientAttributes(addr="2001:db8::7")),
        ("ADDR=IPv6:::ffff:192.0.2.7", XclientAttributes(addr="192.0.2.7")),
        ("DESTADDR=192.0.2.1 DESTPORT=25", XclientAttributes(destaddr="192.0.2.1", destport=25)),
        (
            "NAME=[UNAVAILABLE] ADDR=[unavailable]",
            XclientAttributes(name=Missing.UNAVAILABLE, addr=Missing.UNAVAILABLE),
        ),
        ("NAME=[TEMPUNAVAIL]", XclientAttributes(name=Missing.TEMPORARY)),
        ("NAME=mail.example.net HELO=a+2Bb", XclientAttributes(name="mail.example.net", helo="a+b")),
        ("HELO=a+0D+0Ab", XclientAttributes(helo="a\\x0d\\x0ab")),
        ("PROTO=esmtp", XclientAttributes(proto="ESMTP")),
        ("LOGIN=ada ADDR=192.0.2.7", XclientAttributes(addr="192.0.2.7")),
    ],
)
def test_attributes(text: str, attributes: XclientAttributes) -> None:
    assert parse_attributes(text) == attributes


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "ADDR", "ADDR=", "ADDR=x", "ADDR=IPV6:192.0.2.1", "ADDR=IPV6:fe80::1%eth0", "ADDR=2001:db8::1"),
        *("PORT=65536", "PORT=-1", "PORT=x", "PORT=", "PROTO=HTTP", "FOO=1", "HELO=", "NAME=" + "x" * 256),
        *("ADDR=192.0.2.7 ADDR=192.0.2.8", "HELO=a=b", "HELO=+0d", "ADDR=192.0.2.7  PORT=1", "LOGIN=a=b"),
    ],
)
def test_bad_attributes_are_errors(text: str) -> None:
    with pytest.raises(XclientError) as caught:
        parse_attributes(text)
    assert str(caught.value).isprintable()


def test_a_later_command_keeps_what_it_does_not_say() -> None:
    first = parse_attributes("ADDR=192.0.2.7 NAME=a.example.net")
    second = parse_attributes("NAME=[UNAVAILABLE] PORT=1")
    assert second.over(first) == XclientAttributes(name=Missing.UNAVAILABLE, addr="192.0.2.7", port=1)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["ADDR=", "IPV6:", "PORT=", "::", "1", "+", "%", " ", "[", "]"])).map("".join)
)
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(XclientError):
        parse_attributes(text)
