"""Postfix in front of us and behind us: messages, refusals and reports pass between the two as between strangers."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from tests.support.postfix import Postfix
from tests.support.server import ADA, BOB, HOST, SECRET, Server, any_certificate, event_id
from tests.support.server_pairs import write_pair

CAROL = "carol@example.net"
DAVE = "dave@example.com"


def message(subject: str, *, sender: str, recipient: str, body: str = "Hello.\r\n.\r\n..\r\n") -> bytes:
    head = f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.net>\r\n"
    return f"{head}Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n{body}".encode()


def report_in(mail: bytes) -> tuple[Message, str]:
    """(the report, the text of its delivery-status part) of a DSN (RFC 3464)."""
    report = message_from_bytes(mail)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert "Return-Path: <>" in mail.decode(errors="replace")
    (status,) = [part for part in report.walk() if part.get_content_type() == "message/delivery-status"]
    return report, str(status)


# --- Postfix hands mail to us ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("mx"), ("mx",)) as server:
        yield server


@pytest.fixture(scope="module")
def before(mx: Server) -> Iterator[Postfix]:
    """A Postfix that hands everything but example.net to our mx, with STARTTLS."""
    settings = {
        "relayhost": f"[{HOST}]:{mx.port('mx')}",
        "smtp_tls_security_level": "verify",
        "smtp_tls_CAfile": str(mx.certificate),
        "smtp_tls_verify_cert_match": "mx.example.org",
        "smtp_tls_loglevel": "1",
        "smtp_host_lookup": "native",
        "smtputf8_enable": "yes",
    }
    with Postfix(settings) as postfix:
        yield postfix


def test_postfix_hands_us_a_message_octet_for_octet(mx: Server, before: Postfix) -> None:
    sent = message("handed-over", sender=CAROL, recipient=ADA)
    with smtplib.SMTP(HOST, before.port, timeout=30) as client:
        client.sendmail(CAROL, [ADA, BOB], sent)
    for account in (ADA, BOB):
        mail = mx.wait_for_subject("handed-over", account)
        trace, _, content = mail.partition(b"From: ")
        assert b"From: " + content == sent.replace(b"\r\n", b"\n")
        assert b"with ESMTPS (TLSv1.3" in trace
        assert b"from postfix.example.net ([127.0.0.1])" in trace
    event = mx.wait_for_event("smtp.message", sender=CAROL)
    assert event["recipients"] == [ADA, BOB]
    mx.wait_for(lambda: "status=sent (250 2.0.0 Message accepted" in before.logged(), "Postfix has our 250")
    assert event["id"] in before.logged()


def test_our_refusal_becomes_postfix_s_report_with_our_id(mx: Server, before: Postfix) -> None:
    with smtplib.SMTP(HOST, before.port, timeout=30) as client:
        client.sendmail(CAROL, ["nobody@example.org"], message("lost", sender=CAROL, recipient="nobody@example.org"))
    (mail,) = before.wait_for(lambda: [mail for mail in before.mail() if b"nobody@example.org" in mail], "a report")
    _, status = report_in(mail)
    assert "Action: failed" in status
    assert "Status: 5.1.1" in status
    refused = event_id(status.replace("\n    ", " "))
    (event,) = mx.events("smtp.message", id=refused)
    assert event["details"]["refused"][0]["recipient"] == "nobody@example.org"


def test_postfix_hands_us_dsn_wishes_and_gets_a_report_of_success(mx: Server, before: Postfix) -> None:
    with smtplib.SMTP(HOST, before.port, timeout=30) as client:
        client.ehlo("client.example.net")
        client.mail(BOB, ["RET=HDRS", "ENVID=QQ314159"])
        client.rcpt(ADA, ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Ada+2Bnews@example.org"])
        client.data(message("told", sender=BOB, recipient=ADA))

    def reports() -> list[bytes]:
        return [mail for mail in mx.mail(BOB) if b"QQ314159" in mail]

    (mail,) = mx.wait_for(reports, "the report of success")
    report, status = report_in(mail)
    assert "Original-Envelope-Id: QQ314159" in status
    assert "Original-Recipient: rfc822;Ada+news@example.org" in status.replace("rfc822; ", "rfc822;")
    assert "Action: delivered" in status
    assert report.get_payload()[-1].get_content_type() == "text/rfc822-headers"  # type: ignore[index, union-attr]


def test_postfix_hands_us_an_international_message(mx: Server, before: Postfix) -> None:
    sent = message("Grüße-aus-Köln", sender="jürgen@example.net", recipient=ADA, body="Grüße\r\n")
    with smtplib.SMTP(HOST, before.port, timeout=30) as client:
        client.ehlo("client.example.net")
        client.sendmail("jürgen@example.net", [ADA], sent, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    event = mx.wait_for_event("smtp.message", sender="jürgen@example.net")
    assert event["reply"].startswith("250 ")


# --- we hand mail to Postfix -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    """A Postfix that keeps mail for carol@example.net, offers STARTTLS, and puts off slow@example.net."""
    certificate, key = write_pair(tmp_path_factory.mktemp("tls"), "postfix.example.net")
    settings = {
        "smtpd_tls_cert_file": str(certificate),
        "smtpd_tls_key_file": str(key),
        "smtpd_tls_security_level": "may",
        "smtpd_tls_received_header": "yes",
        "message_size_limit": "20000000",
        "virtual_mailbox_limit": "0",
        "smtpd_recipient_restrictions": "check_recipient_access inline:{ {slow@example.net=450 4.2.0 come later} }",
        "smtpd_data_restrictions": "reject_unauth_pipelining",
    }
    with Postfix(settings) as postfix:
        yield postfix


@pytest.fixture(scope="module")
def submission(tmp_path_factory: pytest.TempPathFactory, behind: Postfix) -> Iterator[Server]:
    """Our server, whose mail for example.net goes to that Postfix."""
    config = f"""
        [domain."example.org"]
        [domain."example.com"]
        relay_to = "smtp://{HOST}:{behind.port}"
        [route."example.net"]
        to = "smtp://{HOST}:{behind.port}"
        """
    with Server(tmp_path_factory.mktemp("submission"), ("mx", "submission"), config=config) as server:
        yield server


def submit(server: Server, recipient: str, content: bytes, options: tuple[str, ...] = ()) -> str:
    """ada submits; the ID of the message."""
    with smtplib.SMTP(HOST, server.port("submission"), timeout=60) as client:
        client.starttls(context=any_certificate())
        client.login(ADA, SECRET)
        client.mail(ADA)
        code, text = client.rcpt(recipient, options)
        assert code == 250, text
        code, text = client.data(content)
        assert code == 250, text
    return event_id(text)


def test_postfix_takes_our_message_octet_for_octet_inside_tls(submission: Server, behind: Postfix) -> None:
    sent = message("taken", sender=ADA, recipient=CAROL)
    entry = submit(submission, CAROL, sent)
    (mail,) = behind.wait_for(lambda: [mail for mail in behind.mail() if b"Subject: taken\n" in mail], "the message")
    trace, _, content = mail.partition(b"From: ")
    assert b"From: " + content == sent.replace(b"\r\n", b"\n")
    assert b"using TLSv1.3" in trace
    assert b"from mx.example.org" in trace
    attempt = submission.wait_for_event("delivery.attempt", message=entry)
    assert attempt["details"]["verdict"] == "delivered"
    assert "250 2.0.0 Ok: queued as" in attempt["reply"]


def test_messages_that_overlap_on_a_session_reach_a_strict_postfix_each_once(
    submission: Server, behind: Postfix
) -> None:
    names = [f"overlap-{number:02d}" for number in range(40)]
    unknown = names[7::10]  # refused among those that are taken
    sent = {}
    with smtplib.SMTP(HOST, submission.port("submission"), timeout=60) as client:
        client.starttls(context=any_certificate())
        client.login(ADA, SECRET)
        for name in names:
            recipient = "nobody@example.net" if name in unknown else CAROL
            sent[name] = message(name, sender=ADA, recipient=recipient, body=f"MAIL\r\n.\r\n{name}\r\n" * 40)
            client.sendmail(ADA, [recipient], sent[name])

    def taken() -> list[bytes]:
        return [mail for mail in behind.mail() if b"Subject: overlap-" in mail]

    mails = behind.wait_for(lambda: found if len(found := taken()) >= 36 else [], "36 messages")
    contents = sorted(b"From: " + mail.partition(b"\nFrom: ")[2] for mail in mails)
    assert contents == [sent[name].replace(b"\r\n", b"\n") for name in names if name not in unknown]
    for name in unknown:
        (refused,) = submission.wait_for(
            lambda name=name: [mail for mail in submission.mail() if f"Subject: {name}".encode() in mail], "a report"
        )
        assert b"Status: 5.1.1" in refused
    assert len(taken()) == 36
    assert "pipelining" not in behind.logged().lower()


def test_postfix_takes_a_large_message(submission: Server, behind: Postfix) -> None:
    sent = message(
        "large", sender=ADA, recipient=CAROL, body="".join(f".{number:073d}\r\n" for number in range(130_000))
    )
    submit(submission, CAROL, sent)
    found = behind.wait_for(
        lambda: [mail for mail in behind.mail() if b"Subject: large\n" in mail], "the large message"
    )
    assert found[0].endswith(sent.replace(b"\r\n", b"\n"))


def test_a_message_that_is_too_large_for_postfix_is_reported_and_not_sent(submission: Server, behind: Postfix) -> None:
    entry = submit(submission, CAROL, message("huge", sender=ADA, recipient=CAROL, body="x" * 76 + "\r\n") * 150_000)
    report = _report_about(submission, entry)
    assert "Status: 5.3.4" in report
    assert "message size limit" not in behind.logged()  # SIZE told us before


def test_postfix_s_refusal_comes_back_as_our_report(submission: Server, behind: Postfix) -> None:
    entry = submit(submission, "nobody@example.net", message("refused", sender=ADA, recipient="nobody@example.net"))
    status = _report_about(submission, entry)
    assert "Action: failed" in status
    assert "Status: 5.1.1" in status
    assert "Diagnostic-Code: smtp; 550 5.1.1" in status.replace("\n ", " ")


def test_mail_that_postfix_puts_off_waits_in_the_queue_and_can_be_bounced(submission: Server, behind: Postfix) -> None:
    entry = submit(submission, "slow@example.net", message("later", sender=ADA, recipient="slow@example.net"))
    attempt = submission.wait_for_event("delivery.attempt", message=entry)
    assert attempt["details"]["verdict"] == "deferred"
    assert "450 4.2.0" in attempt["reply"]
    assert entry in submission.command("queue", "list")
    submission.command("queue", "bounce", entry)
    assert "Action: failed" in _report_about(submission, entry)
    submission.wait_for(lambda: entry not in submission.command("queue", "list"), "an empty queue")


def test_dsn_wishes_reach_postfix_which_reports_success_to_us(submission: Server, behind: Postfix) -> None:
    """Postfix has no road to example.org, so its report stays with it: what counts is what it was asked."""
    entry = submit(submission, CAROL, message("wishes", sender=ADA, recipient=CAROL), ("NOTIFY=SUCCESS,DELAY",))
    submission.wait_for_event("delivery.attempt", message=entry)
    behind.wait_for(lambda: "sender delivery status notification" in behind.logged(), "Postfix's report of success")
    assert not [mail for mail in submission.mail(ADA) if b"Action: relayed" in mail]  # the next hop does DSN


def test_a_stranger_reaches_a_domain_that_we_relay_and_no_other(submission: Server, behind: Postfix) -> None:
    with smtplib.SMTP(HOST, submission.port("mx"), timeout=30) as client:
        client.ehlo("client.example.net")
        client.mail("stranger@example.net")
        assert client.rcpt(CAROL)[0] == 550
        assert client.rcpt(DAVE)[0] == 250


def _report_about(server: Server, entry: str) -> str:
    """The delivery-status part of the report about a message, in ada's Maildir."""
    message_id = _message_id(server, entry)

    def found() -> list[bytes]:
        return [mail for mail in server.mail(ADA) if message_id in mail and b"multipart/report" in mail]

    (mail,) = server.wait_for(found, f"a report about {entry}")
    return report_in(mail)[1]


