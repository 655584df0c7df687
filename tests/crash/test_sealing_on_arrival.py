"""A large message that will be sealed, without a spool key: no file of a real server ever shows it, neither while it
arrives, nor after a kill in the middle, nor when it is taken."""

from __future__ import annotations

import smtplib
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from tests.seal.scene import NOW, Person, pgp
from tests.support.server import ADA, BOB, HOST, Server
from tests.support.sink import Sink

from gatepost.seal.opening import open_

MARKER = b"the-settlement-is-4711"
PARTNER = "carl@partner.example"
OPEN = "dan@open.example"
SUBJECT = "A large one"
TEXT = f"From: {ADA}\r\nSubject: {SUBJECT}\r\n\r\n".encode() + (MARKER + b"\r\n") * 150_000  # 3.6 MB


class Scene:
    """A server on which ada's incoming mail, and all mail for partner.example, is encrypted, and its next hop."""

    def __init__(self, server: Server, hop: Sink) -> None:
        self.server, self.hop = server, hop
        self.temporary = server.folder / "tmp"

    def showing(self) -> list[str]:
        """Files that show the message: of the data folder and the temporary one, and those without a name that the
        server's processes hold open on a disk."""
        found = [*self.server.data.rglob("*"), *self.temporary.rglob("*")]
        if self.server.is_running:
            for pid in [self.server.pid, *self.server.processes()]:
                with suppress(FileNotFoundError):
                    found += Path(f"/proc/{pid}/fd").iterdir()
        return [str(path) for path in found if shows(path)]

    def incoming(self, octets: int) -> bool:
        """Whether so many octets of a message lie in a file that is being written."""
        files = (self.server.data / "spool" / "0" / "content").glob(".incoming-*")
        return any(path.stat().st_size >= octets for path in files)


def shows(path: Path) -> bool:
    with suppress(OSError):  # gone since
        if stat.S_ISREG(path.stat().st_mode) and not (path.is_symlink() and "memfd:" in str(path.readlink())):
            return MARKER in path.read_bytes()
    return False


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "server" / "tmp").mkdir(parents=True)
    with ExitStack() as stack:
        hop = stack.enter_context(Sink())
        config = f"""
            [domain."example.org"]
            [relay]
            networks = ["127.0.0.1"]
            [route."partner.example"]
            to = "smtp://{hop.address}"
            [route."open.example"]
            to = "smtp://{hop.address}"
            [seal]
            discovery = ["imported"]
            [[seal.rule]]
            recipients = ["*@partner.example"]
            mode = "required"
            """
        folder = tmp_path / "server"
        server = Server(folder, ("mx",), config=config, environment={"TMPDIR": str(folder / "tmp")})
        stack.callback(server.kill)
        server.start()
        server.command("account", "seal", ADA, str(key_file(folder, ADA)))
        server.command("key", "import", str(key_file(folder, PARTNER)))
        yield Scene(server, hop)


def key_file(folder: Path, address: str) -> Path:
    file = folder / f"{address}.pgp"
    file.write_bytes(pgp(address).key.material)
    return file


@contextmanager
def half_of_it_sent(scene: Scene, *recipients: str) -> Iterator[smtplib.SMTP]:
    with closing(smtplib.SMTP(HOST, scene.server.port("mx"))) as client:  # no QUIT, which would be text
        client.ehlo("client.example.org")
        for command in (f"MAIL FROM:<{BOB}>", *(f"RCPT TO:<{each}>" for each in recipients)):
            assert client.docmd(command)[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(TEXT[: len(TEXT) // 2])
        scene.server.wait_for(lambda: scene.incoming(1_000_000), "half of it is in a file")
        yield client


@pytest.mark.parametrize("recipients", [(ADA,), (PARTNER,), (BOB, ADA), (PARTNER, OPEN)], ids=" ".join)
def test_what_will_be_sealed_is_in_no_file_while_it_arrives_nor_after_a_kill(
    scene: Scene, recipients: tuple[str, ...]
) -> None:
    with half_of_it_sent(scene, *recipients):
        assert scene.showing() == []
        scene.server.kill()
    assert scene.incoming(1_000_000), "the kill left it"
    assert scene.showing() == []
    scene.server.start()
    assert not scene.incoming(0)
    assert scene.showing() == []


def test_of_others_it_is_found(scene: Scene) -> None:
    """The search finds what lies in clear, and nobody else pays for those who seal."""
    with half_of_it_sent(scene, BOB, OPEN):
        assert scene.showing()


def opened(person: Person, message: bytes) -> bytes:
    found = open_(message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), (person.secret,), (), NOW)
    assert found.text is not None, found.verdict
    return found.text.partition(b"\r\n\r\n")[2]


def test_when_it_is_taken_no_file_has_ever_shown_it(scene: Scene) -> None:
    shown: set[str] = set()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            shown.update(scene.showing())

    with half_of_it_sent(scene, ADA, PARTNER) as client:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            client.send(TEXT[len(TEXT) // 2 :] + b".\r\n")
            assert client.getreply()[0] == 250
            mail = scene.server.wait_for_subject(SUBJECT, ADA)
            (taken,) = scene.hop.wait_for(1)
        finally:
            is_over.set()
            watcher.join()
    body = TEXT.partition(b"\r\n\r\n")[2]
    assert opened(pgp(ADA), mail) == body
    assert opened(pgp(PARTNER), taken.content) == body
    assert shown == set()
    assert scene.showing() == []


def test_who_did_not_ask_for_it_gets_it_in_clear(scene: Scene) -> None:
    with half_of_it_sent(scene, BOB, ADA, OPEN) as client:
        client.send(TEXT[len(TEXT) // 2 :] + b".\r\n")
        assert client.getreply()[0] == 250
    body = TEXT.partition(b"\r\n\r\n")[2]
    assert scene.server.wait_for_subject(SUBJECT, BOB).replace(b"\n", b"\r\n").endswith(body)
    assert scene.hop.wait_for(1)[0].content.endswith(body)
    assert opened(pgp(ADA), scene.server.wait_for_subject(SUBJECT, ADA)) == body
    scene.server.wait_for(lambda: not any((scene.server.data / "spool" / "0" / "content").iterdir()), "nothing waits")
