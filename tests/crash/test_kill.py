"""SIGKILL while several clients are being answered: what was answered 250 is there afterwards, whole, and nothing else
is in it. Workers die, the supervisor dies, everything dies at once, as at a power cut that the disk survives."""

from __future__ import annotations

import os
import random
import re
import signal
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.support.server import ADA, HOST, Server

CLIENTS: Final = 6
LARGE_EVERY: Final = 8  # above 256 KiB content is a file of its own
LARGE_LINES: Final = 6_000
SMALL_LINES: Final = 40
LONGEST_BEFORE_KILL: Final = 0.4
DELIVERED_WITHIN: Final = 60.0


def message(serial: str) -> bytes:
    """The message of this name: another name, other octets on every line."""
    lines = LARGE_LINES if int(serial.partition(".")[2]) % LARGE_EVERY == 0 else SMALL_LINES
    head = f"From: client@example.net\r\nTo: {ADA}\r\nSubject: {serial}\r\nMessage-ID: <{serial}@example.net>\r\n\r\n"
    return (head + "".join(f"{serial} line {number:06d} of {lines} {'x' * 40}\r\n" for number in range(lines))).encode()


class Clients:
    """Send without a pause until they are stopped; `answered` has the names that a 250 was heard for."""

    def __init__(self, server: Server) -> None:
        self.answered: set[str] = set()
        self.cut_off = 0
        self._server = server
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CLIENTS)]
        self.surprises: list[str] = []

    @contextmanager
    def sending(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ends.set()
            for thread in self._threads:
                thread.join(30)

    def wait_for_more(self, count: int) -> None:
        """Returns when `count` further messages have been answered: the server is at work again."""
        wanted = len(self.answered) + count
        self._server.wait_for(lambda: len(self.answered) >= wanted, f"{count} more messages answered")

    def _send(self, number: int) -> None:
        client: smtplib.SMTP | None = None
        count = 0
        while not self._ends.is_set():
            count += 1
            serial = f"{number}.{count}"
            try:
                if client is None:
                    client = smtplib.SMTP(HOST, self._server.port("mx"), "client.example.net", timeout=20)
                client.sendmail("client@example.net", [ADA], message(serial))
            except (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError, OSError):
                client = None
                with self._lock:
                    self.cut_off += 1
                time.sleep(0.01)  # nobody listens for a moment
            except smtplib.SMTPException as error:
                self.surprises.append(repr(error))
                client = None
            else:
                with self._lock:
                    self.answered.add(serial)
        if client is not None:
            client.close()


def check(server: Server, clients: Clients) -> None:
    """What was answered is in the Maildir, and all that is there is whole."""
    found: Counter[str] = Counter()

    def delivered() -> bool:
        found.clear()
        found.update(_subject(mail) for mail in server.mail())
        return clients.answered <= found.keys()

    try:
        server.wait_for(delivered, "all that was answered 250", DELIVERED_WITHIN)
    finally:
        missing = sorted(clients.answered - found.keys())
        twice = sum(count - 1 for count in found.values())
        print(
            f"{len(clients.answered)} answered 250, {clients.cut_off} cut off; {len(found)} delivered, {twice} of them "
            f"again, {len(missing)} missing: {missing[:10]}"
        )
    for mail in server.mail():
        content = mail.partition(b"From: client@")[2]
        sent = message(_subject(mail)).replace(b"\r\n", b"\n").partition(b"From: client@")[2]
        assert content == sent, f"{_subject(mail)} is not what was sent"
    assert clients.surprises == []
    assert not list(server.data.glob("spool/*/damaged/*"))
    assert not [event for event in server.events("alert") if "spool" in str(event["details"])]


def _subject(mail: bytes) -> str:
    found = re.search(rb"^Subject: (\S+)$", mail, re.M)
    assert found, mail[:300]
    return found[1].decode()


def _wait_a_while() -> None:
    time.sleep(random.uniform(0.05, LONGEST_BEFORE_KILL))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, ("mx",), workers=2) as server:
        yield server


def test_workers_are_killed(server: Server) -> None:
    clients = Clients(server)
    with clients.sending():
        for _ in range(6):
            clients.wait_for_more(10)
            _wait_a_while()
            os.kill(random.choice(server.workers()), signal.SIGKILL)
        clients.wait_for_more(20)
        server.wait_for(lambda: len(server.workers()) == 2, "both workers are back")
    check(server, clients)
    assert clients.cut_off
    assert [event for event in server.events("alert") if "worker" in str(event["details"])], "a death on the record"


def test_the_supervisor_is_killed(server: Server) -> None:
    """Those below it end by themselves; nothing is left behind that would be in the way of the next start."""
    clients = Clients(server)
    with clients.sending():
        for _ in range(2):
            clients.wait_for_more(10)
            _wait_a_while()
            server.kill_supervisor()
            server.start()
        clients.wait_for_more(20)
    check(server, clients)
    assert clients.cut_off


def test_everything_is_killed_at_once(server: Server) -> None:
    clients = Clients(server)
    with clients.sending():
        for _ in range(4):
            clients.wait_for_more(10)
            _wait_a_while()
            server.kill()
            server.start()
        clients.wait_for_more(20)
    check(server, clients)
    assert clients.cut_off


def test_everything_is_killed_and_starts_with_fewer_workers(server: Server) -> None:
    """The spool of a worker that does not come back is adopted, with all that it holds."""
    clients = Clients(server)
    with clients.sending():
        clients.wait_for_more(60)
        _wait_a_while()
        server.kill()
    server.file.write_text(server.file.read_text().replace("workers = 2", "workers = 1"))
    server.start()
    check(server, clients)
