"""A message with UTF-8 in its fields on its way to a reader of ASCII: its parts, its bounds, any split of it."""

from __future__ import annotations

import random
import time

import pytest

from gatepost.mail import downgrade
from gatepost.mail.downgrade import DowngradeError, Downgrader


def lines(text: str) -> bytes:
    return "\r\n".join(line.strip() for line in text.strip().splitlines()).encode() + b"\r\n"


def down(octets: bytes, piece: int = 1 << 17) -> bytes:
    downgrader = Downgrader()
    out = [downgrader.feed(octets[at : at + piece]) for at in range(0, len(octets), piece)]
    return b"".join([*out, downgrader.finish()])


MIXED = lines("""
    Subject: é
    Content-Type: multipart/mixed; boundary="out er"

    a preamble with ü
    --out er
    Content-Type: text/plain; charset=utf-8

    Subject: ü stays, this is text
    --out er x
    --outer
    --out er
    Content-Type: multipart/alternative; boundary=inner

    --inner
    X-Part: ü

    --inner--
    an epilogue: ü
    --out er
    Content-Type: message/global

    Subject: ü inside
    Content-Type: text/plain

    Subject: ü stays
    --out er
    Content-Type: application/pdf
    Content-Disposition: attachment; filename=ü.pdf
    --out er--
    Subject: ü stays
""")
DOWN = lines("""
    Subject: =?UTF-8?B?w6k=?=
    Content-Type: multipart/mixed; boundary="out er"

    a preamble with ü
    --out er
    Content-Type: text/plain; charset=utf-8

    Subject: ü stays, this is text
    --out er x
    --outer
    --out er
    Content-Type: multipart/alternative; boundary=inner

    --inner
    X-Part: =?UTF-8?B?w7w=?=

    --inner--
    an epilogue: ü
    --out er
    Content-Type: message/rfc822

    Subject: =?UTF-8?B?w7w=?= inside
    Content-Type: text/plain

    Subject: ü stays
    --out er
    Content-Type: application/pdf
    Content-Disposition: attachment;
    filename*=UTF-8''%C3%BC.pdf
    --out er--
    Subject: ü stays
""").replace(b"\nfilename*", b"\n filename*")


# Blanks behind a boundary are the transport's (RFC 2046 §5.1.1).
MIXED, DOWN = (text.replace(b"er\r\nContent-Type: mul", b"er \t\r\nContent-Type: mul") for text in (MIXED, DOWN))


@pytest.mark.parametrize("piece", [*range(1, 60), 1 << 17])
def test_fields_of_parts_and_of_messages_inside_change_and_nothing_else(piece: int) -> None:
    assert down(MIXED, piece) == DOWN


def test_what_is_ascii_or_no_utf_8_passes_octet_for_octet() -> None:
    for octets in (
        b"",
        b"\r\n",
        b"Subject: a\r\n  b\r\n\r\nbody \xff\r\n",
        b"Subject: caf\xe9\r\n\r\n",
        b"no header",
        b"a",
    ):
        assert down(octets) == octets
        assert down(octets, 1) == octets


def test_what_is_signed_is_left_alone_and_the_fields_around_it_are_not() -> None:
    inside = '--s\r\nContent-Disposition: attachment; filename="ü"\r\n\r\n\r\n--s--\r\n'.encode()
    head = b'Content-Type: multipart/signed; boundary="s"\r\n\r\n'
    assert down("X: ü\r\n".encode() + head + inside) == b"X: =?UTF-8?B?w7w=?=\r\n" + head + inside


@pytest.mark.parametrize("encoding", ["base64", "Quoted-Printable"])
def test_an_encoded_message_inside_is_not_looked_into(encoding: str) -> None:
    octets = f"Content-Type: message/global\r\nContent-Transfer-Encoding: {encoding}\r\n\r\nX: ü\r\n\r\n".encode()
    assert down(octets) == octets


def test_a_part_of_a_digest_is_a_message() -> None:
    octets = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nX: ü\r\n\r\nX: ü\r\n--d--\r\n".encode()
    assert down(octets) == octets.replace("X: ü".encode(), b"X: =?UTF-8?B?w7w=?=", 1)


def test_it_tells_whether_the_header_was_changed_and_gives_nothing_before_it_is_whole() -> None:
    for field, is_changed in (("X: ü", True), ("X: u", False)):
        downgrader = Downgrader()
        assert downgrader.feed(f"{field}\r\n".encode()) == b""
        assert downgrader.feed(b"\r\nbody") != b""
        assert downgrader.is_changed is is_changed


@pytest.mark.parametrize("piece", [1000, 1 << 20])
def test_a_header_without_bounds_is_refused_before_anything_was_given_out(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downgrade, "MAX_HEADER_OCTETS", 5000)
    for octets in ("X: ü\r\n".encode() * 1000, b"X: " + "ü".encode() * 5000):
        downgrader = Downgrader()
        with pytest.raises(DowngradeError):
            assert not any(downgrader.feed(octets[at : at + piece]) for at in range(0, len(octets), piece))
    long = b"X: u\r\n" * 1000 + "X: ü\r\n\r\n".encode()
    assert down(long, piece) == long


def test_random_messages_are_the_same_however_they_are_split() -> None:
    chance = random.Random(6857)
    words = [
        *(b"\r\n", b"--", b"-", b"b", b"--b\r\n", b"\r\n--b--\r\n", b"\r\n\r\n", b" ", b"X: ", "ü".encode(), b"\xff"),
        *(b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: message/rfc822\r\n", b"--bb\r\n", b"\n"),
        *(b"Content-Type: multipart/digest;\r\n boundary=bb\r\n\r\n", b"text", b"\r", b":", b'"', b";", b"<", b"("),
    ]
    for _ in range(3000):
        octets = b"".join(chance.choices(words, k=chance.randrange(1, 40)))
        whole = down(octets)
        assert down(octets, chance.randrange(1, 9)) == whole, octets
        downgraded_twice = down(whole)
        assert down(downgraded_twice) == downgraded_twice


def test_no_message_costs_more_than_its_size() -> None:
    """A message of boundary lines, or of parts without end, must not stop the other sessions."""
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    for body in (
        b"\r\n--" * 250_000,
        b"--b\r\n" * 200_000,
        b"--b\r\n\r\n" * 150_000,
        b"-" * 1_000_000,
        b"\r\n" * 500_000,
    ):
        began = time.process_time()
        assert len(down(head + body)) == len(head + body)
        assert time.process_time() - began < 3.0  # a megabyte; 0.4 s at most where this was written
