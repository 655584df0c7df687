"""Replies and capabilities as octets."""

from __future__ import annotations

import pytest

from gatepost.mail.reply import Reply as SmtpReply
from gatepost.protocol.pop3.capabilities import Offer, capability_lines, mechanism_lines
from gatepost.protocol.pop3.replies import Reply, err, from_smtp, ok


@pytest.mark.parametrize(
    ("reply", "octets"),
    [
        (ok(), b"+OK\r\n"),
        (ok("2 320"), b"+OK 2 320\r\n"),
        (err("no"), b"-ERR no\r\n"),
        (err("locked", "IN-USE"), b"-ERR [IN-USE] locked\r\n"),
        (err("later", "SYS/TEMP").with_id("01JD"), b"-ERR [SYS/TEMP] later (01JD)\r\n"),
        (err("a\r\n+OK b"), b"-ERR a\\x0d\\x0a+OK b\r\n"),
        (err("grün"), b"-ERR gr\\xc3\\xbcn\r\n"),
        (ok("1 a\\057b"), b"+OK 1 a\\057b\r\n"),
    ],
)
def test_a_reply_is_one_printable_line(reply: Reply, octets: bytes) -> None:
    assert reply.encode() == octets


@pytest.mark.parametrize("text", ["x" * 5000, "\r\n" * 5000])
def test_a_reply_is_never_over_512_octets_and_keeps_its_id(text: str) -> None:
    octets = err(text, "AUTH").with_id("01JD").encode()
    assert len(octets) == 512
    assert octets.endswith(b" (01JD)\r\n")


@pytest.mark.parametrize(
    ("smtp", "octets"),
    [
        (SmtpReply(535, "5.7.8", "Credentials invalid", "01JD"), b"-ERR [AUTH] Credentials invalid (01JD)\r\n"),
        (SmtpReply(538, "5.7.11", "Encryption required"), b"-ERR [AUTH] Encryption required\r\n"),
        (SmtpReply(421, "4.7.0", "Too many"), b"-ERR [SYS/TEMP] Too many\r\n"),
        (SmtpReply(454, "4.7.0", "Later"), b"-ERR [SYS/TEMP] Later\r\n"),
        (SmtpReply(554, "5.7.1", "Access denied"), b"-ERR [SYS/PERM] Access denied\r\n"),
        (SmtpReply(504, "5.5.4", "Not offered"), b"-ERR Not offered\r\n"),
        (SmtpReply(250, "2.0.0", "Ok"), b"+OK Ok\r\n"),
    ],
)
def test_a_policy_refusal_says_in_pop3_who_has_to_act(smtp: SmtpReply, octets: bytes) -> None:
    assert from_smtp(smtp).encode() == octets


def test_capabilities_are_what_may_be_used_and_end_with_a_dot() -> None:
    lines = capability_lines(Offer(True, ("SCRAM-SHA-256", "PLAIN"), stls=True)).decode().split("\r\n")
    always = {"TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER", "UTF8 USER", "LANG"}
    assert set(lines) == always | {"USER", "SASL SCRAM-SHA-256 PLAIN", "STLS", "IMPLEMENTATION Gatepost", ".", ""}
    assert lines[-2:] == [".", ""]


def test_no_login_is_offered_where_none_is_allowed() -> None:
    lines = capability_lines(Offer(False, (), stls=False)).decode().split("\r\n")
    assert not {line for line in lines if line.startswith(("USER", "SASL", "STLS"))}


def test_the_list_of_mechanisms_ends_with_a_dot() -> None:
    assert mechanism_lines(Offer(True, ("PLAIN", "LOGIN"))) == b"PLAIN\r\nLOGIN\r\n.\r\n"
    assert mechanism_lines(Offer(False)) == b".\r\n"
