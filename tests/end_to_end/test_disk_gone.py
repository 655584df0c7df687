"""A disk that becomes read-only while the server runs, as the kernel makes it when a file system fails: a real ext4 is
told to abort."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.end_to_end.test_troubles import connected, send
from tests.programs import need_root, program
from tests.support.server import HOST, Server
from tests.support.sink import Sink

AWAY = "dave@away.example"
OCTETS = 96 * 2**20


class Disk:
    """A file with a file system in it, mounted at `at`."""

    def __init__(self, folder: Path) -> None:
        self.at = folder / "disk"
        self._image = folder / "image"
        self.at.mkdir()
        with self._image.open("wb") as image:
            image.truncate(OCTETS)
        _run(str(program("mkfs.ext4")), "-q", "-F", str(self._image))

    def mount(self) -> None:
        done = subprocess.run(
            ["mount", "-o", "loop", self._image, self.at], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr}")

    def fail(self) -> None:
        """Nothing can be written any more, in spite of all files that are open for it."""
        _run("mount", "-o", "remount,abort", str(self.at))

    def mend(self) -> None:
        """What an administrator does: taken off, checked, mounted again."""
        _run("umount", str(self.at))
        checked = subprocess.run([program("e2fsck"), "-p", self._image], capture_output=True, check=False)
        assert checked.returncode in (0, 1), checked.stdout  # 1: errors were corrected
        self.mount()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    need_root("mounts a file system")
    disk = Disk(tmp_path)
    disk.mount()
    yield disk
    subprocess.run(["umount", "--lazy", disk.at], check=False, capture_output=True)


def test_a_disk_that_becomes_read_only_loses_nothing_that_was_answered(disk: Disk, tmp_path: Path) -> None:
    with Sink(others="451 4.3.0 Not now") as hop:
        config = (
            '[domain."example.org"]\n[relay]\nnetworks = ["127.0.0.0/8"]\n[limits]\nfree_disk = "64KiB"\n'
            f'[domain."away.example"]\nrelay_to = "smtp://{hop.address}"\n'
        )
        server = Server(tmp_path / "server", ("mx", "admin"), config=config, data=disk.at / "data")
        with server:
            with connected(server) as client:
                assert send(client, "before") == 250
                assert send(client, "waits", to=AWAY) == 250
            server.wait_for_mail()
            server.wait_for_event("delivery.attempt", recipients=[AWAY])
            assert health(server)[0] == 200
            disk.fail()
            codes = []
            for number in range(3):
                with connected(server) as client:
                    codes.append(send(client, f"meanwhile-{number}"))
            assert codes == [421] * 3
            status, said = health(server)
            assert status == 503
            assert '"record": false' in said, "no alert can be recorded; whoever watches reads it here, and in the log"
            server.stop()
        assert f"{disk.at}/data/audit" in server.logged()
        assert "Read-only file system; make room or mend it, mail is refused until then" in server.logged()
        assert "Traceback" not in server.logged()
        disk.mend()
        with server, connected(server) as client:
            assert send(client, "after") == 250
            assert [b"meanwhile" in mail for mail in server.wait_for_mail(count=2)] == [False] * 2
            assert AWAY in server.command("queue", "list", "--json")
            server.command("audit", "verify")


def health(server: Server) -> tuple[int, str]:
    """The status and the text of `/healthz`."""
    with closing(http.client.HTTPConnection(HOST, server.port("admin"), timeout=10)) as connection:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
