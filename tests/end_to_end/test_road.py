"""The whole road, with a real server: in by submission and mx, through the spool, into Maildirs and out over POP3, on
to next hops of every kind, back as reports; and what the record says of it."""

from __future__ import annotations

import poplib
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes
from pathlib import Path

import pytest
from tests.programs import need_root
from tests.support.dns_server import DnsServer
from tests.support.server import ADA, BOB, GATEPOST, HOST, SECRET, Server, any_certificate, event_id
from tests.support.sink import Sink, Taken

STRANGER = "stranger@example.net"
FAR = "far@example.net"  # a member of team@example.org


class Road:
    """A server and what is around it."""

    def __init__(self, server: Server, relayed: Sink, lmtp: Sink, far: Sink) -> None:
        self.server = server
        self.relayed = relayed  # keeps the mail of relayed.example
        self.lmtp = lmtp  # keeps the mail of lmtp.example
        self.far = far  # takes the mail for example.net, which is not ours


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    with ExitStack() as stack:
        relayed = stack.enter_context(Sink({"nobody@relayed.example": "550 5.1.1 We know no such person"}))
        lmtp = stack.enter_context(Sink({"full@lmtp.example": "552 5.2.2 Over quota"}, lmtp=True))
        far = stack.enter_context(Sink({"nobody@example.net": "550 5.1.1 We know no such person"}))
        config = f"""
            [domain."example.org"]
            [domain."relayed.example"]
            relay_to = "smtp://{relayed.address}"
            [domain."lmtp.example"]
            relay_to = "lmtp://{lmtp.address}"
            [route."example.net"]
            to = "smtp://{far.address}"
            [relay]
            networks = ["127.9.0.0/16"]
            [policy."recipient.exists"]
            probe = false  # what comes back as a report is to be seen
            """
        services = ("mx", "submission", "submissions", "pop3", "pop3s", "lmtp")
        server = stack.enter_context(Server(tmp_path_factory.mktemp("server"), services, config=config, workers=2))
        yield Road(server, relayed, lmtp, far)


def message(subject: str, *, sender: str = ADA, recipient: str = BOB) -> bytes:
    head = f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.org>\r\n"
    return f"{head}Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nHello.\r\n.\r\n..two dots\r\n".encode()


def submit(server: Server, recipients: str | list[str], content: bytes, sender: str = ADA) -> str:
    """Log in and submit; the ID of the message."""
    with smtplib.SMTP(HOST, server.port("submission"), timeout=30) as client:
        client.starttls(context=any_certificate())
        client.login(ADA, SECRET)
        return _send(client, sender, recipients, content)


def send(server: Server, recipients: str | list[str], content: bytes, sender: str = STRANGER) -> str:
    """A stranger sends to the mx; the ID of the message."""
    with smtplib.SMTP(HOST, server.port("mx"), "client.example.net", timeout=30) as client:
        client.ehlo()
        return _send(client, sender, recipients, content)


def _send(client: smtplib.SMTP, sender: str, recipients: str | list[str], content: bytes) -> str:
    client.mail(sender)
    for recipient in [recipients] if isinstance(recipients, str) else recipients:
        code, text = client.rcpt(recipient)
        assert code == 250, text
    code, text = client.data(content)
    assert code == 250, text
    return event_id(text)


def taken_with(sink: Sink, subject: str, server: Server) -> Taken:
    def found() -> list[Taken]:
        return [taken for taken in sink.taken if f"Subject: {subject}\r\n".encode() in taken.content]

    (taken,) = server.wait_for(found, f"{subject!r} at {sink.address}")
    return taken


def report_about(server: Server, subject: str, account: str = ADA) -> str:
    """The delivery-status part of the DSN about a message."""

    def found() -> list[bytes]:
        mails = server.mail(account)
        return [mail for mail in mails if b"multipart/report" in mail and f"<{subject}@".encode() in mail]

    (mail,) = server.wait_for(found, f"a report about {subject!r}")
    report = message_from_bytes(mail)
    assert report["Return-Path"] == "<>"
    assert report["Auto-Submitted"] == "auto-replied"
    (status,) = [part for part in report.walk() if part.get_content_type() == "message/delivery-status"]
    return str(status)


