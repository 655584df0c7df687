"""Header fields with UTF-8 made ASCII: one row per kind of field, and what Python's own reader makes of the result."""

from __future__ import annotations

import email
import email.policy
import re

import pytest

from gatepost.mail.downgrade_fields import UNREACHABLE, downgraded_field, encoded_text


def read(field: bytes) -> str:
    """The value as a reader of RFC 2047 and 2231 shows it."""
    name = field.partition(b":")[0].decode()
    return str(email.message_from_bytes(field + b"\r\n", policy=email.policy.default)[name])


def down(field: str) -> bytes:
    octets = downgraded_field(f"{field}\r\n".encode())
    assert octets.isascii()
    return octets


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("Subject: Grüße aus Köln", "Grüße aus Köln"),
        ("Subject: Grüße  und   mehr", "Grüße und mehr"),
        ("Subject: plain words, then 日本語", "plain words, then 日本語"),
        ("Subject: =?UTF-8?Q?an_=C3=A4?= and é", "an ä and é"),
        ("Subject: " + "日本語" * 40, "日本語" * 40),
        ("Subject: " + "naïveté " * 30 + "end", "naïveté " * 30 + "end"),
        ("Subject: Grüße\r\n aus\r\n\tKöln", "Grüße aus Köln"),
        ("Comments: déjà vu", "déjà vu"),
        ("Content-Description: été", "été"),
        ("X-Of-Somebody: été_=?", "été_=?"),
        ("From: Jürgen <jurgen@example.org>", "Jürgen <jurgen@example.org>"),
        ('From: "Müller, Jürgen" <jurgen@example.org>', '"Müller, Jürgen" <jurgen@example.org>'),
        ("From: jurgen@example.org (Jürgen)", "Jürgen <jurgen@example.org>"),
        ("Reply-To: ada@exämple.org", "ada@xn--exmple-cua.org"),
        ("Sender: Ada <ada@exämple.org>", "Ada <ada@xn--exmple-cua.org>"),
        ("To: bob@example.net, Ädä <ada@example.org>", "bob@example.net, Ädä <ada@example.org>"),
        ("Cc: ada@[IPv6:2001:db8::1], Bö <bob@example.net>", "ada@[IPv6:2001:db8::1], Bö <bob@example.net>"),
        ("To: Größe: bob@example.net, Cä <c@example.net>;", "Größe: bob@example.net, Cä <c@example.net>;"),
        ("From: Jürgen <jürgen@example.org>", f'"Jürgen <jürgen@example.org>" <{UNREACHABLE}>'),
        ("Resent-To: jürgen@example.org", f'"jürgen@example.org" <{UNREACHABLE}>'),
        ("To: ü <no address, bob@example.net", f'"ü <no address, bob@example.net" <{UNREACHABLE}>'),
    ],
)
def test_a_field_says_the_same_in_ascii(field: str, shown: str) -> None:
    assert read(down(field)) == shown


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("Return-Path: <jürgen@example.org>", f"Return-Path: <{UNREACHABLE}>"),
        ("Return-Path: <ada@exämple.org>", "Return-Path: <ada@xn--exmple-cua.org>"),
        ("Message-ID: <é@example.org>", "Downgraded-Message-ID: =?UTF-8?B?PMOpQGV4YW1wbGUub3JnPg==?="),
        ("References: <é@x>", "Downgraded-References: =?UTF-8?B?PMOpQHg+?="),
        (
            "Received: from a.example by b.example with UTF8SMTP\r\n for <é@example.org>; Mon, 1 Jan 2024 00:00:00 Z",
            "Received: from a.example by b.example with UTF8SMTP; Mon, 1 Jan 2024\r\n 00:00:00 Z",
        ),
        ("Received: from é.example by b.example", None),
        ("DKIM-Signature: v=1; i=é@example.org", None),
        ("Content-ID: <é@example.org>", None),
        ("Datum-ohne-Doppelpunkt ü", None),
        ("Çontent: x", None),
        ("\ufeffFrom: ada@example.org", "From: ada@example.org"),
        ("\ufeffSubject: é", "Subject: =?UTF-8?B?w6k=?="),
        (
            "Content-Type: text/plain; charset=utf-8; name=é.txt",
            "Content-Type: text/plain;\r\n charset=utf-8;\r\n name*=UTF-8''%C3%A9.txt",
        ),
        (
            'Content-Disposition: attachment; filename="a \\"é\\"; b.txt"; size=3',
            "Content-Disposition: attachment;\r\n filename*=UTF-8''a%20%22%C3%A9%22%3B%20b.txt;\r\n size=3",
        ),
        ("Content-Disposition: attachment; filename*=é", "Content-Disposition: attachment"),
        ("Content-Disposition: é", None),
    ],
)
def test_fields_with_a_grammar_of_their_own(field: str, expected: str | None) -> None:
    assert down(field) == (b"" if expected is None else f"{expected}\r\n".encode())


def test_a_long_file_name_is_read_back_whole() -> None:
    name = "Rechnung für März " * 20 + "日本.pdf"
    octets = down(f'Content-Disposition: attachment; filename="{name}"')
    message = email.message_from_bytes(octets + b"\r\n", policy=email.policy.default)
    assert message.get_filename() == name
    assert max(map(len, octets.split(b"\r\n"))) <= 100


@pytest.mark.parametrize(
    "field", [b"Subject: plain  words\r\n  folded\r\n", b"Subject: caf\xe9\r\n", b"X: \xff\xfe\r\n", b"\r\n", b""]
)
def test_ascii_and_old_charsets_pass_octet_for_octet(field: bytes) -> None:
    assert downgraded_field(field) == field


@pytest.mark.parametrize("text", ["é" * 500, "日本語 テスト " * 50, "a é " * 100, "é " + "b" * 300, "𝕏" * 99])
def test_no_encoded_word_is_over_75_characters_and_none_cuts_a_character(text: str) -> None:
    folded = encoded_text(text, 9)
    words = re.findall(r"=\?UTF-8\?[QB]\?[^?]*\?=", folded)
    assert words
    assert max(map(len, words)) <= 75
    assert read(f"Subject: {folded}\r\n".encode()) == " ".join(text.split())


@pytest.mark.parametrize("evil", ["é\r\nX-Injected: 1", "é\r\n\r\nbody", "é\rX: 1", "é\nX: 1", "é\0"])
@pytest.mark.parametrize("name", ["Subject", "From", "Content-Type", "X-Else", "Message-ID"])
def test_nothing_in_a_field_becomes_a_field_of_its_own(name: str, evil: str) -> None:
    lines = down(f"{name}: text/plain; name={evil}").split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
    assert not any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))
