from __future__ import annotations

import msgspec
import pytest

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.smtp import client_commands as commands
from gatepost.protocol.smtp.client_commands import Needs
from gatepost.protocol.smtp.client_replies import PeerOffer

ALL = PeerOffer(size=0, eight_bit_mime=True, smtputf8=True, dsn=True, auth=("PLAIN",))
NONE = PeerOffer()
ADA = Path("ada", "example.org")
FULL = Envelope(ADA, body="8BITMIME", smtputf8=True, ret="HDRS", envid="Q=1+2", size=5)


@pytest.mark.parametrize(
    ("envelope", "needs", "offer", "line"),
    [
        (Envelope(ADA), Needs(10), NONE, "MAIL FROM:<ada@example.org>"),
        (Envelope(), Needs(10), NONE, "MAIL FROM:<>"),
        (FULL, Needs(10), NONE, "MAIL FROM:<ada@example.org>"),
        (
            FULL,
            Needs(10),
            ALL,
            "MAIL FROM:<ada@example.org> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=Q+3D1+2B2 AUTH=<>",
        ),
        (Envelope(ADA), Needs(7, has_8bit=True), ALL, "MAIL FROM:<ada@example.org> SIZE=7 BODY=8BITMIME AUTH=<>"),
        (Envelope(ADA), Needs(7, utf8_header=True), ALL, "MAIL FROM:<ada@example.org> SIZE=7 SMTPUTF8 AUTH=<>"),
        (Envelope(ADA), Needs(7), msgspec.structs.replace(ALL, auth=()), "MAIL FROM:<ada@example.org> SIZE=7"),
        (Envelope(Path("ädá", "exämple.org")), Needs(7), ALL, "MAIL FROM:<ädá@exämple.org> SIZE=7 SMTPUTF8 AUTH=<>"),
        (Envelope(Path("ada", "exämple.org")), Needs(7), NONE, "MAIL FROM:<ada@xn--exmple-cua.org>"),
        (Envelope(Path("a b", "example.org")), Needs(7), NONE, 'MAIL FROM:<"a b"@example.org>'),
    ],
)
def test_mail_has_the_parameters_that_the_peer_offers(
    envelope: Envelope, needs: Needs, offer: PeerOffer, line: str
) -> None:
    utf8 = commands.wants_smtputf8(envelope, needs, offer)
    assert commands.mail(envelope, needs, offer, utf8=utf8, null_auth=True) == line.encode() + b"\r\n"


def test_auth_is_given_only_when_asked_for() -> None:
    assert b"AUTH" not in commands.mail(Envelope(ADA), Needs(1), ALL, utf8=False)


@pytest.mark.parametrize(
    ("recipient", "offer", "line"),
    [
        (Recipient(ADA, ("NEVER",), "rfc822;ada@example.org"), NONE, "RCPT TO:<ada@example.org>"),
        (
            Recipient(ADA, ("SUCCESS", "DELAY"), "rfc822;a+b=c@example.org"),
            ALL,
            "RCPT TO:<ada@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb+3Dc@example.org",
        ),
        (Recipient(ADA, (), "utf-8;ädá@x"), ALL, "RCPT TO:<ada@example.org> ORCPT=utf-8;\\x{E4}d\\x{E1}@x"),
        (Recipient(ADA, (), "rfc822;ä@x"), ALL, "RCPT TO:<ada@example.org> ORCPT=utf-8;\\x{E4}@x"),
        (Recipient(Path("postmaster", "")), ALL, "RCPT TO:<postmaster>"),
        (Recipient(Path("ada", "exämple.org")), ALL, "RCPT TO:<ada@xn--exmple-cua.org>"),
    ],
)
def test_rcpt_has_dsn_parameters_where_the_peer_offers_dsn(recipient: Recipient, offer: PeerOffer, line: str) -> None:
    assert commands.rcpt(recipient, offer, utf8=False) == line.encode() + b"\r\n"


@pytest.mark.parametrize("local_part", ["a\r\nRCPT TO:<evil@example.net", "a\x00b", "a\nb", "a\x7fb"])
def test_a_value_with_a_line_end_never_becomes_a_second_command(local_part: str) -> None:
    with pytest.raises(LocalProtocolError):
        commands.rcpt(Recipient(Path(local_part, "example.org")), ALL, utf8=False)


@pytest.mark.parametrize("text", ["a\r\nb", "a b", "\x7f"])
def test_control_characters_in_dsn_parameters_are_written_in_hex(text: str) -> None:
    line = commands.mail(Envelope(ADA, envid=text), Needs(1), ALL, utf8=False)
    assert line.endswith(b"\r\n")
    assert line[:-2].isascii()
    assert not set(line[:-2]) & {0x0A, 0x0D, 0x7F}
    rcpt = commands.rcpt(Recipient(ADA, (), f"rfc822;{text}"), ALL, utf8=False)
    assert not set(rcpt[:-2]) & {0x0A, 0x0D, 0x7F}


NO_UTF8 = PeerOffer(size=100, eight_bit_mime=True)


@pytest.mark.parametrize(
    ("envelope", "needs", "offer", "esc"),
    [
        (Envelope(ADA), Needs(100), NO_UTF8, None),
        (Envelope(ADA), Needs(101), NO_UTF8, "5.3.4"),
        (Envelope(ADA), Needs(10**9), PeerOffer(size=0), None),
        (Envelope(ADA), Needs(10**9), PeerOffer(), None),
        (Envelope(ADA), Needs(1, has_8bit=True), PeerOffer(), "5.6.3"),
        (Envelope(ADA), Needs(1, has_8bit=True), NO_UTF8, None),
        (Envelope(ADA, body="8BITMIME"), Needs(1), PeerOffer(), None),  # declared, and yet ASCII
        (Envelope(ADA, smtputf8=True), Needs(1), NO_UTF8, None),  # asked for, and not needed
        (Envelope(ADA), Needs(1, utf8_header=True), NO_UTF8, "5.6.7"),
        (Envelope(Path("ädá", "example.org")), Needs(1), NO_UTF8, "5.6.7"),
        (Envelope(Path("ada", "exämple.org")), Needs(1), NO_UTF8, None),
        (Envelope(Path("ädá", "example.org")), Needs(1, utf8_header=True), ALL, None),
    ],
)
def test_what_the_peer_cannot_take_is_not_sent(
    envelope: Envelope, needs: Needs, offer: PeerOffer, esc: str | None
) -> None:
    reply = commands.unfit(envelope, needs, offer)
    assert (reply and reply.esc) == esc


def test_a_recipient_beyond_ascii_needs_smtputf8() -> None:
    recipient = Recipient(Path("ädá", "example.org"))
    assert commands.unfit_recipient(recipient, ALL) is None
    reply = commands.unfit_recipient(recipient, NO_UTF8)
    assert reply is not None
    assert (reply.code, reply.esc) == (553, "5.6.7")
