"""Clients that send without a pause, and what must have come of what they sent.

Every message has a serial, other octets than all others, and their digest: one that is truncated, mixed with another or
changed in any octet is found out by itself.
"""

from __future__ import annotations

import hashlib
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from tests.support.server import ADA, HOST, Server, event_id

CLIENTS: Final = 6
LARGE_EVERY: Final = 8  # above 256 KiB content is a file of its own
LARGE_LINES: Final = 6_000
SMALL_LINES: Final = 40
_HEADER: Final = re.compile(
    rb"Received: [^\n]+\n[^\n]+ id (?P<id>[0-9A-Z]{26})\b.*?^Subject: (?P<serial>\S+)\nX-Digest: (?P<digest>\S+)\n\n"
    rb"(?P<body>.*)\Z",
    re.DOTALL | re.MULTILINE,
)


def message(serial: str) -> bytes:
    """The message of this serial."""
    lines = LARGE_LINES if int(serial.rpartition(".")[2]) % LARGE_EVERY == 0 else SMALL_LINES
    body = "".join(f"{serial} line {number:06d} of {lines} {'x' * 40}\r\n" for number in range(lines)).encode()
    head = f"From: client@example.net\r\nTo: {ADA}\r\nSubject: {serial}\r\nX-Digest: {digest(body)}\r\n\r\n"
    return head.encode() + body


def digest(body: bytes) -> str:
    """Of a body, whatever its line ends are."""
    return hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()


class Copy(msgspec.Struct, frozen=True):
    """One message in a maildrop. entry: the ID of the spool entry that it was."""

    serial: str
    entry: str


def copy_of(mail: bytes) -> Copy:
    """What lies in a maildrop, whole and unmixed. Raises AssertionError."""
    found = _HEADER.search(mail)
    assert found, f"no message of ours: {mail[:500]!r}"
    serial = found["serial"].decode()
    assert digest(found["body"]) == found["digest"].decode(), f"{serial} is not what was sent: {len(mail)} octets"
    return Copy(serial, found["id"].decode())


class Clients:
    """Send until they are stopped. answered: the entry of each serial that a 250 was heard for. cut_off: how often a
    connection or an answer was lost. surprises: answers that no crash explains."""

    def __init__(self, server: Server, *, count: int = CLIENTS, pause: float = 0.0) -> None:
        self.answered: dict[str, str] = {}
        self.cut_off = 0
        self.surprises: list[str] = []
        self._server = server
        self._pause = pause
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(count)]

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
        while not self._ends.wait(self._pause):
            count += 1
            serial = f"{number}.{count}"
            try:
                if client is None:
                    client = smtplib.SMTP(HOST, self._server.port("mx"), "client.example.net", timeout=20)
                said = self._one(client, serial)
            except (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError, OSError):
                client = _closed(client)
                with self._lock:
                    self.cut_off += 1
                time.sleep(0.01)  # nobody listens for a moment
            except smtplib.SMTPException as error:
                self.surprises.append(repr(error))
                client = _closed(client)
            else:
                with self._lock:
                    self.answered[serial] = event_id(said)
        _closed(client)

    @staticmethod
    def _one(client: smtplib.SMTP, serial: str) -> bytes:
        """The text of the 250."""
        client.ehlo_or_helo_if_needed()
        for code, text in (client.mail("client@example.net"), client.rcpt(ADA), client.data(message(serial))):
            if code == 421:
                raise smtplib.SMTPServerDisconnected(text)
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
        return text


def _closed(client: smtplib.SMTP | None) -> None:
    if client is not None:
        client.close()


class Harvest:
    """Takes what was delivered out of the maildrop, so that many rounds need little room; every copy is looked at."""

    def __init__(self, server: Server) -> None:
        self.serials: Counter[str] = Counter()
        self.entries: Counter[str] = Counter()
        self._new = server.data / "maildrops" / "example.org" / "ada" / "new"

    def gather(self) -> None:
        for path in self._paths():
            mail = path.read_bytes()
            if mail.startswith(b"Return-Path: <>"):
                path.unlink()  # the server tells its postmaster of the kills
                continue
            copy = copy_of(mail)
            self.serials[copy.serial] += 1
            self.entries[copy.entry] += 1
            path.unlink()

    def _paths(self) -> Sequence[Path]:
        with suppress(FileNotFoundError):
            return list(self._new.iterdir())
        return ()