# --- kept here ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["pop3", "pop3s"])
def test_what_is_submitted_is_read_over_pop3_octet_for_octet(road: Road, service: str) -> None:
    sent = message(f"through-{service}")
    entry = submit(road.server, BOB, sent)
    road.server.wait_for_subject(f"through-{service}", BOB)
    port = road.server.port(service)
    if service == "pop3s":
        client: poplib.POP3 = poplib.POP3_SSL(HOST, port, context=any_certificate(), timeout=30)
    else:
        client = poplib.POP3(HOST, port, timeout=30)
        client.stls(context=any_certificate())
    client.user(BOB)
    client.pass_(SECRET)
    contents = [b"".join(line + b"\r\n" for line in client.retr(n + 1)[1]) for n in range(client.stat()[0])]
    (content,) = [content for content in contents if f"Subject: through-{service}\r\n".encode() in content]
    assert content.endswith(sent)
    trace = content.removesuffix(sent)
    assert f"id {entry}".encode() in trace
    assert b"Delivered-To: bob@example.org\r\n" in trace
    client.dele(len(contents))
    client.quit()
    road.server.wait_for(lambda: len(road.server.mail(BOB)) == len(contents) - 1, "the message is gone at QUIT")
    session = road.server.wait_for_event("pop3.session", login=BOB, service=service)
    assert session["details"]["removed"] == 1
    assert SECRET not in str(session)


def test_mail_for_aliases_roles_details_and_strangers_of_ours_ends_where_it_should(road: Road) -> None:
    send(road.server, "info@example.org", message("alias"))
    for account in (ADA, BOB):
        road.server.wait_for_subject("alias", account)
    send(road.server, ["<postmaster>", "abuse@example.org"], message("roles"))
    road.server.wait_for_subject("roles", ADA)
    send(road.server, "bob+receipts@example.org", message("detail"))
    assert b"Delivered-To: bob+receipts@example.org\n" in road.server.wait_for_subject("detail", BOB)
    with smtplib.SMTP(HOST, road.server.port("mx"), timeout=30) as client:
        client.ehlo("client.example.net")
        client.mail(STRANGER)
        assert client.rcpt("nobody@example.org")[0] == 550


def test_a_list_reaches_its_members_here_and_elsewhere_and_bounces_go_to_its_owner(road: Road) -> None:
    entry = submit(road.server, "team@example.org", message("to-the-team", recipient="team@example.org"))
    mail = road.server.wait_for_subject("to-the-team", ADA)
    assert b"Return-Path: <bob@example.org>\n" in mail or b"Return-Path: <team" in mail
    far = taken_with(road.far, "to-the-team", road.server)
    assert far.recipients == [FAR]
    assert far.reverse_path != ADA
    assert far.reverse_path.endswith("@example.org")
    story = road.server.command("audit", "show", entry)
    assert FAR in story
    assert "team@example.org" in story


def test_what_comes_by_lmtp_is_answered_for_each_recipient_and_kept(road: Road) -> None:
    with smtplib.LMTP(HOST, road.server.port("lmtp"), timeout=30) as client:
        client.ehlo("client.example.net")
        client.mail(STRANGER)
        assert [client.rcpt(to)[0] for to in (ADA, "nobody@example.org", BOB)] == [250, 550, 250]
        code, _ = client.data(message("by-lmtp"))
        assert code == 250
        assert client.getreply()[0] == 250
    for account in (ADA, BOB):
        assert b"with LMTP id" in road.server.wait_for_subject("by-lmtp", account)


