"""Replies on the wire: every line whole, short and printable, whatever text went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.reply import Reply


@pytest.mark.parametrize(
    ("reply", "octets"),
    [
        (Reply(250, "2.1.0", "Ok"), b"250 2.1.0 Ok\r\n"),
        (Reply(220, "", "mx.example.org ESMTP"), b"220 mx.example.org ESMTP\r\n"),
        (Reply(334, "", ""), b"334 \r\n"),
        (Reply(550, "5.7.1", "Denied", "01JD"), b"550 5.7.1 Denied (01JD)\r\n"),
        (Reply(250, "", "mx.example.org\nSIZE 10\nDSN"), b"250-mx.example.org\r\n250-SIZE 10\r\n250 DSN\r\n"),
        (Reply(550, "5.7.1", "One\nTwo", "01JD"), b"550-5.7.1 One\r\n550 5.7.1 Two (01JD)\r\n"),
        (Reply(550, "5.1.1", "a\rb\0\x1b[2J\u00e9\\"), b"550 5.1.1 a\\x0db\\x00\\x1b[2J\\xc3\\xa9\\x5c\r\n"),
    ],
)
def test_octets(reply: Reply, octets: bytes) -> None:
    assert reply.encode() == octets


def test_a_long_text_is_cut_at_blanks_into_lines_of_at_most_512_octets() -> None:
    text = " ".join(["word"] * 300)
    lines = Reply(550, "5.7.1", text).encode().split(b"\r\n")[:-1]
    assert len(lines) > 1
    assert all(len(line) + 2 <= 512 for line in lines)
    assert [line[:10] for line in lines[:-1]] == [b"550-5.7.1 "] * (len(lines) - 1)
    assert b" ".join(line[10:] for line in lines).decode() == text


@pytest.mark.parametrize("octets", [496, 497])
def test_the_longest_line_is_512_octets(octets: int) -> None:
    lines = Reply(550, "5.7.1", "x" * (octets + 4)).encode().split(b"\r\n")[:-1]
    assert [len(line) + 2 for line in lines] == ([512] if octets == 496 else [512, 13])


@given(st.text(max_size=1200), st.sampled_from(["", "5.7.1"]), st.sampled_from(["", "01JD"]))
def test_no_text_breaks_the_form(text: str, esc: str, event_id: str) -> None:
    reply = Reply(550, esc, text, event_id)
    octets = reply.encode()
    assert octets.endswith(b"\r\n")
    lines = octets[:-2].split(b"\r\n")
    for i, line in enumerate(lines):
        assert len(line) + 2 <= 512
        assert line.startswith((b"550 " if i == len(lines) - 1 else b"550-") + (esc.encode() + b" " if esc else b""))
        assert all(0x20 <= octet < 0x7F for octet in line)
    assert "\n" not in str(reply)


@pytest.mark.parametrize(
    ("code", "positive", "transient"), [(220, True, False), (354, True, False), (421, False, True), (550, False, False)]
)
def test_kinds(code: int, positive: bool, transient: bool) -> None:
    reply = Reply(code, "", "x")
    assert (reply.is_positive, reply.is_transient) == (positive, transient)


def test_an_id_can_be_added_for_the_remote_postmaster() -> None:
    assert str(Reply(550, "5.7.1", "Denied").with_id("01JD")) == "550 5.7.1 Denied (01JD)"
    assert str(Reply(250, "", "a\nb")) == "250 a / b"
