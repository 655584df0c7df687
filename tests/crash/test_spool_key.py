"""An encrypted spool of a real server, killed in the middle of a transfer: nothing of a message is on the disk."""

from __future__ import annotations

import smtplib
import subprocess
from datetime import date
from pathlib import Path

import pytest
from tests.support.server import ADA, GATEPOST, HOST, Server, ServerFailed, free_port
from tests.support.sink import Sink

from gatepost.spool.settings import SpoolSettings
from gatepost.store.data_folder import DataError, DataFolder
from gatepost.store.spool_key import check_spool_keys
from gatepost.store.sqlite.spool_cipher import SpoolCipher
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

MARKER = b"the-settlement-is-4711"
KEY = "0123456789abcdef0123456789abcdef-no-real-key"
FAR = "far@partner.example"


def readable(data: Path) -> list[str]:
    """Files in which the message stands, or the key does."""
    return [
        str(path) for path in data.rglob("*")
        if path.is_file() and not path.is_socket() and any(w in path.read_bytes() for w in (MARKER, KEY.encode()))
    ]  # fmt: skip


def encrypted(folder: Path, port: int) -> Server:
    (folder / "spool.key").write_text(KEY + "\n")
    return Server(
        folder / "server",
        ("mx",),
        config=f"""
            [domain."example.org"]
            [relay]
            networks = ["127.0.0.1"]
            [route."partner.example"]
            to = "smtp://{HOST}:{port}"
            [delivery]
            first_retry = "1s"
            [spool]
            key = {{ file = "{folder / "spool.key"}" }}
            """,
    )


