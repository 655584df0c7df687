"""Programs that people send mail with, against a real server: in clear, with STARTTLS, with TLS from the first octet,
with every login they know, and with what is rare: SMTPUTF8, 8-bit content, large files, HELO from 1990."""

from __future__ import annotations

import asyncio
import shlex
import smtplib
import subprocess
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
from tests.programs import program
from tests.support.server import ADA, BOB, HOST, SECRET, Server, any_certificate, event_id

STRANGER = "stranger@example.net"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all programs; tests tell their messages apart by a mark."""
    with Server(
        tmp_path_factory.mktemp("server"),
        ("mx", "submission", "submissions", "lmtp"),
        listen={"mx": "xclient = true"},
    ) as server:
        yield server


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("proxied"),
        ("mx", "submissions"),
        listen={"mx": "proxy_protocol = true", "submissions": "proxy_protocol = true"},
    ) as server:
        yield server


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """What tells this test's message from the others."""
    return f"mark-{abs(hash(request.node.nodeid)):x}"


def message(mark: str, *, sender: str = STRANGER, body: str = "Hello.\r\n..\r\n.dots\r\n") -> bytes:
    head = f"From: {sender}\r\nTo: {ADA}\r\nSubject: {mark}\r\nMessage-ID: <{mark}@example.net>\r\n"
    return f"{head}Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n{body}".encode()


