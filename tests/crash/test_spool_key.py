"""An encrypted spool of a real server, killed in the middle of a transfer: nothing of a message is on the disk."""

from __future__ import annotations

import smtplib
import subprocess
from pathlib import Path

import pytest
from tests.support.server import ADA, GATEPOST, HOST, Server, ServerFailed, free_port
from tests.support.sink import Sink

from gatepost.store.data_folder import DataError, DataFolder
from gatepost.store.spool_key import check_spool_key

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
        assert "[spool] key is not their key: it is another one" in server.logged()
        (tmp_path / "away").rename(tmp_path / "spool.key")
        with Sink(port=port) as hop:
            server.start()
            # The next hop was away when they came, and for half a minute it would not even be tried.
            subprocess.run([GATEPOST, "--config", server.file, "queue", "retry", "--all"], check=True)
            taken = hop.wait_for(2)
            assert all(MARKER in each.content for each in taken)
    finally:
        server.kill()


def test_a_key_may_go_or_change_when_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataFolder(tmp_path)
    check_spool_key(data, "")
    assert not data.spool_check.exists()
    check_spool_key(data, KEY)
    check_spool_key(data, KEY)
    check_spool_key(data, KEY + "!")
    monkeypatch.setattr("gatepost.store.spool_key._has_entries", lambda _: True)
    check_spool_key(data, KEY + "!")
    for key in (KEY, ""):
        with pytest.raises(DataError, match="not their key"):
            check_spool_key(data, key)
    monkeypatch.setattr("gatepost.store.spool_key._has_entries", lambda _: False)
    check_spool_key(data, "")
    assert not data.spool_check.exists()
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
