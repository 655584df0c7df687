"""Real programs collect mail from us, and real mail programs read our Maildirs."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import os
import poplib
import pty
import pwd
import select
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from tests.peers.pop3_server import Pop3Server
from tests.programs import program
from tests.support.desk import PASSWORD

ADA = "ada@example.org"
FIRST = (
    b"From: bob@example.net\r\nTo: ada@example.org\r\nSubject: first\r\nMessage-ID: <1@example.net>\r\n\r\nhello\r\n"
)
SECOND = (
    b"From: bob@example.net\r\nTo: ada@example.org\r\nSubject: second\r\nMessage-ID: <2@example.net>\r\n\r\n"
    b".dot\r\n..\r\n.\r\nlast\r\n"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Pop3Server]:
    with Pop3Server(tmp_path / "data").running() as server:
        server.deliver(FIRST, SECOND)
        yield server


def left(server: Pop3Server) -> int:
    """Messages in ada's maildrop."""
    return sum(len(os.listdir(server.maildrops.maildir(ADA) / part)) for part in ("new", "cur"))


def trusting_nobody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def run(command: list[object], **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=60, env={**os.environ, **more}, check=False
    )


def on_a_terminal(command: list[object], **more: str) -> int:
    """Run a program that wants a screen, and look at it for as long as there is something to see; its exit code."""
    screen, side = pty.openpty()
    env = {**os.environ, "TERM": "xterm", **more}
    with subprocess.Popen([str(part) for part in command], stdin=side, stdout=side, stderr=side, env=env) as running:
        os.close(side)
        with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
            while select.select([screen], [], [], 30)[0] and os.read(screen, 4096):
                pass
        os.close(screen)
        return running.wait(30)


# Python's poplib


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_poplib_reads_and_removes(tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with Pop3Server(tmp_path / "data", new_loop).running() as server:
        server.deliver(FIRST, SECOND)
        _read_and_remove(server)
        assert left(server) == 1


def _read_and_remove(server: Pop3Server) -> None:
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=20)
    assert client.capa()["SASL"] == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
    client.stls(trusting_nobody())
    assert "STLS" not in client.capa()
    assert client.capa()["SASL"][0] == "SCRAM-SHA-256-PLUS"
    client.utf8()
    client.user(ADA)
    client.pass_(PASSWORD)
    count, octets = client.stat()
    assert (count, octets) == (2, len(FIRST + SECOND))
    assert b"\r\n".join([*client.retr(2)[1], b""]) == SECOND
    assert client.top(1, 0)[1][-2:] == [b"Message-ID: <1@example.net>", b""]
    assert len({line.split()[1] for line in client.uidl()[1]}) == 2
    client.dele(1)
    client.quit()


def test_poplib_over_implicit_tls_and_a_broken_connection_removes_nothing(server: Pop3Server) -> None:
    client = poplib.POP3_SSL("127.0.0.1", server.ports["pop3s"], timeout=20, context=trusting_nobody())
    client.user(ADA)
    client.pass_(PASSWORD)
    client.dele(1)
    client.close()
    again = poplib.POP3_SSL("127.0.0.1", server.ports["pop3s"], timeout=20, context=trusting_nobody())
    server.wait_until_over(1)
    again.user(ADA)
    again.pass_(PASSWORD)
    assert again.stat()[0] == 2
    again.quit()


def test_poplib_hears_why_it_may_not_log_in(server: Pop3Server) -> None:
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=20)
    client.user(ADA)
    with pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\]"):
        client.pass_("wrong")
    client.quit()


def test_fifty_megabytes_come_whole(server: Pop3Server) -> None:
    line = b".%07d of a very long message, sixty-four octets with its end\r\n"
    server.deliver(b"Subject: large\r\n\r\n" + b"".join(line % number for number in range(800_000)))
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=60)
    client.user(ADA)
    client.pass_(PASSWORD)
    _, lines, _ = client.retr(3)
    assert len(lines) == 800_002
    assert lines[-1] + b"\r\n" == line % 799_999
    client.quit()


# curl


