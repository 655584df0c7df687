"""What goes wrong on the open net and on real machines: endless lines, garbage, TLS in the wrong place, peers that
leave half-way, a full disk, a port in use, a broken file. Each is answered, nothing is lost, and the others are
served."""

from __future__ import annotations

import os
import random
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from tests.programs import need_root
from tests.support.server import ADA, BOB, GATEPOST, HOST, SECRET, Server, any_certificate
from tests.support.sink import Sink

from gatepost.app.troubles import ROOM

MIB: Final = 2**20
STRANGER: Final = "stranger@example.net"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert "session failed" not in server.logged()  # no input is our error
        assert "Traceback" not in server.logged()


@pytest.fixture(autouse=True)
def goes_on(server: Server) -> Iterator[None]:
    """Whatever a test did: the next peer is served."""
    yield
    assert send(server, "and-then") == 250


def message(subject: str, body: bytes = b"Hello.\r\n") -> bytes:
    return f"From: {STRANGER}\r\nSubject: {subject}\r\n\r\n".encode() + body


def send(server: Server, subject: str, body: bytes = b"Hello.\r\n") -> int:
    """The code of the reply that a stranger's message gets."""
    with smtplib.SMTP(HOST, server.port("mx"), "client.example.net", timeout=30) as client:
        client.ehlo()
        code, _ = client.mail(STRANGER)
        if code == 250:
            code, _ = client.rcpt(ADA)
        return code if code != 250 else client.data(message(subject, body))[0]


def read_all(sock: socket.socket) -> bytes:
    """Until the server closes; a reset is an end too."""
    octets = b""
    try:
        while piece := sock.recv(65536):
            octets += piece
    except ConnectionResetError:
        pass
    return octets


def resident(server: Server) -> int:
    """Octets of memory that the one worker holds."""
    (worker,) = server.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.M)
    assert found
    return int(found[1]) * 1024


def peak(server: Server) -> int:
    """The most that the worker ever held, since `forget_peak`."""
    (worker,) = server.workers()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{worker}/status").read_text(), re.M)
    assert found
    return int(found[1]) * 1024


def forget_peak(server: Server) -> None:
    (worker,) = server.workers()
    Path(f"/proc/{worker}/clear_refs").write_text("5")


