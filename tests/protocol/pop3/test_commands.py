"""Command lines to commands: every form of every command, what is malformed, and what the record may show of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.pop3.commands import (
    Auth,
    AuthResponse,
    Capa,
    Command,
    Dele,
    List,
    Malformed,
    Mechanisms,
    Noop,
    Pass,
    Quit,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
    User,
    Utf8,
    parse_command,
    shown,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"CAPA", Capa()),
        (b"capa", Capa()),
        (b"USER ada@example.org", User("ada@example.org")),
        ("USER grün@example.org".encode(), User("grün@example.org")),
        (b"USER a b", User("a b")),
        (b"PASS secret", Pass("secret")),
        (b"PASS two words ", Pass("two words ")),
        (b"PASS  leading blank", Pass(" leading blank")),
        ("PASS pässword".encode(), Pass("pässword")),
        (b"AUTH", Mechanisms()),
        (b"AUTH PLAIN", Auth("PLAIN", None)),
        (b"auth scram-sha-256-plus", Auth("SCRAM-SHA-256-PLUS", None)),
        (b"AUTH PLAIN =", Auth("PLAIN", b"")),
        (b"AUTH PLAIN AGEAYg==", Auth("PLAIN", b"\0a\0b")),
        (b"STLS", Stls()),
        (b"UTF8", Utf8()),
        (b"STAT", Stat()),
        (b"STAT ", Stat()),
        (b"LIST", List(None)),
        (b"LIST ", List(None)),
        (b"LIST 7", List(7)),
        (b"UIDL", Uidl(None)),
        (b"UIDL 007", Uidl(7)),
        (b"RETR 1", Retr(1)),
        (b"RETR 1  ", Retr(1)),
        (b"Top 1 0", Top(1, 0)),
        (b"TOP 12 4000000000", Top(12, 4000000000)),
        (b"DELE 3", Dele(3)),
        (b"RSET", Rset()),
        (b"NOOP", Noop()),
        (b"QUIT", Quit()),
    ],
)
def test_a_well_formed_line_is_its_command(line: bytes, command: Command) -> None:
    assert parse_command(line) == command


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b" ", b"XTND", b"APOP ada 0", b"USERada", b"\xff\xfe", b"QUIT now", b"STAT 1", b"NOOP x", b"RSET 1"),
        *(b"USER", b"USER ", b"USER \xff", b"PASS", b"PASS \xc3\x28", b"CAPA x", b"STLS x", b"UTF8 x"),
        *(b"RETR", b"RETR ", b"RETR x", b"RETR -1", b"RETR 1 2", b"RETR 99999999999", b"RETR \xd9\xa1", b"DELE"),
        *(b"LIST x", b"LIST 1 2", b"UIDL x", b"TOP", b"TOP 1", b"TOP 1 x", b"TOP x 1", b"TOP 1 -1", b"TOP 1 1 1"),
        *(b"AUTH *", b"AUTH PLAIN \xff", b"AUTH PLAIN ====", b"AUTH PLAIN a b", b"AUTH ABCDEFGHIJKLMNOPQRSTU"),
        *(b"GET / HTTP/1.1", b"RETR 1_0", b"RETR +1"),
    ],
)
def test_a_malformed_line_is_refused_and_names_no_argument(line: bytes) -> None:
    found = parse_command(line)
    assert isinstance(found, Malformed)
    assert not found.reply.is_positive
    assert found.reply.encode().startswith(b"-ERR ")
    assert not found.is_fatal


@given(st.binary(max_size=300))
def test_no_octets_raise_and_every_refusal_is_one_line(line: bytes) -> None:
    found = parse_command(line)
    if isinstance(found, Malformed):
        assert found.reply.encode().count(b"\n") == 1
        assert found.shown.isprintable()


SECRETS = [
    Pass("hunter2"),
    User("hunter2"),
    Auth("PLAIN", b"hunter2"),
    AuthResponse(b"aHVudGVyMg=="),
]


@pytest.mark.parametrize("command", SECRETS)
def test_the_record_shows_no_credential(command: Command) -> None:
    assert "hunter2" not in shown(command)
    assert "aHVudGVyMg" not in shown(command)


@pytest.mark.parametrize("command", [command for command in SECRETS if not isinstance(command, User)])
def test_not_even_the_repr_shows_a_credential(command: Command) -> None:
    assert "hunter2" not in repr(command)
    assert "aHVudGVyMg" not in repr(command)


@pytest.mark.parametrize(
    "line", [b"PASS \xffhunter2", b"hunter2", b"AUTH PLAIN !hunter2", b"PASSWORD hunter2", b"USER \xffhunter2"]
)
def test_a_credential_on_a_malformed_line_is_not_shown(line: bytes) -> None:
    found = parse_command(line)
    assert isinstance(found, Malformed)
    assert "hunter2" not in found.shown + str(found.reply)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (Top(3, 10), "TOP 3 10"),
        (List(None), "LIST"),
        (Uidl(4), "UIDL 4"),
        (Retr(1), "RETR 1"),
        (Dele(2), "DELE 2"),
        (Auth("PLAIN", None), "AUTH PLAIN"),
        (Mechanisms(), "AUTH"),
        (Quit(), "QUIT"),
        (Capa(), "CAPA"),
    ],
)
def test_other_commands_are_shown_as_they_were_meant(command: Command, text: str) -> None:
    assert shown(command) == text
