"""Authentication-Results: what is written no stranger's words can break, and who claims to be us is recognised."""

from __future__ import annotations

import email.policy
from email import message_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.mail.authentication_results import (
    MethodResult,
    authentication_results,
    claims,
    dkim_results,
    spf_result,
)
from gatepost.mail.dkim import DkimResult
from gatepost.mail.spf import SpfResult

US = "mx.example.org"


def test_results_of_several_methods_stand_in_one_field() -> None:
    passed = DkimResult(
        "pass", "example.net", "s1", "@mail.example.net", "rsa-sha256", 2048, mark="Hs2JZSOF", signed=("from",)
    )
    failed = DkimResult("fail", "example.com", "k", reason='the "body" is not\r\nthe one')
    results = [spf_result(SpfResult("pass", "example.net")), *dkim_results((passed, failed))]
    assert authentication_results(US, results) == (
        b"Authentication-Results: mx.example.org;\r\n"
        b"\tspf=pass smtp.mailfrom=example.net;\r\n"
        b"\tdkim=pass header.d=example.net header.s=s1 header.i=@mail.example.net\r\n"
        b"\theader.a=rsa-sha256 header.b=Hs2JZSOF;\r\n"
        b'\tdkim=fail reason="the \\"body\\" is not\\\\x0d\\\\x0athe one" header.d=example.com\r\n'
        b"\theader.s=k\r\n"
    )


def test_nothing_found_is_said_too() -> None:
    assert authentication_results(US, dkim_results(())) == b"Authentication-Results: mx.example.org;\r\n\tdkim=none\r\n"
    assert authentication_results(US, ()) == b"Authentication-Results: mx.example.org; none\r\n"
    helo = SpfResult("none", "client.example.net", "helo")
    assert b"spf=none smtp.helo=client.example.net" in authentication_results(US, [spf_result(helo)])


def test_a_domain_that_is_testing_is_said_to_be() -> None:
    (result,) = dkim_results((DkimResult("pass", "example.net", is_testing=True),))
    assert result.reason == "the domain is testing"


@example("\N{LATIN SMALL LIGATURE FI}" * 400, "\N{LATIN SMALL LIGATURE FI}" * 400)  # each becomes twelve characters
@given(st.text(max_size=400), st.text(max_size=400))
def test_no_words_of_a_stranger_end_a_line_a_value_or_the_field(reason: str, value: str) -> None:
    result = MethodResult("dkim", "fail", reason, (("header.i", value), ("header.d", "example.net")))
    field = authentication_results(US, [result])
    assert field.isascii()
    assert max(len(line) for line in field.split(b"\r\n")) < 998
    message = message_from_bytes(field + b"\r\nbody", policy=email.policy.SMTP)
    assert list(message.keys()) == ["Authentication-Results"]
    unquoted = _without_quoted(field.decode())
    assert unquoted.count(";") == 1
    assert unquoted.count("=") == 2 + bool(reason) + bool(value)
    assert "(" not in unquoted


def _without_quoted(text: str) -> str:
    kept, is_quoted, at = "", False, 0
    while at < len(text):
        if is_quoted and text[at] == "\\":
            at += 1
        elif text[at] == '"':
            is_quoted = not is_quoted
        elif not is_quoted:
            kept += text[at]
        at += 1
    assert not is_quoted
    return kept


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mx.example.org; dkim=pass", True),
        ("MX.Example.ORG; dkim=pass", True),
        ("mx.example.org 1; dkim=pass", True),
        ("mx.example.org.; dkim=pass", True),
        ('"mx.example.org"; dkim=pass', True),
        ('"mx.exam\\ple.org"; dkim=pass', True),
        ("(a comment) mx.example.org (1; 2); dkim=pass", True),
        ("(;) mx.example.org; dkim=pass", True),
        ("(a (nested; one) \\) ;) mx.example.org; dkim=pass", True),
        ("(not closed; mx.example.org; dkim=pass", True),
        ('"not closed; mx.example.org', True),
        ("mx.example.org", True),
        ("(" + "x" * 2000 + ") mx.example.org; dkim=pass", True),
        ("x mx.example.org; dkim=pass", True),
        ("example.org; dkim=pass", False),
        ("mx.example.org.example.com; dkim=pass", False),
        ("notmx.example.org; dkim=pass", False),
        ("my-mx.example.org; dkim=pass", False),
        ("example.net; spf=pass smtp.helo=mx.example.org", False),
        ("(mx.example.org) example.net; dkim=pass", False),
        ("", False),
    ],
)
def test_who_claims_to_be_us(value: str, expected: bool) -> None:
    assert claims(value.encode(), US) is expected


@given(st.binary(max_size=200))
def test_no_octets_raise(value: bytes) -> None:
    claims(value + US.encode(), US)
    assert claims(US.encode() + b";" + value, US)