def test_a_program_of_this_machine_sends_by_the_sendmail_command(road: Road) -> None:
    sent = b"To: ada@example.org\nSubject: from-cron\n\nThe job is done.\n"
    done = subprocess.run(
        [GATEPOST, "--config", str(road.server.file), "sendmail", "-t", "-i"],
        input=sent,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mail = road.server.wait_for_subject("from-cron", ADA)
    assert b"Message-ID: <" in mail
    assert b"Date: " in mail
    assert mail.endswith(b"\nThe job is done.\n")


# --- sent on -----------------------------------------------------------------------------------------------------


def test_a_domain_s_mail_goes_to_its_next_hop(road: Road) -> None:
    sent = message("relayed", sender=STRANGER, recipient="carol@relayed.example")
    entry = send(road.server, "carol@relayed.example", sent)
    taken = taken_with(road.relayed, "relayed", road.server)
    assert (taken.reverse_path, taken.recipients) == (STRANGER, ["carol@relayed.example"])
    assert taken.content.endswith(sent)
    assert (
        taken.content.removesuffix(sent)
        .partition(b"\r\n\tdkim=none\r\n")[2]
        .startswith(b"Received: from client.example.net ([127.0.0.1])\r\n")
    )
    assert taken.helo == "mx.example.org"
    attempt = road.server.wait_for_event("delivery.attempt", message=entry)
    assert attempt["details"]["verdict"] == "delivered"
    assert attempt["reply"].startswith("250 2.0.0 Kept")
    assert attempt["details"]["hop"] == f"{HOST}[{HOST}]:{road.relayed.port}"


def test_mail_for_others_leaves_by_the_route(road: Road) -> None:
    entry = submit(road.server, FAR, message("by-route", recipient=FAR))
    taken = taken_with(road.far, "by-route", road.server)
    assert b"127.0.0.1" not in taken.content  # the submitter's address
    assert (taken.reverse_path, taken.recipients) == (ADA, [FAR])
    assert road.server.wait_for_event("delivery.attempt", message=entry)["details"]["route"] == "route"


def test_an_lmtp_next_hop_answers_for_each_recipient(road: Road) -> None:
    entry = submit(road.server, ["carol@lmtp.example", "full@lmtp.example"], message("lmtp-hop"))
    taken = taken_with(road.lmtp, "lmtp-hop", road.server)
    assert taken.recipients == ["carol@lmtp.example"]
    status = report_about(road.server, "lmtp-hop")
    assert "Final-Recipient: rfc822; full@lmtp.example" in status.replace("rfc822;full", "rfc822; full")
    assert "carol@" not in status
    assert "Status: 5.2.2" in status
    attempt = road.server.wait_for_event("delivery.attempt", message=entry)
    verdicts = {result["recipient"]: result["verdict"] for result in attempt["details"]["results"]}
    assert verdicts == {"carol@lmtp.example": "delivered", "full@lmtp.example": "failed"}


def test_a_refusal_of_the_next_hop_comes_back_as_a_report(road: Road) -> None:
    entry = submit(road.server, "nobody@example.net", message("refused-there"))
    status = report_about(road.server, "refused-there")
    assert "Action: failed" in status
    assert "Status: 5.1.1" in status
    assert "550 5.1.1 We know no such person" in status
    assert "Remote-MTA: dns" in status
    story = road.server.command("audit", "show", entry)
    for part in ("nobody@example.net", "We know no such person", ADA, "250 2.0.0 Message accepted"):
        assert part in story


def test_a_report_that_cannot_be_delivered_makes_no_other(road: Road) -> None:
    entry = submit(road.server, "nobody@example.net", message("null"), sender="")
    attempt = road.server.wait_for_event("delivery.attempt", message=entry)
    assert attempt["details"]["verdict"] == "failed"
    road.server.wait_for(lambda: entry not in road.server.command("queue", "list"), "an empty queue")
    assert not [event for event in road.server.events("smtp.message") if event.get("sender") == "<>"][1:]
    assert not [taken for taken in road.far.taken if b"multipart/report" in taken.content]


# --- not sent on -------------------------------------------------------------------------------------------------


def test_a_stranger_relays_nothing_and_it_is_on_the_record(road: Road) -> None:
    with smtplib.SMTP(HOST, road.server.port("mx"), timeout=30) as client:
        client.ehlo("relayer.example.net")
        client.mail(STRANGER)
        for recipient in (FAR, "@example.org:far@example.net", "far%example.net@example.org", "far@[127.0.0.1]"):
            code, text = client.docmd(f"RCPT TO:<{recipient}>")
            assert code == 550, (recipient, text)
        code, text = client.rcpt(FAR)
    event = road.server.wait_for_event("smtp.message", id=event_id(text))
    refused = [verdict for verdict in event["verdicts"] if verdict["verdict"] == "reject"]
    assert {"relay"} <= {verdict["check"] for verdict in refused}
    assert "example.net is not ours" in str(refused)
    assert FAR in str(event["details"]["refused"])
    assert "Relaying denied" in road.server.command("audit", "show", event["id"])
    assert "relay" in road.server.command("policy", "explain", event["id"])


def test_submission_needs_a_login_and_the_sender_must_be_one_s_own(road: Road) -> None:
    with smtplib.SMTP(HOST, road.server.port("submission"), timeout=30) as client:
        client.starttls(context=any_certificate())
        client.ehlo("client.example.net")
        code, _ = client.mail(ADA)
        if code == 250:
            code, _ = client.rcpt(FAR)
        assert code in (530, 550)
        client.rset()
        client.login(ADA, SECRET)
        code, text = client.mail(BOB)
        if code == 250:
            code, text = client.rcpt(FAR)
        assert code in (550, 553), text


def test_a_network_that_may_relay_needs_no_login(road: Road) -> None:
    """127.9.0.0/16 may: the connection comes from there."""
    with smtplib.SMTP(HOST, road.server.port("mx"), timeout=30, source_address=("127.9.1.1", 0)) as client:
        client.ehlo("printer.example.org")
        _send(client, "printer@example.org", FAR, message("printed", sender="printer@example.org"))
    assert taken_with(road.far, "printed", road.server).reverse_path == "printer@example.org"


# --- MX ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mx_hosts() -> Iterator[Sink]:
    """A sink where MX look for one: on port 25, of a loopback address that nothing else has."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if lowest > 25:
        need_root("MX means port 25")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.25.0.2", 25))
        except OSError as error:
            pytest.fail(f"127.25.0.2:25 is taken ({error}); stop what listens on port 25 of all addresses")
    with Sink(host="127.25.0.2", port=25) as sink:
        yield sink


def test_mail_finds_its_way_by_mx_over_a_dead_host_to_the_next(tmp_path: Path, mx_hosts: Sink) -> None:
    resolver = DnsServer(
        {
            "example.com": {"MX": ["20 second.example.com.", "10 first.example.com."]},
            "first.example.com": {"A": ["127.25.0.1"]},
            "second.example.com": {"A": ["127.25.0.2"]},
            "null.example": {"MX": ["0 ."]},
            "alone.example": {"A": ["127.25.0.2"]},
        }
    )
    with resolver.in_thread():
        config = f"""
            [domain."example.org"]
            [dns]
            resolvers = ["{resolver.address}"]
            [delivery]
            private = true
            """
        with Server(tmp_path, ("submission",), config=config) as server:
            entry = submit(server, ["x@example.com", "y@example.com"], message("by-mx"))
            taken = taken_with(mx_hosts, "by-mx", server)
            assert taken.recipients == ["x@example.com", "y@example.com"]
            attempt = server.wait_for_event("delivery.attempt", message=entry)
            assert attempt["details"]["route"] == "mx"
            assert "first.example.com" in str(attempt["details"]["tried"])
            submit(server, "x@alone.example", message("by-address"))
            assert taken_with(mx_hosts, "by-address", server).recipients == ["x@alone.example"]
            assert "5.1.10" in refusal_of(server, "x@null.example", "null-mx")
            assert refusal_of(server, "x@absent.example", "no-domain")


def refusal_of(server: Server, recipient: str, subject: str) -> str:
    """What ada hears of a message that cannot be delivered: at RCPT already, or in a report."""
    with smtplib.SMTP(HOST, server.port("submission"), timeout=30) as client:
        client.starttls(context=any_certificate())
        client.login(ADA, SECRET)
        client.mail(ADA)
        code, text = client.rcpt(recipient)
        if code >= 500:
            return text.decode()
        assert client.data(message(subject))[0] == 250
    return report_about(server, subject)


def test_an_mx_that_points_at_this_machine_gets_nothing(tmp_path: Path) -> None:
    resolver = DnsServer({"inward.example": {"MX": ["10 inward.example."], "A": ["127.0.0.1"]}})
    with resolver.in_thread():
        config = f"""
            [domain."example.org"]
            [dns]
            resolvers = ["{resolver.address}"]
            """
        with Server(tmp_path, ("mx", "submission"), config=config) as server:
            told = refusal_of(server, "x@inward.example", "inward")
            assert "5.4.4" in told or "5.4.6" in told