# --- octets that are no SMTP -------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["mx", "submission", "pop3"])
def test_an_endless_line_costs_no_memory_and_is_refused_once(server: Server, service: str) -> None:
    before = resident(server)
    with server.connect(service) as sock:
        sock.recv(1000)
        sock.settimeout(30)
        try:
            for _ in range(400):
                sock.sendall(b"x" * 65536)
            sock.sendall(b"\r\nQUIT\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server had enough
        said = read_all(sock)
    assert said.count(b"\r\n") <= 2
    # 421: tests before this one have said much that is no command, from this address.
    assert said == b"" or said.startswith((b"500 5.5.2", b"421 4.7.0 Too many unknown commands", b"-ERR"))
    assert resident(server) - before < 4 * MIB


@pytest.mark.parametrize(
    ("service", "command"),
    [("mx", b"EHLO x\r\n"), ("mx", b"NOOP\r\n"), ("mx", b"\r\n"), ("submission", b"HELP\r\n"), ("pop3", b"CAPA\r\n")],
    ids=["EHLO", "NOOP", "nothing", "HELP", "CAPA"],
)
def test_a_peer_that_asks_and_never_reads_costs_little_memory(server: Server, service: str, command: bytes) -> None:
    """What an attacker would see else: eight octets from him cost us 300."""
    forget_peak(server)
    before = resident(server)
    with server.connect(service) as sock:
        sock.settimeout(0.5)
        try:
            for _ in range(400):
                sock.sendall(command * (65536 // len(command)))
        except OSError:
            pass  # it does not read any more, or had enough
        grown = peak(server) - before
        print(f"{command!r} without reading: {grown / MIB:.1f} MiB more at the peak")
    assert grown < 4 * MIB


@pytest.mark.parametrize("service", ["mx", "submission", "submissions", "pop3", "pop3s"])
def test_garbage_ends_in_refusals_and_in_no_error_of_ours(server: Server, service: str) -> None:
    octets = random.Random(service)
    for size in (1, 2, 3, 5, 100, 1000, 100_000):
        with server.connect(service) as sock:
            try:
                sock.sendall(octets.randbytes(size))
                sock.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError, OSError):
                pass
            said = read_all(sock)
        assert not re.search(rb"^250 2\.0\.0 Message accepted", said, re.M)


@pytest.mark.parametrize("service", ["mx", "submission", "pop3"])
def test_a_tls_client_at_a_plain_port_is_told_and_leaves(server: Server, service: str) -> None:
    with server.connect(service) as sock, pytest.raises(ssl.SSLError):
        any_certificate().wrap_socket(sock, server_hostname="mx.example.org")


@pytest.mark.parametrize("service", ["submissions", "pop3s"])
def test_a_plain_client_at_a_tls_port_gets_no_session(server: Server, service: str) -> None:
    with server.connect(service) as sock:
        sock.sendall(b"EHLO client.example.net\r\n")
        said = read_all(sock)
    assert b"220" not in said
    assert b"+OK" not in said


def test_a_web_browser_at_the_mail_port_sends_no_mail(server: Server) -> None:
    """A page can make a browser POST what it likes to port 25 of the host in its address bar."""
    with server.connect("mx") as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: mx.example.org\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.example>\r\n"
            b"RCPT TO:<ada@example.org>\r\nDATA\r\nFrom: a@b.example\r\n\r\nhi\r\n.\r\nQUIT\r\n"
        )
        said = read_all(sock)
    assert b"Message accepted" not in said


# --- peers that leave --------------------------------------------------------------------------------------------


ENVELOPE: Final = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.org>\r\n"
HALVES: Final = {
    "in DATA": b"DATA\r\nFrom: a@b.example\r\nSubject: half\r\n\r\nhalf",
    "in a chunk": b"BDAT 1000\r\nFrom: a@b.example\r\nSubject: half\r\n",
    "between chunks": b"BDAT 15\r\nSubject: half\r\n",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("how", ["half-closed", "closed", "reset"])
def test_half_a_message_is_not_kept_and_is_on_the_record(server: Server, half: bytes, how: str) -> None:
    before = len(server.events("smtp.message", helo="c.example"))
    with server.connect("mx") as sock:
        sock.sendall(ENVELOPE + half)
        if how == "half-closed":
            sock.shutdown(socket.SHUT_WR)
            assert b"Message accepted" not in read_all(sock)
        else:  # it leaves when it was read: a reset throws away what the server's kernel still has
            heard = b""
            while b"\r\n250 2.1.5 " not in heard:
                heard += sock.recv(10_000)
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    server.wait_for(
        lambda: len(server.events("smtp.message", helo="c.example")) > before, "the message is on the record"
    )
    event = server.events("smtp.message", helo="c.example")[-1]
    assert event.get("reply", "") == ""
    assert event["details"]["ended"]
    assert not list(server.data.glob("spool/*/content/*"))
    assert not [mail for mail in server.mail(ADA) if b"Subject: half\n" in mail]


def test_what_a_half_closed_peer_has_asked_is_answered(server: Server) -> None:
    with server.connect("mx") as sock:
        sock.sendall(ENVELOPE + b"BDAT 30 LAST\r\nFrom: a@b.example\r\n\r\nhalfway\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert b"250 2.0.0 Message accepted" in read_all(sock)


# --- large things ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["DATA", "BDAT"])
def test_fifty_megabytes_cost_a_few_mebibytes_of_memory(server: Server, how: str) -> None:
    line = b"0123456789" * 7 + b"abcd\r\n"
    content = message(f"large-{how}") + line * (50_000_000 // len(line))
    with server.connect("mx", timeout=60) as sock:
        file = sock.makefile("rb")
        file.readline()
        sock.sendall(ENVELOPE)
        while not file.readline().startswith(b"250 2.1.5"):
            pass
        forget_peak(server)
        before = resident(server)
        if how == "DATA":
            sock.sendall(b"DATA\r\n")
            assert file.readline().startswith(b"354")
            sock.sendall(content)
            sock.sendall(b".\r\n")
        else:
            sock.sendall(b"BDAT %d LAST\r\n" % len(content))
            sock.sendall(content)
        reply = file.readline()
        assert reply.startswith(b"250 2.0.0"), reply
    server.wait_for(lambda: any(f"large-{how}".encode() in _head(path) for path in _files(server)), "it is delivered")
    grown = peak(server) - before
    print(f"50 MB by {how}: {grown / MIB:.1f} MiB more at the peak")
    assert grown < 6 * MIB


def _files(server: Server) -> list[Path]:
    return list((server.data / "maildrops/example.org/ada/new").glob("*"))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2000)


def test_many_large_messages_at_once_cost_little_more_than_one(server: Server) -> None:
    body = (b"m" * 76 + b"\r\n") * 100_000
    count = 12
    forget_peak(server)
    before = resident(server)
    with ThreadPoolExecutor(count) as clients:
        codes = list(clients.map(lambda number: send(server, f"parallel-{number}", body), range(count)))
    assert codes == [250] * count
    grown = peak(server) - before
    print(f"{count} messages of 7.8 MB at once: {grown / MIB:.1f} MiB more at the peak")
    assert grown < 24 * MIB
    for number in range(count):
        server.wait_for_subject(f"parallel-{number}")


def test_a_message_over_the_limit_is_refused_by_its_size_and_at_its_end(server: Server) -> None:
    with smtplib.SMTP(HOST, server.port("mx"), timeout=60) as client:
        client.ehlo("c.example")
        code, text = client.mail("a@b.example", ["SIZE=99999999"])
        assert (code, text[:5]) == (552, b"5.3.4")
        client.mail("a@b.example")
        client.rcpt(ADA)
        forget_peak(server)
        before = resident(server)
        code, text = client.data(message("too-large", (b"y" * 76 + b"\r\n") * 700_000))
        assert (code, text[:5]) == (552, b"5.3.4")
        assert peak(server) - before < 6 * MIB
        assert client.noop()[0] == 250
    assert not list(server.data.glob("spool/*/content/*"))


# --- a full disk -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB, or of as many as the test says."""
    need_root("mounts a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={getattr(request, 'param', 40)}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that leaves no octet free."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            pass
        try:
            while True:
                file.write(b"\0")
        except OSError:
            return path


def test_a_full_disk_is_answered_with_4yz_and_the_server_goes_on(small_disk: Path, tmp_path: Path) -> None:
    config = '[domain."example.org"]\n[limits]\nfree_disk = "64KiB"\n'
    with Server(tmp_path / "server", ("mx", "pop3"), config=config, data=small_disk / "data") as server:
        assert send(server, "before") == 250
        server.wait_for_mail(ADA)
        ballast = fill(small_disk)
        codes = [send(server, f"full-{number}") for number in range(5)]
        assert all(400 <= code < 500 for code in codes), codes
        login = f"USER {ADA}\r\nPASS {SECRET}\r\nSTAT\r\nQUIT\r\n".encode()
        with server.connect("pop3") as sock:  # no login without a record of it, and no word against the password
            sock.sendall(login)
            said = read_all(sock)
            assert b"-ERR [SYS/TEMP]" in said or b"+OK 1 " in said, said
        ballast.unlink()
        with server.connect("pop3") as sock:
            sock.sendall(login)
            assert b"+OK 1 " in read_all(sock)
        assert server.wait_for(lambda: send(server, "after") == 250, "mail is taken again")
        subjects = [re.search(rb"^Subject: (.*)$", mail, re.M)[1] for mail in server.wait_for_mail(ADA, 2)]  # type: ignore[index]
        assert subjects == [b"before", b"after"]  # nothing that was refused arrives
        assert "Traceback" not in server.logged()


def test_a_disk_that_fills_while_a_message_arrives_is_answered_at_its_end(small_disk: Path, tmp_path: Path) -> None:
    config = '[domain."example.org"]\n[limits]\nfree_disk = "64KiB"\n'
    with Server(tmp_path / "server", ("mx",), config=config, data=small_disk / "data") as server:
        code = send(server, "larger-than-the-disk", (b"z" * 76 + b"\r\n") * 600_000)
        assert code in (452, 552), code
        assert not list(server.data.glob("spool/*/content/*"))
        assert send(server, "small") == 250
        server.wait_for_mail(ADA)


@pytest.mark.parametrize("small_disk", [128], indirect=True)  # the room is looked at every few seconds
def test_little_room_is_452_before_it_is_none(small_disk: Path, tmp_path: Path) -> None:
    config = '[domain."example.org"]\n[limits]\nfree_disk = "64MiB"\n'
    with Server(tmp_path / "server", ("mx",), config=config, data=small_disk / "data") as server:
        assert send(server, "before") == 250
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 56 * MIB))
        assert server.wait_for(lambda: send(server, "little-room") == 452, "452")
        server.wait_for(lambda: [each for each in server.events("alert") if each["details"]["what"] == ROOM], ROOM, 40)
        ballast.unlink()
        assert server.wait_for(lambda: send(server, "after") == 250, "mail is taken again")


# --- what an operator gets wrong ---------------------------------------------------------------------------------


def said_by(server: Server, *words: str, status: int = 0) -> str:
    """What a command says on standard error."""
    command = [str(GATEPOST), "--config", str(server.file), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def serve_fails(server: Server) -> str:
    """What `gatepost serve` says and ends with, as it cannot start."""
    return said_by(server, "serve", status=1)


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    server = Server(tmp_path, ("mx", "pop3"))
    with socket.create_server((HOST, server.port("pop3"))):
        said = serve_fails(server)
    assert f"listen on {HOST}:{server.port('pop3')}: the address is in use" in said
    assert "stop the program that has it" in said
    with server:
        assert send(server, "free-again") == 250


def test_a_data_folder_in_use_is_named(tmp_path: Path) -> None:
    with Server(tmp_path / "one", ("mx",)) as server:
        other = Server(tmp_path / "two", ("mx",), data=server.data)
        said = serve_fails(other)
        assert str(server.data) in said
        assert send(server, "undisturbed") == 250


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('[domain."example.org"]\n[relya]\nnetworks = []\n', ["relya", "relay"]),
        ('[domain."example.org"]\nrelay_too = "smtp://192.0.2.1:25"\n', ["relay_too", "relay_to"]),
        ('[domain."example.org"]\n[relay]\nnetworks = ["0.0.0.0/0"]\n', ["relay.networks", "open relay"]),
        ('[domain."example.org"]\n[tls]\ncertificate = "absent.pem"\nkey = "absent.key"\n', ["absent.pem"]),
        ('[domain."example.org"]\n[tls]\ncertificate = "gatepost.toml"\nkey = "gatepost.toml"\n', ["gatepost.toml"]),
        ('[domain."example.org"]\n[tls]\ncertificate = "/tmp"\nkey = "/tmp"\n', ["/tmp"]),
        ("[domain.example.org]\n", ["quote"]),
        ('[domain."example.org"\n', ["close the bracket"]),
    ],
    ids=["table", "key", "open relay", "no certificate", "not a certificate", "a folder", "quotes", "no toml"],
)
def test_a_mistake_in_the_configuration_is_named_with_what_to_write(
    tmp_path: Path, config: str, words: list[str]
) -> None:
    said = serve_fails(Server(tmp_path, ("mx",), config=config))
    assert "gatepost.toml" in said
    for word in words:
        assert word in said


def test_a_domain_without_accounts_refuses_by_name_and_keeps_what_roles_get(tmp_path: Path) -> None:
    with Server(tmp_path, ("mx",), accounts=()) as server:
        with smtplib.SMTP(HOST, server.port("mx"), timeout=30) as client:
            client.ehlo("c.example")
            client.mail(STRANGER)
            assert client.rcpt(BOB)[0] == 550
            assert client.rcpt("postmaster@example.org")[0] in (250, 550)
        warned = said_by(server, "check", "config")
    assert "domain example.org: it has no account" in warned
    assert "gatepost account add NAME@example.org" in warned


def test_an_entry_that_is_damaged_is_set_aside_and_the_others_are_delivered(tmp_path: Path) -> None:
    """Content above 256 KiB is a file; here a disk has eaten the end of one."""
    dead = '[domain."example.org"]\n[domain."example.net"]\nrelay_to = "smtp://127.0.0.1:1"\n'
    with Server(tmp_path, ("mx",), config=dead) as server:
        entries = {}
        for name in ("whole", "eaten"):
            with smtplib.SMTP(HOST, server.port("mx"), timeout=30) as client:
                client.sendmail(STRANGER, ["carol@example.net"], message(name, (b"z" * 76 + b"\r\n") * 5000))
            entries[name] = server.wait_for_event("smtp.message", sender=STRANGER)["id"]
        server.wait_for(lambda: len(server.events("delivery.attempt")) >= 2, "both were tried")
    (file,) = [path for path in server.data.glob("spool/*/content/*") if entries["eaten"] in path.name]
    os.truncate(file, 1000)
    with Sink() as sink:
        server.file.write_text(server.file.read_text().replace("127.0.0.1:1", sink.address))
        with server:
            server.command("queue", "retry", "--all")
            (taken,) = sink.wait_for(1)
            assert b"Subject: whole\r\n" in taken.content
            alert = server.wait_for_event("alert")
            assert alert["details"]["entry"] == entries["eaten"]
            assert entries["eaten"] in server.logged()
            assert len(sink.taken) == 1
