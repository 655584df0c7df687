"""Who may use what at a server with two workers: client certificates, guessed passwords, harvested addresses."""

from __future__ import annotations

import base64
import poplib
import signal
import smtplib
import ssl
from pathlib import Path

from tests.end_to_end.running import ADA, CONFIG, PASSWORD, Running, eventually, running
from tests.support.client_certificates import ClientAuthority

BUSY = '[policy."client.rate"]\nmode = "off"\n'
FAR = "someone@far.example"
MESSAGE = f"From: {ADA}\r\nSubject: hello\r\n\r\nhello\r\n"


def showing(certificate: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def test_a_client_certificate_logs_in_over_smtp_and_pop3_until_it_is_revoked(tmp_path: Path) -> None:
    authority = ClientAuthority(tmp_path / "ca")
    device, other = authority.issue("device", ADA), authority.issue("other", "nobody@example.org")
    config = CONFIG.replace("[domain.", f'[tls]\nclient_ca = "{authority.file}"\n[domain.', 1)
    config = config.replace('data = "data"\n', 'data = "data"\ntrusted = []\n') + BUSY
    with running(tmp_path / "server", config=config) as server:
        with server.smtp("submission") as client:
            client.starttls(context=showing(device))
            client.ehlo("device.example")
            assert "EXTERNAL" in client.esmtp_features["auth"]
            assert client.mail(ADA)[0] == 250
            assert client.rcpt(ADA)[0] == 250
            assert client.data(MESSAGE)[0] == 250
            assert client.docmd("AUTH", "EXTERNAL =")[0] == 235
        with server.smtp("submission") as client:
            client.starttls(context=showing(other))
            client.ehlo("other.example")
            assert client.mail(ADA)[0] == 530
        with server.smtp("mx") as client:  # other mail servers are not asked
            client.starttls(context=showing(device))
            client.ehlo("device.example")
            client.mail("x@far.example")
            assert client.rcpt(FAR)[0] == 550
        eventually(server.messages)
        pop3 = poplib.POP3("127.0.0.1", server.port("pop3"), timeout=20.0)
        pop3.stls(context=showing(device))
        assert pop3._shortcmd("AUTH EXTERNAL =").startswith(b"+OK")
        assert pop3.stat()[0] == 1
        pop3.quit()
        authority.revoke(device)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: not can_log_in(server, device))


def can_log_in(server: Running, certificate: Path) -> bool:
    client = server.smtp("submission")
    try:
        client.starttls(context=showing(certificate))
        return client.ehlo("device.example")[0] == 250
    except (ssl.SSLError, OSError, smtplib.SMTPException):
        return False
    finally:
        client.close()


def test_guessing_is_counted_across_workers(tmp_path: Path) -> None:
    """Loopback as a stranger: `trusted` is empty. Each connection may land at another worker."""
    config = CONFIG.replace('data = "data"\n', 'data = "data"\ntrusted = []\n')
    config += '[policy."auth.attempts"]\nper_account = "3/1h"\nper_session = 10\nban = "0s"\n'
    with running(tmp_path / "server", config=config) as server:
        codes = [code_of_login(server, "wrong wrong wrong") for _ in range(5)]
        assert codes == [535] * 3 + [421] * 2
        assert code_of_login(server, PASSWORD) == 421


def code_of_login(server: Running, password: str) -> int:
    client = server.smtp("submission")
    client.starttls(context=showing(None))
    client.ehlo("client.example.net")
    response = base64.b64encode(f"\0{ADA}\0{password}".encode()).decode()
    code = client.docmd("AUTH", f"PLAIN {response}")[0]
    client.close()
    return code


def test_a_harvester_is_banned_at_every_worker(tmp_path: Path) -> None:
    config = CONFIG.replace('data = "data"\n', 'data = "data"\ntrusted = []\n')
    config += '[policy."recipient.harvest"]\nlimit = "4/1h"\nfree = 10\nban = "1h"\n'
    with running(tmp_path / "server", config=config) as server:
        codes = []
        for number in range(5):
            client = server.smtp("mx")
            client.mail("x@far.example")
            codes.append(client.rcpt(f"name{number}@example.org")[0])
            client.close()
        assert codes == [550] * 4 + [421]
        eventually(lambda: greeting(server) != 220)
        assert {greeting(server) for _ in range(8)} <= {421, 554}


def greeting(server: Running) -> int:
    client = smtplib.SMTP(timeout=20.0)
    try:
        return client.connect("127.0.0.1", server.port("mx"))[0]
    except smtplib.SMTPException:
        return 0
    finally:
        client.close()