def _message_id(server: Server, entry: str) -> bytes:
    (event,) = server.events("smtp.message", id=entry)
    return str(event["details"]["message_id"]).encode()


def test_a_smarthost_takes_our_login_inside_verified_tls(tmp_path: Path) -> None:
    """The smarthost is a server of ours: its submission port with STARTTLS, and with TLS from the first octet."""
    with Server(tmp_path / "smarthost", ("submission", "submissions"), config="""
        [domain."example.org"]
        [domain."example.net"]
        """) as smarthost:  # fmt: skip
        smarthost.command("account", "add", CAROL, "--password-stdin", stdin="carol's own password")
        smarthost.command(
            "account", "add", "relay@example.net", "--send-as", ADA, "--password-stdin", stdin="quite a long secret"
        )
        for scheme, service in (("smtp", "submission"), ("smtps", "submissions")):
            (tmp_path / "smarthost.secret").write_text("quite a long secret\n")
            with Server(
                tmp_path / scheme,
                ("submission",),
                config=f"""
                [domain."example.org"]
                [relay]
                smarthost = "{scheme}://relay%40example.net@localhost:{smarthost.port(service)}"
                smarthost_password = {{ file = "{tmp_path / "smarthost.secret"}" }}
                """,
                environment={"SSL_CERT_FILE": str(smarthost.certificate)},
            ) as ours:
                entry = submit(ours, CAROL, message(f"by-{scheme}", sender=ADA, recipient=CAROL))
                attempt = ours.wait_for_event("delivery.attempt", message=entry)
                assert attempt["details"]["verdict"] == "delivered", attempt
                assert b"with ESMTPSA (TLSv1.3" in smarthost.wait_for_subject(f"by-{scheme}", CAROL)
                event = smarthost.wait_for_event("smtp.message", sender=ADA, login="relay@example.net")
                assert event["helo"] == "mx.example.org"
                assert "quite a long secret" not in str(ours.events() + smarthost.events())


def test_a_smarthost_that_refuses_our_password_costs_no_message(tmp_path: Path) -> None:
    """What went wrong: all mail for others bounced when the smarthost's password had changed."""
    (tmp_path / "smarthost.secret").write_text("last year's secret\n")
    with Server(tmp_path / "smarthost", ("submission",)) as smarthost:
        config = f"""
            [domain."example.org"]
            [relay]
            smarthost = "smtp://bob%40example.org@localhost:{smarthost.port("submission")}"
            smarthost_password = {{ file = "{tmp_path / "smarthost.secret"}" }}
            """
        with Server(tmp_path / "ours", ("submission",), config=config) as ours:
            entry = submit(ours, CAROL, message("kept", sender=ADA, recipient=CAROL))
            attempt = ours.wait_for_event("delivery.attempt", message=entry)
            assert attempt["details"]["verdict"] == "deferred", attempt
            assert "535 5.7.8" in attempt["reply"]
            assert entry in ours.command("queue", "list")
            (login,) = smarthost.events("auth")
            assert login["client"]["ip"] == HOST, login
            assert ours.mail(ADA) == []
