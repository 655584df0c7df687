"""Delivery reports, read back with Python's own parser and as octets."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.address import Path
from gatepost.mail.dsn import Action, RecipientReport, Report, compose
from gatepost.mail.dsn_text import explanation

T0 = datetime(2026, 11, 24, 10, tzinfo=UTC)
HEADER = b"From: bob@example.org\r\nSubject: Lunch\r\nMessage-ID: <lunch-1@example.org>\r\n\r\n"
BOB = Path("bob", "example.org")
EVE = Path("eve", "example.net")


def failed(path: Path = EVE, **more: Any) -> RecipientReport:
    values: dict[str, Any] = {
        "status": "5.1.1",
        "remote": "mx.example.net",
        "diagnostic": "550 5.1.1 no such user",
    }
    return RecipientReport(path, "failed", **{**values, **more})


def report(*recipients: RecipientReport, **more: Any) -> bytes:
    values: dict[str, Any] = {
        "hostname": "mx.example.org",
        "to": BOB,
        "id": "01JD000000000000000000000A",
        "dsn_id": "01JD000000000000000000000B",
        "arrived_at": T0,
        "now": T0 + timedelta(minutes=5),
        "header": HEADER,
    }
    return compose(Report(recipients=recipients or (failed(),), **{**values, **more}))


def parsed(octets: bytes) -> EmailMessage:
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def fields(octets: bytes) -> list[Any]:
    """The groups of the delivery-status part: of the message, then of each recipient."""
    part = parsed(octets).get_payload(1)
    assert isinstance(part, Message)
    assert part.get_content_type() == "message/delivery-status"
    groups = part.get_payload()
    assert isinstance(groups, list)
    return groups


def words(octets: bytes) -> str:
    part = parsed(octets).get_payload(0)
    assert isinstance(part, EmailMessage)
    return str(part.get_content())


def test_a_failure_is_a_report_that_people_and_programs_can_read() -> None:
    octets = report(failed(orcpt="rfc822;Eve@example.net"), envid="QQ314159")
    message = parsed(octets)
    assert message["From"] == "Mail delivery <MAILER-DAEMON@mx.example.org>"
    assert message["To"] == "bob@example.org"
    assert message["Subject"] == "Your message could not be delivered"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == message["References"] == "<lunch-1@example.org>"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers",
    ]  # fmt: skip
    whole, eve = fields(octets)
    assert dict(whole.items()) == {
        "Original-Envelope-Id": "QQ314159",
        "Reporting-MTA": "dns; mx.example.org",
        "Arrival-Date": "Tue, 24 Nov 2026 10:00:00 +0000",
    }
    assert dict(eve.items()) == {
        "Original-Recipient": "rfc822;Eve@example.net",
        "Final-Recipient": "rfc822;eve@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Tue, 24 Nov 2026 10:05:00 +0000",
        "Final-Log-ID": "01JD000000000000000000000A",
    }
    text = words(octets)
    assert "<eve@example.net>" in text
    assert "There is no such mailbox" in text
    assert "mx.example.net answered: 550 5.1.1 no such user" in " ".join(text.split())
    assert "01JD000000000000000000000A" in text


@pytest.mark.parametrize(
    ("action", "subject", "sentence"),
    [
        ("failed", "could not be delivered", "NOT delivered"),
        ("delayed", "is delayed", "You need not send it again"),
        ("delivered", "was delivered", "lies in the mailbox"),
        ("relayed", "passed on", "sends no confirmations"),
        ("expanded", "several recipients", "everybody that these addresses stand for"),
    ],
)
def test_each_action_says_what_it_means_for_the_sender(action: Action, subject: str, sentence: str) -> None:
    until = T0 + timedelta(days=5) if action == "delayed" else None
    octets = report(RecipientReport(EVE, action, "2.0.0", retry_until=until))
    assert subject in parsed(octets)["Subject"]
    assert sentence in " ".join(words(octets).split())
    (_, eve) = fields(octets)
    assert eve["Action"] == action
    assert (eve["Will-Retry-Until"] == "Sun, 29 Nov 2026 10:00:00 +0000") == (action == "delayed")


def test_several_recipients_are_one_report_and_the_worst_names_it() -> None:
    late = RecipientReport(Path("zoe", "example.net"), "delayed", "4.4.1", retry_until=T0 + timedelta(days=5))
    octets = report(late, failed())
    assert "could not be delivered" in parsed(octets)["Subject"]
    assert [group["Action"] for group in fields(octets)[1:]] == ["delayed", "failed"]
    text = words(octets)
    assert text.index("eve@example.net") < text.index("zoe@example.net")


def test_the_whole_message_is_returned_as_it_was() -> None:
    whole = HEADER + b"At noon?\r\n--=_01JD000000000000000000000B\r\n.\r\n"
    octets = report(whole=whole)
    part = parsed(octets).get_payload(2)
    assert isinstance(part, Message)
    assert part.get_content_type() == "message/rfc822"
    assert whole in octets


def test_content_that_guesses_the_boundary_does_not_become_a_part_of_the_report() -> None:
    forged = (
        b"--=_01JD000000000000000000000B\r\nContent-Type: text/html\r\n\r\n<b>pay here</b>\r\n"
        b"--=_01JD000000000000000000000B--\r\n"
    )
    message = parsed(report(whole=HEADER + forged))
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain", "message/delivery-status", "message/rfc822",
    ]  # fmt: skip


@pytest.mark.parametrize("utf8", [False, True])
def test_eight_bits_come_back_as_an_encoded_header(utf8: bool) -> None:
    header = "From: bob@example.org\r\nSubject: Grüße\r\n\r\n".encode()
    octets = report(header=header, whole=header + "Schön\r\n".encode(), smtputf8=utf8)
    assert octets.isascii()
    part = parsed(octets).get_payload(2)
    assert isinstance(part, Message)
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    assert b"Gr=C3=BC=C3=9Fe" in octets
    assert b"Sch" not in octets


def test_an_smtputf8_message_gets_the_report_types_of_rfc_6533() -> None:
    path = Path("bücher", "example.net")
    octets = report(failed(path, orcpt="utf-8;bücher@example.net"), smtputf8=True)
    assert octets.isascii()
    types = [part.get_content_type() for part in parsed(octets).iter_parts()]
    assert types == ["text/plain", "message/global-delivery-status", "message/global-headers"]
    assert b"Final-Recipient: utf-8;b=C3=BCcher@example.net" in octets
    assert "bücher@example.net" in words(octets)


def test_a_utf8_sender_needs_smtputf8_for_the_to_field_only() -> None:
    octets = report(to=Path("jürgen", "example.org"), smtputf8=True)
    eight_bit = [line for line in octets.split(b"\r\n") if not line.isascii()]
    assert eight_bit == ["To: <jürgen@example.org>".encode()]


def test_a_utf8_address_in_an_ascii_report_is_escaped_and_not_lost() -> None:
    octets = report(failed(Path("bücher", "example.net"), orcpt="utf-8;bücher+x@example.net"))
    assert octets.isascii()
    (_, recipient) = fields(octets)
    assert recipient["Final-Recipient"] == r"utf-8;b\x{FC}cher@example.net"
    assert recipient["Original-Recipient"] == r"utf-8;b\x{FC}cher\x{2B}x@example.net"


HOSTILE = "550 5.1.1 no\r\nAction: delivered\r\n\r\nX: \x1b[2J\x00\x07 <b> é\u202e" + "y" * 5000


def test_what_a_next_hop_says_can_forge_nothing() -> None:
    octets = report(failed(diagnostic=HOSTILE, remote="mx\r\nAction: delivered"), envid="a\r\nAction: delivered")
    assert octets.isascii()
    whole, eve = fields(octets)
    assert eve.get_all("Action") == ["failed"]
    assert "Action" not in whole
    assert not any(octet < 32 and octet not in b"\r\n" for octet in octets)
    assert max(len(line) for line in octets.split(b"\r\n")) < 998


@pytest.mark.parametrize("orcpt", ["", "nonsense", "rfc822", "a b;x", "rfc822;x\r\nAction: delivered", ";x"])
def test_an_original_recipient_that_makes_no_sense_is_left_out_or_escaped(orcpt: str) -> None:
    (_, eve) = fields(report(failed(orcpt=orcpt)))
    assert eve.get_all("Action") == ["failed"]
    assert (eve["Original-Recipient"] is not None) == orcpt.startswith("rfc822;")


@given(
    diagnostic=st.text(max_size=300),
    envid=st.text(max_size=100),
    orcpt=st.text(max_size=100).map(lambda text: f"utf-8;{text}"),
    header=st.binary(max_size=200),
    utf8=st.booleans(),
)
def test_no_input_breaks_the_report(diagnostic: str, envid: str, orcpt: str, header: bytes, utf8: bool) -> None:
    header = header.replace(b"\r", b"").replace(b"\n", b"\r\n")
    octets = report(failed(diagnostic=diagnostic, orcpt=orcpt), envid=envid, header=header, smtputf8=utf8)
    assert octets.isascii()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    parts: Any = message.get_payload()
    assert isinstance(parts, list)
    assert len(parts) == 3
    status = parts[1]
    groups = status.get_payload()
    if utf8:
        assert status.get_content_type() == "message/global-delivery-status"
    else:
        assert isinstance(groups, list)
        assert [group.get_all("Action") for group in groups] == [None, ["failed"]]


@pytest.mark.parametrize("status", ["5.1.1", "5.7.26", "5.99.99", "5.0.0", "", "nonsense", "4.4.7"])
def test_every_status_has_words(status: str) -> None:
    assert len(explanation("failed", status, None)) > 20


def test_lines_are_short_enough_for_every_reader() -> None:
    octets = report(failed(diagnostic="550 5.7.1 " + "a reason of many words " * 30))
    text_and_status = octets[: octets.index(b"text/rfc822-headers")]
    assert max(len(line) for line in text_and_status.split(b"\r\n")) <= 80