@pytest.mark.parametrize(
    ("service", "options"),
    [
        ("pop3", []),
        ("pop3", ["--ssl-reqd", "--insecure"]),
        ("pop3s", ["--insecure"]),
        ("pop3", ["--login-options", "AUTH=PLAIN"]),
        ("pop3", ["--login-options", "AUTH=PLAIN", "--sasl-ir"]),
        ("pop3", ["--login-options", "AUTH=LOGIN"]),
    ],
)
def test_curl_reads_a_message(server: Pop3Server, service: str, options: list[str]) -> None:
    address = f"{service}://127.0.0.1:{server.ports[service]}"
    curl = [program("curl"), "--silent", "--show-error", "--user", f"{ADA}:{PASSWORD}", *options]
    listed = run([*curl, f"{address}/"])
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert listed.stdout == b"1 %d\r\n2 %d\r\n" % (len(FIRST), len(SECOND))
    found = run([*curl, f"{address}/2"])
    assert found.stdout == SECOND
    assert left(server) == 2


def test_curl_removes_a_message(server: Pop3Server) -> None:
    address = f"pop3://127.0.0.1:{server.ports['pop3']}/1"
    curl = [program("curl"), "--silent", "--user", f"{ADA}:{PASSWORD}", "--request", "DELE", "--head"]
    assert run([*curl, address]).returncode == 0
    assert left(server) == 1


# Mail with UTF-8 in its header fields, for old clients and new ones

INTERNATIONAL = (
    "From: Jürgen <jürgen@exämple.net>\r\nTo: ada@example.org\r\nSubject: Grüße\r\n"
    'Content-Type: application/pdf; name="Übersicht.pdf"\r\n\r\nü\r\n'
).encode()


def test_poplib_reads_utf8_as_it_is_or_in_ascii(server: Pop3Server) -> None:
    server.deliver(INTERNATIONAL)
    for asks in (False, True):
        client = poplib.POP3_SSL("127.0.0.1", server.ports["pop3s"], timeout=20, context=trusting_nobody())
        assert "LANG" in client.capa()
        if asks:
            client.utf8()
        client.user(ADA)
        client.pass_(PASSWORD)
        octets = b"\r\n".join([*client.retr(3)[1], b""])
        assert (octets == INTERNATIONAL) is asks
        message = email.message_from_bytes(octets, policy=email.policy.default)
        assert message["subject"] == "Grüße"
        assert message.get_filename() == "Übersicht.pdf" or asks
        assert asks or octets.partition(b"\r\n\r\n")[0].isascii()
        client.quit()


def test_curl_gets_ascii_fields(server: Pop3Server) -> None:
    server.deliver(INTERNATIONAL)
    address = f"pop3s://127.0.0.1:{server.ports['pop3s']}/3"
    found = run([program("curl"), "--silent", "--show-error", "--insecure", "--user", f"{ADA}:{PASSWORD}", address])
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout.partition(b"\r\n\r\n")[0].isascii()
    assert found.stdout.endswith("\r\n\r\nü\r\n".encode())