def said(command: Sequence[object], stdin: bytes = b"", status: int | None = 0) -> str:
    """What a program printed, on both outputs; it must end with `status` (None: any)."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=60, check=False)
    text = (done.stdout + done.stderr).decode(errors="replace")
    if status is not None:
        assert done.returncode == status, f"{shlex.join(words)}\n{text}"
    return text


def arrived(server: Server, mark: str, sent: bytes, account: str = ADA) -> str:
    """Its Received field, once what was `sent` lies in the Maildir octet for octet, below our trace fields."""
    mail = server.wait_for_subject(mark, account)
    content = sent.replace(b"\r\n", b"\n")
    assert mail.endswith(content)
    trace = mail.removesuffix(content).decode()
    names = [line.partition(":")[0] for line in trace.splitlines() if not line.startswith("\t")]
    # Strangers' mail has what we found out about it, above the hop that found it out (RFC 8601 §4).
    is_strangers = not any(f" with {word} " in trace for word in ("ESMTPSA", "ESMTPA", "LMTP"))
    found = ["Authentication-Results"] if is_strangers else []
    assert names == ["Return-Path", "Delivered-To", *found, "Received"]
    return trace.partition("Received: ")[2]


def with_protocol(received: str) -> str:
    """The `with` of a Received field (RFC 3848)."""
    return received.partition("\tby mx.example.org with ")[2].partition(" ")[0]


# --- swaks -------------------------------------------------------------------------------------------------------


def swaks(server: Server, service: str, *words: object, status: int | None = 0) -> str:
    return said(
        [program("swaks"), "--server", HOST, "--port", server.port(service), "--helo", "client.example.net", *words],
        status=status,
    )


def swaks_data(folder: Path, mark: str, sender: str = STRANGER) -> tuple[bytes, str]:
    """(what swaks sends, the name of the file with it)."""
    sent = message(mark, sender=sender, body="Hello from swaks.\r\n")
    file = folder / "message.eml"
    file.write_bytes(sent.replace(b"\r\n", b"\n").removesuffix(b"\n"))  # it adds one of its own
    return sent, f"@{file}"


@pytest.mark.parametrize(
    ("words", "protocol"),
    [
        ([], "ESMTP"),
        (["--protocol", "SMTP"], "SMTP"),
        (["--pipeline"], "ESMTP"),
        (["-tls"], "ESMTPS"),
        (["-tls", "--pipeline", "--tls-protocol", "tlsv1_2"], "ESMTPS"),
    ],
    ids=["ehlo", "helo only", "pipelining", "starttls", "starttls 1.2 and pipelining"],
)
def test_swaks_sends_to_the_mx(server: Server, tmp_path: Path, mark: str, words: list[str], protocol: str) -> None:
    sent, data = swaks_data(tmp_path, mark)
    log = swaks(server, "mx", "--from", STRANGER, "--to", ADA, "--data", data, *words)
    received = arrived(server, mark, sent)
    assert received.startswith("from client.example.net ([127.0.0.1])")
    assert with_protocol(received) == protocol
    assert event_id(log) in received


@pytest.mark.parametrize("service", ["submission", "submissions"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_and_submits(server: Server, tmp_path: Path, mark: str, service: str, mechanism: str) -> None:
    sent, data = swaks_data(tmp_path, mark, ADA)
    login = ["--auth", mechanism, "--auth-user", ADA, "--auth-password", SECRET]
    tls = "-tlsc" if service == "submissions" else "-tls"
    log = swaks(server, service, "--from", ADA, "--to", BOB, "--data", data, *login, tls)
    received = arrived(server, mark, sent, BOB)
    assert with_protocol(received) == "ESMTPSA"
    assert "127.0.0.1" not in received  # where somebody lives is nobody's business
    event = server.wait_for_event("smtp.message", id=event_id(log))
    assert event["login"] == ADA
    assert SECRET not in str(server.events())


def test_swaks_is_told_that_a_stranger_cannot_relay(server: Server) -> None:
    log = swaks(server, "mx", "--from", STRANGER, "--to", "somebody@far.example", status=24)
    assert "550 5.7.1 Relaying denied" in log


def test_swaks_with_a_wrong_password_is_refused_and_submits_nothing(server: Server) -> None:
    log = swaks(
        server, "submission", "-tls", "--auth", "PLAIN", "--auth-user", ADA, "--auth-password", "wrong", "--to", BOB,
        status=28,
    )  # fmt: skip
    assert "535 5.7.8" in log


def test_swaks_finds_the_end_of_a_pipelined_group_with_a_refusal_inside(server: Server, tmp_path: Path) -> None:
    _, data = swaks_data(tmp_path, "refused")
    log = swaks(server, "mx", "--pipeline", "--from", STRANGER, "--to", f"nobody@example.org,{ADA}", "--data", data)
    assert "550 5.1.1" in log
    assert "250 2.0.0 Message accepted" in log


def test_swaks_speaks_lmtp_with_an_answer_for_each_recipient(server: Server, tmp_path: Path, mark: str) -> None:
    sent, data = swaks_data(tmp_path, mark)
    log = swaks(server, "lmtp", "--protocol", "LMTP", "--from", STRANGER, "--to", f"{ADA},{BOB}", "--data", data)
    assert log.count("250 2.0.0 Message accepted") == 2
    for account in (ADA, BOB):
        assert with_protocol(arrived(server, mark, sent, account)) == "LMTP"


def test_swaks_names_another_client_by_xclient(server: Server, tmp_path: Path, mark: str) -> None:
    sent, data = swaks_data(tmp_path, mark)
    xclient = ["--xclient-addr", "192.0.2.7", "--xclient-name", "client.example.net", "--xclient-port", "40112"]
    swaks(server, "mx", "--from", STRANGER, "--to", ADA, "--data", data, *xclient)
    assert "([192.0.2.7])" in arrived(server, mark, sent)
    event = server.wait_for_event("smtp.session", helo="client.example.net")
    assert event["client"]["ip"] == "192.0.2.7"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("service", ["mx", "submissions"])
def test_swaks_names_another_client_by_the_proxy_protocol(
    behind_proxy: Server, tmp_path: Path, mark: str, version: int, service: str
) -> None:
    sender = STRANGER if service == "mx" else ADA
    sent, data = swaks_data(tmp_path, mark, sender)
    words: list[object] = ["--proxy-version", version, "--proxy-family", "TCP4" if version == 1 else "AF_INET"]
    words += [] if version == 1 else ["--proxy-protocol", "STREAM"]
    words += ["--proxy-source", "192.0.2.7", "--proxy-source-port", 40112]
    words += ["--proxy-dest", "198.51.100.1", "--proxy-dest-port", 25]
    if service == "submissions":
        words += ["-tlsc", "--auth", "PLAIN", "--auth-user", ADA, "--auth-password", SECRET]
    log = swaks(behind_proxy, service, "--from", sender, "--to", ADA, "--data", data, *words)
    arrived(behind_proxy, mark, sent)
    event = behind_proxy.wait_for_event("smtp.message", id=event_id(log))
    assert (event["client"]["ip"], event["client"]["port"]) == ("192.0.2.7", 40112)


# --- curl --------------------------------------------------------------------------------------------------------


def curl(server: Server, service: str, sender: str, recipient: str, content: bytes, *words: object) -> str:
    scheme = "smtps" if service == "submissions" else "smtp"
    url = f"{scheme}://{HOST}:{server.port(service)}/client.example.net"
    return said(
        [
            program("curl"), "--silent", "--show-error", "--verbose", "--url", url, "--mail-from", sender,
            "--mail-rcpt", recipient, "--upload-file", "-", *words,
        ],
        content,
    )  # fmt: skip


def test_curl_sends_to_the_mx_and_checks_the_certificate(server: Server, mark: str) -> None:
    sent = message(mark)
    curl(server, "mx", STRANGER, ADA, sent, "--ssl-reqd", "--cacert", server.certificate)
    assert with_protocol(arrived(server, mark, sent)) == "ESMTPS"


@pytest.mark.parametrize("service", ["submission", "submissions"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "initial response"])
def test_curl_logs_in_and_submits(server: Server, mark: str, service: str, mechanism: str) -> None:
    sent = message(mark, sender=ADA)
    words: list[object] = ["--ssl-reqd", "--insecure", "--user", f"{ADA}:{SECRET}"]
    words += ["--sasl-ir"] if mechanism == "initial response" else ["--login-options", f"AUTH={mechanism}"]
    curl(server, service, ADA, BOB, sent, *words)
    assert with_protocol(arrived(server, mark, sent, BOB)) == "ESMTPSA"


def test_curl_uploads_a_large_attachment(server: Server, mark: str) -> None:
    sent = message(mark, sender=ADA, body="".join(f"{number:074d}\r\n" for number in range(100_000)))
    curl(server, "submissions", ADA, BOB, sent, "--insecure", "--user", f"{ADA}:{SECRET}")
    arrived(server, mark, sent, BOB)


# --- msmtp -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["submission", "submissions"])
@pytest.mark.parametrize("mechanism", ["on", "plain", "login", "scram-sha-256"])
def test_msmtp_logs_in_and_submits(server: Server, mark: str, service: str, mechanism: str) -> None:
    """`on`: the best that both know."""
    sent = message(mark, sender=ADA, body="Hello from msmtp.\r\n.\r\n")
    said(
        [
            program("msmtp"), "--file=/dev/null", "--host=localhost", f"--port={server.port(service)}", "--tls=on",
            f"--tls-starttls={'off' if service == 'submissions' else 'on'}", f"--tls-trust-file={server.certificate}",
            f"--auth={mechanism}", f"--user={ADA}", f"--passwordeval=printf %s {shlex.quote(SECRET)}",
            f"--from={ADA}", BOB,
        ],
        sent.replace(b"\r\n", b"\n"),
    )  # fmt: skip
    assert with_protocol(arrived(server, mark, sent, BOB)) == "ESMTPSA"


# --- Python ------------------------------------------------------------------------------------------------------


def smtplib_client(server: Server, service: str, secure: str) -> smtplib.SMTP:
    if secure == "tls":
        return smtplib.SMTP_SSL(HOST, server.port(service), "client.example.net", context=any_certificate(), timeout=30)
    client = smtplib.SMTP(HOST, server.port(service), "client.example.net", timeout=30)
    if secure == "starttls":
        client.starttls(context=any_certificate())
    return client


@pytest.mark.parametrize("secure", ["clear", "starttls"])
def test_smtplib_sends_to_the_mx(server: Server, mark: str, secure: str) -> None:
    sent = message(mark)
    with smtplib_client(server, "mx", secure) as client:
        assert client.sendmail(STRANGER, [ADA], sent) == {}
    assert with_protocol(arrived(server, mark, sent)) == ("ESMTPS" if secure == "starttls" else "ESMTP")


@pytest.mark.parametrize(("service", "secure"), [("submission", "starttls"), ("submissions", "tls")])
@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login"])
@pytest.mark.parametrize("initial", [True, False])
def test_smtplib_logs_in_and_submits(
    server: Server, mark: str, service: str, secure: str, mechanism: str, initial: bool
) -> None:
    sent = message(mark, sender=ADA)
    with smtplib_client(server, service, secure) as client:
        client.ehlo_or_helo_if_needed()
        client.user, client.password = ADA, SECRET
        client.auth(mechanism.removeprefix("auth_").upper(), getattr(client, mechanism), initial_response_ok=initial)
        assert client.sendmail(ADA, [BOB], sent) == {}
        assert client.sendmail(ADA, [ADA], sent) == {}  # a second one in the same session
    for account in (ADA, BOB):
        assert with_protocol(arrived(server, mark, sent, account)) == "ESMTPSA"


def test_a_login_in_clear_is_offered_to_this_machine_only_behind_no_proxy(server: Server, behind_proxy: Server) -> None:
    """What a stranger behind a proxy on this machine would see else: AUTH without TLS."""
    with smtplib.SMTP(HOST, server.port("submission"), timeout=30) as client:
        client.ehlo("client.example.net")
        assert client.has_extn("auth")
    with behind_proxy.connect("mx") as sock:
        sock.sendall(b"PROXY UNKNOWN\r\nEHLO client.example.net\r\nQUIT\r\n")
        answer = sock.makefile("rb").read()
    assert b"250 " in answer
    assert b"AUTH" not in answer


def test_smtplib_sends_an_international_message(server: Server, mark: str) -> None:
    text = EmailMessage()
    text["From"], text["To"], text["Subject"] = "jürgen@exämple.example", ADA, mark
    text.set_content("Grüße aus Köln\n", cte="8bit")
    with smtplib_client(server, "mx", "clear") as client:
        client.ehlo()
        assert {"smtputf8", "8bitmime"} <= client.esmtp_features.keys()
        client.send_message(text, "jürgen@exämple.example", [ADA])
    mail = server.wait_for_subject(mark)
    assert "Grüße aus Köln".encode() in mail
    assert b"with UTF8SMTP id " in mail
    assert "Return-Path: <jürgen@".encode() in mail


def test_smtplib_sends_eight_bits_where_they_are_declared(server: Server, mark: str) -> None:
    sent = message(mark, body="Grüße\r\n")
    with smtplib_client(server, "mx", "clear") as client:
        client.sendmail(STRANGER, [ADA], sent, mail_options=["BODY=8BITMIME"])
    arrived(server, mark, sent)


@pytest.mark.parametrize("loop_name", ["starttls", "tls"])
def test_aiosmtplib_submits_many_at_once(server: Server, mark: str, loop_name: str) -> None:
    count = 10

    async def submit(number: int) -> None:
        client = aiosmtplib.SMTP(
            hostname=HOST,
            port=server.port("submissions" if loop_name == "tls" else "submission"),
            use_tls=loop_name == "tls",
            start_tls=loop_name == "starttls",
            tls_context=any_certificate(),
            username=ADA,
            password=SECRET,
            local_hostname="client.example.net",
        )
        async with client:
            await client.sendmail(ADA, [BOB], message(f"{mark}-{number}", sender=ADA))

    async def all_at_once() -> None:
        await asyncio.gather(*(submit(number) for number in range(count)))

    asyncio.run(all_at_once())
    for number in range(count):
        server.wait_for_subject(f"{mark}-{number}", BOB)


def test_openssl_sees_starttls_and_a_ticket_that_it_can_use_again(server: Server, tmp_path: Path) -> None:
    ticket = tmp_path / "ticket"
    base = [
        program("openssl"), "s_client", "-connect", f"{HOST}:{server.port('mx')}", "-starttls", "smtp",
        "-CAfile", server.certificate, "-verify_return_error", "-verify_hostname", "mx.example.org", "-ign_eof",
    ]  # fmt: skip
    first = said([*base, "-sess_out", ticket], b"EHLO client.example.net\r\nQUIT\r\n")
    assert "Verify return code: 0 (ok)" in first
    assert "221 2.0.0" in first
    again = said([*base, "-sess_in", ticket], b"EHLO client.example.net\r\nQUIT\r\n")
    assert "Reused, TLSv1.3" in again


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_openssl_cannot_use_yesterday_s_tls(server: Server, version: str) -> None:
    refused = said(
        [
            program("openssl"), "s_client", "-connect", f"{HOST}:{server.port('submissions')}", version,
            "-cipher", "ALL:@SECLEVEL=0",
        ],
        status=1,
    )  # fmt: skip
    assert "Cipher is (NONE)" in refused
