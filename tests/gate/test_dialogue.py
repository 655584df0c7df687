"""The dialogue of a session, as its event has it: bounded, and nothing in it that a terminal would obey."""

from __future__ import annotations

import pytest

from gatepost.gate.dialogue import MAX_CHARACTERS, MAX_LINES, Dialogue
from gatepost.mail.reply import Reply


def lines(*heard: bytes | str) -> list[str]:
    dialogue = Dialogue()
    for line in heard:
        dialogue.heard(line)
    return dialogue.lines()


def test_both_sides_stand_in_the_order_of_the_session() -> None:
    dialogue = Dialogue()
    dialogue.said(Reply(220, "", "mx.example.org ESMTP"))
    dialogue.heard(b"NOOP")
    dialogue.said(Reply(550, "5.7.1", "No", "01M87F77XQ0R2YTJQHNA6PJ2HQ"))
    dialogue.said("+OK done")
    assert dialogue.lines() == [
        "S: 220 mx.example.org ESMTP",
        "C: NOOP",
        "S: 550 5.7.1 No (01M87F77XQ0R2YTJQHNA6PJ2HQ)",
        "S: +OK done",
    ]


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (b"EHLO \x1b[2J", "C: EHLO \\x1b[2J"),
        (b"EHLO \xc3\xa4\xff", "C: EHLO \\xc3\\xa4\\xff"),
        (b"EHLO a\\x0db", "C: EHLO a\\x5cx0db"),
        (b"EHLO a\x7f\t\0", "C: EHLO a\\x7f\\x09\\x00"),
    ],
)
def test_what_cannot_be_printed_is_shown_as_octets_and_can_be_read_back(octets: bytes, shown: str) -> None:
    assert lines(octets) == [shown]
    assert lines(octets.decode("latin-1"))[0].isprintable()


def test_a_long_line_and_a_long_session_are_cut_and_say_so() -> None:
    (line,) = lines(b"x" * (MAX_CHARACTERS + 1))
    assert line == "C: " + "x" * MAX_CHARACTERS + "..."
    assert lines(b"y" * MAX_CHARACTERS) == ["C: " + "y" * MAX_CHARACTERS]
    cut = lines(*[b"NOOP"] * (MAX_LINES + 7))
    assert len(cut) == MAX_LINES + 1
    assert cut[-1] == "(7 more lines)"