def test_fetchmail_takes_a_downgraded_message_for_whole(server: Pop3Server, tmp_path: Path) -> None:
    server.deliver(INTERNATIONAL)
    config = tmp_path / "fetchmailrc"
    config.write_text(
        f"poll 127.0.0.1 protocol pop3 port {server.ports['pop3s']} auth password\n"
        f'user "{ADA}" password "{PASSWORD}" ssl no sslcertck\nfetchall no keep mda "cat >> {tmp_path}/mbox"\n'
    )
    config.chmod(0o600)
    done = run([program("fetchmail"), "--nodetach", "--fetchmailrc", config, "--invisible"], HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"Subject: =?UTF-8?B?R3LDvMOfZQ==?=\n" in (tmp_path / "mbox").read_bytes()
    assert left(server) == 0


# Programs that collect mail


@pytest.mark.parametrize(
    ("service", "lines"),
    [
        ("pop3", ["tls off", "auth user"]),
        ("pop3", ["tls on", "tls_starttls on", "tls_certcheck off", "auth plain"]),
        ("pop3s", ["tls on", "tls_starttls off", "tls_certcheck off", "auth scram-sha-256"]),
    ],
)
def test_mpop_collects_everything_once(server: Pop3Server, tmp_path: Path, service: str, lines: list[str]) -> None:
    mail = tmp_path / "collected"
    for part in ("tmp", "new", "cur"):
        (mail / part).mkdir(parents=True)
    config = tmp_path / "mpoprc"
    account = ["account a", "host 127.0.0.1", f"port {server.ports[service]}", f"user {ADA}", f'password "{PASSWORD}"']
    extra = ["keep on", f"uidls_file {tmp_path}/uidls", f"delivery maildir {mail}", "received_header off"]
    config.write_text("\n".join(["defaults", *account, *lines, *extra, ""]))
    config.chmod(0o600)
    for _ in range(2):  # the second time nothing is new: the UIDs are the same
        done = run([program("mpop"), "--file", config, "--all-accounts", "--quiet"])
        assert (done.returncode, done.stderr) == (0, b"")
    found = sorted(path.read_bytes() for path in (mail / "new").iterdir())
    assert found == sorted(content.replace(b"\r\n", b"\n") for content in (FIRST, SECOND))
    assert left(server) == 2


def test_fetchmail_collects_and_removes(server: Pop3Server, tmp_path: Path) -> None:
    config = tmp_path / "fetchmailrc"
    config.write_text(
        f"poll 127.0.0.1 protocol pop3 port {server.ports['pop3s']} auth password\n"
        f'user "{ADA}" password "{PASSWORD}" ssl no sslcertck\n'
        f'fetchall no keep mda "cat >> {tmp_path}/mbox"\n'
    )
    config.chmod(0o600)
    done = run([program("fetchmail"), "--nodetach", "--fetchmailrc", config, "--invisible"], HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    mbox = (tmp_path / "mbox").read_bytes()
    assert b"Subject: first\n" in mbox
    assert b"\n.dot\n..\n.\nlast\n" in mbox
    assert left(server) == 0


# Mail programs that read the Maildir itself


@pytest.fixture
def a_copy(server: Pop3Server) -> Iterator[tuple[Path, int]]:
    """Ada's Maildir where any user may come, and the user it belongs to: Dovecot reads no mail as root."""
    user = os.getuid() or pwd.getpwnam("nobody").pw_uid
    with tempfile.TemporaryDirectory() as folder:
        maildir = Path(folder) / "mail"
        shutil.copytree(server.maildrops.maildir(ADA), maildir)
        for path in (Path(folder), maildir, *maildir.rglob("*")):
            os.chown(path, user, -1)
        yield maildir, user


def test_dovecot_reads_our_maildir(a_copy: tuple[Path, int], tmp_path: Path) -> None:
    maildir, user = a_copy
    config = tmp_path / "dovecot.conf"
    config.write_text(
        f"base_dir = {tmp_path}/run\nlog_path = {tmp_path}/log\nssl = no\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n"
        f"mail_uid = {user}\nmail_gid = {user}\nmail_location = maildir:{maildir}\n"
    )
    doveadm = [program("doveadm"), "-c", config]
    fetched = run(
        [*doveadm, "fetch", "hdr.subject body size.physical size.virtual", "mailbox", "INBOX"],
        HOME=str(maildir.parent),
        USER="ada",
    )
    assert fetched.returncode == 0, fetched.stderr
    text = fetched.stdout.replace(b"\r\n", b"\n")
    assert b"hdr.subject: first\n" in text
    assert b".dot\n..\n.\nlast\n" in text
    for content in (FIRST, SECOND):
        assert b"size.virtual: %d\n" % len(content) in text
        assert b"size.physical: %d\n" % (len(content) - content.count(b"\n")) in text
    assert not [line for line in text.splitlines() if b"rror" in line]


def test_mutt_reads_our_maildir(server: Pop3Server, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    config = tmp_path / "muttrc"
    config.write_text(
        f"set mbox_type=Maildir\nset folder={tmp_path}\nset sleep_time=0\nset wait_key=no\nset quit=yes\n"
        f'unset resolve\nset print=yes\nset print_command="cat >> {printed}"\n'
    )
    keys = "push <first-entry><print-message><last-entry><print-message><quit>"
    command = [program("mutt"), "-n", "-F", config, "-f", server.maildrops.maildir(ADA), "-e", keys]
    assert on_a_terminal(command, HOME=str(tmp_path), LC_ALL="C.UTF-8") == 0
    text = printed.read_bytes()
    assert b"\r" not in text
    assert b"Subject: first\n" in text
    assert b"\n.dot\n..\n.\nlast\n" in text