def send(server: Server, size: int) -> None:
    with smtplib.SMTP(HOST, server.port("mx")) as client:
        client.ehlo("client.example.org")
        body = (MARKER + b"\r\n") * (size // 24 + 1)
        client.sendmail(ADA, [FAR], b"From: ada@example.org\r\nSubject: " + MARKER + b"\r\n\r\n" + body)


def test_a_server_that_is_killed_in_mid_transfer_leaves_nothing_readable(tmp_path: Path) -> None:
    server = encrypted(tmp_path, free_port())
    server.start()
    try:
        sock = server.connect("mx")
        sock.sendall(b"EHLO c.example.org\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<far@partner.example>\r\nDATA\r\n")
        heard = b""
        while b"\r\n354 " not in heard:
            heard += sock.recv(4096)
        sock.sendall(b"Subject: x\r\n\r\n" + (MARKER + b"\r\n") * 100_000)
        content = server.data / "spool" / "0" / "content"
        server.wait_for(
            lambda: any(path.stat().st_size > 2_000_000 for path in content.glob(".incoming-*")), "half of it is there"
        )
        server.kill()
        assert any(content.glob(".incoming-*"))
        assert readable(server.data) == []
        sock.close()
    finally:
        server.kill()


def test_what_waits_is_delivered_with_the_key_and_without_it_nothing_starts(tmp_path: Path) -> None:
    port = free_port()
    server = encrypted(tmp_path, port)
    server.start()
    try:
        send(server, 1000)
        send(server, 1_000_000)
        server.kill()
        assert readable(server.data) == []
        subprocess.run(
            [GATEPOST, "--config", server.file, "backup", tmp_path / "copy"], check=True, capture_output=True
        )
        assert readable(tmp_path / "copy" / "data") == []
        assert KEY.encode() not in b"".join(p.read_bytes() for p in (tmp_path / "copy").rglob("*") if p.is_file())

        (tmp_path / "spool.key").rename(tmp_path / "away")
        with pytest.raises(ServerFailed):
            server.start()
        assert "spool.key does not exist" in server.logged()
        (tmp_path / "spool.key").write_text("another key, which is long enough for it\n")
        with pytest.raises(ServerFailed):
            server.start()
        assert "with a key that [spool] does not name: the one that is configured since 20" in server.logged()
        (tmp_path / "away").rename(tmp_path / "spool.key")
        with Sink(port=port) as hop:
            server.start()
            # The next hop was away when they came, and for half a minute it would not even be tried.
            subprocess.run([GATEPOST, "--config", server.file, "queue", "retry", "--all"], check=True)
            taken = hop.wait_for(2)
            assert all(MARKER in each.content for each in taken)
    finally:
        server.kill()


def test_a_key_is_changed_while_mail_waits_and_the_old_one_goes_when_nothing_does(tmp_path: Path) -> None:
    port = free_port()
    server = encrypted(tmp_path, port)
    server.start()
    try:
        send(server, 1000)
        (tmp_path / "spool.key").rename(tmp_path / "old.key")
        (tmp_path / "spool.key").write_text("b" * 44 + "\n")
        without = server.file.read_text()
        previous = f'[spool]\nprevious_keys = [{{ file = "{tmp_path / "old.key"}" }}]'
        with_previous = without.replace("[spool]", previous)
        server.file.write_text(with_previous)
        server.kill()  # between the two: the new key is named, and nothing is written with it yet
        server.start()
        send(server, 1_000_000)
        server.kill()
        server.file.write_text(without)
        with pytest.raises(ServerFailed):
            server.start()
        assert "encrypted with a key that [spool] does not name" in server.logged()
        server.file.write_text(with_previous)
        with Sink(port=port) as hop:
            server.start()
            subprocess.run([GATEPOST, "--config", server.file, "queue", "retry", "--all"], check=True)
            assert all(MARKER in each.content for each in hop.wait_for(2))
        reader = SqliteSpoolReader(server.data)
        server.wait_for(lambda: reader.counts()["entries"] == 0, "both are settled")
        server.kill()
        server.file.write_text(without)
        server.start()
    finally:
        server.kill()


class Spools:
    """A data folder whose messages wait under the keys that are `used`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = DataFolder(folder)
        self.used: set[str] = set()
        monkeypatch.setattr("gatepost.store.spool_key._waiting", lambda _, keys: bool(self.used - set(keys)))

    def start(self, *keys: str, day: int = 1) -> bool:
        return check_spool_keys(self.data, SpoolSettings(key=keys[0], previous_keys=keys[1:]), date(2026, 3, day))


def test_a_key_may_go_when_nothing_waits_under_it_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spools = Spools(tmp_path, monkeypatch)
    first, second = KEY, KEY + "!"
    assert not spools.start("")
    assert not spools.data.spool_check.exists()
    spools.start(first, day=2)
    spools.used = {first}
    for keys in ((second,), ("",), ("", second)):
        with pytest.raises(DataError, match=r"since 2026-03-02\. Name it in key, or in previous_keys"):
            spools.start(*keys, day=3)
    assert spools.start(second, first, day=3)
    spools.used = {first, second}
    with pytest.raises(DataError, match="since 2026-03-03"):
        spools.start(first, day=4)
    with pytest.raises(DataError, match="since 2026-03-02 and the one that is configured since 2026-03-03"):
        spools.start("", day=4)
    assert spools.start("", first, second, day=4)  # from here on in clear
    spools.used = {second}
    assert not spools.start(second, first, day=5)
    spools.start(second, day=5)
    spools.used = set()
    spools.start("", day=6)
    assert not spools.data.spool_check.exists()


def test_keys_that_may_be_needed_are_not_forgotten_where_the_file_that_knows_them_is_damaged_or_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spools = Spools(tmp_path, monkeypatch)
    spools.used = {KEY}
    spools.data.spool_check.write_bytes(SpoolCipher(KEY).check_value())  # as there was room for one only
    with pytest.raises(DataError, match="since 20"):
        spools.start(KEY + "!")
    assert spools.start(KEY + "!", KEY)
    spools.data.spool_check.write_bytes(b"nothing that can be read\n")
    with pytest.raises(DataError, match="spool-check is damaged; restore it from a backup"):
        spools.start(KEY)
