"""Sealing at the gate with a real server: submission for recipients with, without, with an expired and with a changed
key; gpg opens what arrives at the next hop, and what an account has encrypted for itself."""

from __future__ import annotations

import asyncio
import poplib
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.peers.test_seal_peers import Gpg, armoured, files, openssl
from tests.seal.scene import smime
from tests.support.server import ADA, HOST, SECRET, Server, any_certificate, event_id
from tests.support.sink import Sink, Taken

from gatepost.seal.model import RecipientKey
from gatepost.seal.openpgp_keys import components_of
from gatepost.seal.port import KeptKey
from gatepost.store.sqlite.keys import SqliteKeys

BOB, EVE, DAN, CARL = (f"{name}@partner.example" for name in ("bob", "eve", "dan", "carl"))
BOB_HERE = "bob@example.org"
GONE = "gone@partner.example"
MARKER = "the-settlement-is-4711"
SUBJECT = "Settlement-with-Cardiff"


class Office:
    """A server whose mail for partner.example must be encrypted, its next hop, and gpg of those who get it."""

    def __init__(self, server: Server, hop: Sink, gpg: Gpg, folder: Path) -> None:
        self.server, self.hop, self.gpg, self.folder = server, hop, gpg, folder

    def make_key(self, address: str, name: str, *options: str) -> Path:
        """A public key in a file; the private one is gpg's."""
        self.gpg(*options, "--quick-gen-key", f"{name} <{address}>", "future-default", "default", "1y")
        file = self.folder / f"{name}.asc"
        file.write_bytes(self.gpg("--armor", "--export", f"={name} <{address}>"))
        assert file.read_bytes()
        return file

    def submit(self, *recipients: str, large: int = 0) -> tuple[bytes, dict[str, tuple[int, bytes]]]:
        """The last reply to ada, and the recipients that were refused."""
        text = (f"From: {ADA}\r\nTo: {', '.join(recipients)}\r\nSubject: {SUBJECT}\r\n\r\n{MARKER}\r\n"
                + ("y" * 70 + "\r\n") * (large // 72))  # fmt: skip
        with smtplib.SMTP_SSL(HOST, self.server.port("submissions"), context=any_certificate()) as client:
            client.login(ADA, SECRET)
            try:
                client.mail(ADA)
                refused = {}
                for recipient in recipients:
                    code, said = client.rcpt(recipient)
                    if code != 250:
                        refused[recipient] = (code, said)
                if len(refused) == len(recipients):
                    return b"", refused
                return client.data(text.encode())[1], refused
            finally:
                client.rset()

    def arrived(self, recipient: str, at_least: int = 0) -> Taken:
        """What the next hop took for `recipient`, once it is there."""
        return self.server.wait_for(
            lambda: next(
                (t for t in self.hop.taken if t.recipients == [recipient] and len(t.content) >= at_least), None
            ),
            f"mail for {recipient} at the next hop",
        )

    def opened(self, content: bytes) -> bytes:
        return self.gpg("--decrypt", given=armoured(content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")))

    def told(self, reply: bytes) -> list[dict[str, Any]]:
        """What the record says was sealed of the message that was answered so."""
        event = self.server.wait_for_event("smtp.message", id=event_id(reply))
        found: list[dict[str, Any]] = event["details"]["seal"]
        return found

    def clear_files(self) -> list[Path]:
        """Files of the data folder in which the marker or the subject stands."""
        words = (MARKER.encode(), SUBJECT.encode())
        return [
            path for path in self.server.data.rglob("*")
            if path.is_file() and any(word in path.read_bytes() for word in words)
        ]  # fmt: skip


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home = Path(tempfile.mkdtemp(prefix="gpg"))  # a short path: the agent's socket has to fit
    home.chmod(0o700)
    gpg = Gpg(home)
    folder = tmp_path_factory.mktemp("office")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(
            subprocess.run, ["gpgconf", "--kill", "all"], env=gpg.environment, check=False, capture_output=True
        )
        hop = stack.enter_context(Sink({GONE: "550 5.1.1 We know no such person"}))
        config = f"""
            [domain."example.org"]
            [route."partner.example"]
            to = "smtp://{hop.address}"
            [seal]
            discovery = ["pinned", "imported"]
            [[seal.rule]]
            name = "partners"
            recipients = ["*@partner.example"]
            mode = "required"
            """
        server = stack.enter_context(Server(folder / "server", ("mx", "submissions", "pop3s"), config=config))
        found = Office(server, hop, gpg, folder)
        server.command("key", "import", str(found.make_key(BOB, "Bob")))
        yield found


def test_with_a_key_the_next_hop_gets_what_only_the_recipient_opens(office: Office) -> None:
    reply, refused = office.submit(BOB)
    assert not refused
    taken = office.arrived(BOB)
    assert MARKER.encode() not in taken.content
    assert b"Subject: [...]" in taken.content
    assert MARKER.encode() in office.opened(taken.content)
    assert SUBJECT.encode() in office.opened(taken.content)
    (told,) = office.told(reply)
    assert (told["rule"], told["kind"], told["recipients"]) == ("partners", "openpgp", [BOB])
    assert len(told["keys"]) == 1
    assert office.clear_files() == []


def test_a_large_message_is_sealed_in_another_process_that_ends_with_the_server(office: Office) -> None:
    _, refused = office.submit(BOB, large=3_000_000)
    assert not refused
    taken = office.arrived(BOB, at_least=1_000_000)
    assert MARKER.encode() in office.opened(taken.content)
    assert office.clear_files() == []


@pytest.mark.parametrize("large", [0, 3_000_000], ids=["small", "large"])
def test_with_a_certificate_the_next_hop_gets_what_openssl_opens(office: Office, large: int, tmp_path: Path) -> None:
    address = f"smith{large}@partner.example"
    certificate, key = files(tmp_path, smime(address, "p256"), "smith")
    office.server.command("key", "import", certificate)
    _, refused = office.submit(address, large=large)
    assert not refused
    taken = office.arrived(address, at_least=large)
    assert MARKER.encode() not in taken.content
    text = openssl("cms", "-decrypt", "-recip", certificate, "-inkey", key, given=taken.content)
    assert MARKER.encode() in text
    assert len(text) > large
    assert office.clear_files() == []


def test_a_notice_about_it_holds_nothing_in_clear(office: Office) -> None:
    office.server.command("key", "import", str(office.make_key(GONE, "Gone")))
    reply, refused = office.submit(GONE)
    assert not refused
    notice = office.server.wait_for_subject("Your message could not be delivered")
    assert event_id(reply).encode() in notice
    assert b"Subject: [...]" in notice
    assert b"BEGIN PGP" not in notice
    assert office.clear_files() == []


def test_without_a_key_it_is_refused_and_nothing_is_kept(office: Office) -> None:
    _, refused = office.submit(EVE)
    code, said = refused[EVE]
    assert (code, said[:5]) == (550, b"5.7.5")
    assert b"must be encrypted, and there is no key" in said
    assert office.clear_files() == []
    assert not [each for each in office.hop.taken if EVE in each.recipients]


def test_an_expired_key_is_none(office: Office) -> None:
    file = office.make_key(DAN, "Dan", "--faked-system-time", "20240101T000000")
    packet = components_of(file.read_bytes())[0].packet
    key = RecipientKey(
        kind="openpgp", address=DAN, fingerprint=(packet.fingerprint or "").lower(), material=file.read_bytes()
    )
    keys = SqliteKeys(office.server.data / "keys.db")  # as it lies there when it was imported two years ago
    asyncio.run(keys.put(KeptKey(key=key, first_seen=datetime(2024, 1, 2, tzinfo=UTC))))
    keys.close()
    _, refused = office.submit(DAN)
    assert refused[DAN][0] == 550
    assert b"its key has expired" in refused[DAN][1]


def test_a_changed_key_is_used_when_somebody_trusts_it_and_not_before(office: Office) -> None:
    first, second = office.make_key(CARL, "Carl"), office.make_key(CARL, "Carl Two")
    fingerprints = [(components_of(file.read_bytes())[0].packet.fingerprint or "").lower() for file in (first, second)]
    office.server.command("key", "import", str(first))
    office.server.command("key", "import", str(second))
    reply, refused = office.submit(CARL)
    assert not refused
    (told,) = office.told(reply)
    assert told["keys"] == [fingerprints[0]]
    assert "changed" in told["warnings"][0]
    office.server.command("key", "trust", CARL, fingerprints[1])
    reply, refused = office.submit(CARL)
    assert not refused
    (told,) = office.told(reply)
    assert told["keys"] == [fingerprints[1]]
    assert "warnings" not in told


def test_mail_for_an_account_with_a_key_of_its_own_lies_encrypted_and_gpg_opens_it(office: Office) -> None:
    office.server.command("account", "seal", BOB_HERE, str(office.make_key(BOB_HERE, "Bob Here")))
    matter = b"the-other-matter-4712"
    with smtplib.SMTP(HOST, office.server.port("mx")) as client:
        client.ehlo("far.example.net")
        text = b"From: bob@partner.example\r\nSubject: Findable\r\n\r\n" + matter + b"\r\n"
        assert client.sendmail(BOB, [BOB_HERE, "info@example.org"], text) == {}
    office.server.wait_for(  # for himself, and over the alias
        lambda: sum(b"Subject: Findable\n" in mail for mail in office.server.mail(BOB_HERE)) == 2, "both messages"
    )
    assert matter in office.server.wait_for_subject("Findable", ADA)  # who is behind the alias too
    kept = office.server.data / "maildrops" / "example.org" / "bob"
    assert not [path for path in kept.rglob("*") if path.is_file() and matter in path.read_bytes()]
    mailbox = poplib.POP3_SSL(HOST, office.server.port("pop3s"), context=any_certificate())
    mailbox.user(BOB_HERE)
    mailbox.pass_(SECRET)
    contents = [b"\r\n".join(mailbox.retr(number)[1]) + b"\r\n" for number in range(1, mailbox.stat()[0] + 1)]
    found = [content for content in contents if b"\r\nSubject: Findable\r\n" in content]
    assert len(found) == 2
    assert all(matter in office.opened(content) for content in found)
    mailbox.quit()


def test_what_comes_over_an_alias_of_one_account_is_encrypted_before_it_waits(office: Office) -> None:
    office.server.command("alias", "add", "bobs@example.org", BOB_HERE)
    office.server.command("account", "seal", BOB_HERE, str(office.make_key(BOB_HERE, "Bob Behind")))
    matter = b"behind-an-alias-4713"
    with smtplib.SMTP(HOST, office.server.port("mx")) as client:
        client.ehlo("far.example.net")
        client.mail(BOB)
        client.rcpt("bobs@example.org")
        code, reply = client.data(b"From: bob@partner.example\r\nSubject: Over an alias\r\n\r\n" + matter + b"\r\n")
    assert code == 250
    (told,) = office.told(reply)
    assert told["recipients"] == ["bobs@example.org"]
    assert matter in office.opened(office.server.wait_for_subject("Over an alias", BOB_HERE))
