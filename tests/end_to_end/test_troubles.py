"""What goes wrong around a server: no peer hears 5yz for it, nothing that was answered 250 is lost, an alert tells the
operator, and all goes on by itself when it is over. (A full disk: `test_bad_input`.)"""

from __future__ import annotations

import resource
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.programs import need_root
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.server import ADA, HOST, Server

from gatepost.app.troubles import DNS, FILES, OVER, SPOOL
from gatepost.store.sqlite.connection import connect

LARGE = b"z" * 76 + b"\r\n"
CONFIG = '[domain."example.org"]\n[limits]\nfree_disk = "64KiB"\n'


def message(subject: str, body: bytes = b"hello\r\n") -> bytes:
    return f"From: client@example.net\r\nTo: {ADA}\r\nSubject: {subject}\r\n\r\n".encode() + body


def send(
    client: smtplib.SMTP, subject: str, body: bytes = b"hello\r\n", sender: str = "client@example.net", to: str = ADA
) -> int:
    """The code that ended it."""
    client.ehlo_or_helo_if_needed()
    for code, _ in (client.mail(sender), client.rcpt(to)):
        if code != 250:
            client.rset()
            return code
    return client.data(message(subject, body))[0]


def connected(server: Server) -> smtplib.SMTP:
    return smtplib.SMTP(HOST, server.port("mx"), "client.example.net", timeout=30)


@contextmanager
def limited(server: Server, what: int, most: int) -> Iterator[None]:
    """The only worker has a limit of the system while the block runs."""
    (worker,) = server.workers()
    before = resource.prlimit(worker, what)
    resource.prlimit(worker, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(worker, what, before)


def wait_for_trouble(server: Server, what: str) -> str:
    """The problem, in the words of the alert that tells it."""
    alerts = server.wait_for(
        lambda: [event for event in server.events("alert") if event["details"]["what"] == what], what, 40
    )
    assert alerts[0]["details"]["do"]
    return str(alerts[0]["details"]["problem"])


def open_files(server: Server) -> int:
    (worker,) = server.workers()
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


def test_without_file_descriptors_sessions_go_on_and_hear_451(tmp_path: Path) -> None:
    with Server(tmp_path, ("mx",), config=CONFIG) as server, connected(server) as client:
        assert send(client, "before") == 250
        server.wait_for_mail()
        with limited(server, resource.RLIMIT_NOFILE, open_files(server)):
            assert send(client, "large", LARGE * 9000) == 451  # above 256 KiB content needs a file
            assert send(client, "small") == 250  # kept; its maildrop may have to wait
            assert "are open" in wait_for_trouble(server, FILES)
        server.wait_for(
            lambda: [each for each in server.events("server") if each["details"].get("trouble") == FILES], OVER, 40
        )
        with connected(server) as another:
            assert send(another, "after", LARGE * 9000) == 250
        server.command("queue", "retry", "--all")
        server.wait_for_mail(count=3)
        assert "Traceback" not in server.logged()


def test_a_disk_that_takes_nothing_any_more_is_4yz_until_it_does(tmp_path: Path) -> None:
    """As a disk that the kernel has made read-only: every write fails, reading goes on."""
    with Server(tmp_path, ("mx",), config=CONFIG) as server, connected(server) as client:
        assert send(client, "before") == 250
        server.wait_for_mail()
        with limited(server, resource.RLIMIT_FSIZE, 0):
            codes = []
            for number in range(3):
                with connected(server) as another:
                    codes.append(send(another, f"meanwhile-{number}"))
            assert all(400 <= code < 500 for code in codes), codes
        assert server.wait_for(lambda: sent_anew(server) == 250, "mail is taken again")
        assert wait_for_trouble(server, SPOOL)
        server.wait_for(lambda: len(server.mail()) >= 2, "it is delivered", 60)
        assert not [mail for mail in server.mail() if b"meanwhile" in mail]
        server.command("audit", "verify")


def sent_anew(server: Server) -> int:
    with connected(server) as client:
        return send(client, "after")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    need_root("mounts a folder read-only")
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=False)


def test_a_server_on_a_read_only_disk_does_not_start_and_says_why(read_only: Path, tmp_path: Path) -> None:
    server = Server(tmp_path / "server", ("mx",), config=CONFIG, data=read_only / "data")
    subprocess.run(["mount", "--bind", read_only, read_only], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", read_only], check=True)
    said = server.command("serve", status=1)
    assert "Read-only file system; check the disk" in said
    assert str(read_only) in said
    assert "Traceback" not in said


def test_a_dead_dns_refuses_nobody_for_good(tmp_path: Path) -> None:
    dns = DnsServer({})
    dns.behave(Behaviour.SILENCE)
    with dns.in_thread():
        config = f'[domain."example.org"]\n[dns]\nresolvers = ["{dns.address}"]\ntimeout = "2s"\n'
        with Server(tmp_path, ("mx",), config=config) as server, connected(server) as client:
            for number in range(3):
                assert send(client, "waits", sender=f"client@far{number}.example") == 450
            assert "answered by no resolver" in wait_for_trouble(server, DNS)
            dns.zone["far9.example"] = {"MX": ["10 mx.far9.example."]}
            dns.zone["mx.far9.example"] = {"A": ["192.0.2.1"]}
            dns.behave(Behaviour.ANSWER)
            assert send(client, "after", sender="client@far9.example") == 250
            server.wait_for_mail()


def test_a_damaged_spool_stays_where_it_is_and_the_server_serves_without_it(tmp_path: Path) -> None:
    server = Server(tmp_path, ("mx",), config=CONFIG)
    with server, connected(server) as client:
        assert send(client, "before") == 250
        server.wait_for_mail()
    spool = server.data / "spool" / "0"
    for path in spool.glob("spool.db*"):
        path.unlink()
    (spool / "spool.db").write_bytes(b"no database" * 1000)
    with server, connected(server) as client:
        assert send(client, "after") == 250
        server.wait_for_mail(count=2)
        problem = server.wait_for_event("alert")["details"]["problem"]
        assert str(spool) in problem
        assert "is damaged" in problem
        assert (spool / "spool.db").read_bytes() == b"no database" * 1000
        assert "Traceback" not in server.logged()


def test_a_spool_of_a_newer_version_is_refused_in_words_and_left_alone(tmp_path: Path) -> None:
    server = Server(tmp_path, ("mx",), config=CONFIG)
    with server, connected(server) as client:
        assert send(client, "before") == 250
        server.wait_for_mail()
    connection = connect(server.data / "spool" / "0" / "spool.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    said = server.command("serve", status=1)
    assert "a newer one wrote it; install that version, or restore a backup from before" in said
