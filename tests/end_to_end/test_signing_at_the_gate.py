"""A real server that signs what it does not encrypt, and that encrypts for members of a list: gpg and openssl find good
what arrives at the next hop and in a maildir, and no file has what all readers wanted encrypted."""

from __future__ import annotations

import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.peers.test_seal_peers import Gpg, files, openssl
from tests.peers.test_signed_peers import check_with_gpg, detached
from tests.seal import scene
from tests.support.server import ADA, HOST, SECRET, Server, any_certificate, event_id
from tests.support.sink import Sink

BOB = "bob@example.org"
FAR = "carl@partner.example"
TEXT = "Schöne Grüße an alle, mit Leerzeichen \r\n-- \r\nFrom here\r\n.\r\n"
SIGNER = "office@example.org"


class Office:
    """A server whose domain signs with `kind`, its next hop, and gpg of everybody."""

    def __init__(self, server: Server, hop: Sink, gpg: Gpg, folder: Path) -> None:
        self.server, self.hop, self.gpg, self.folder = server, hop, gpg, folder

    def submit(self, subject: str, *recipients: str, options: tuple[str, ...] = ()) -> str:
        """The ID of the message."""
        text = f"From: {ADA}\r\nTo: {recipients[0]}\r\nSubject: {subject}\r\n\r\n{TEXT}"
        with smtplib.SMTP_SSL(HOST, self.server.port("submissions"), context=any_certificate()) as client:
            client.login(ADA, SECRET)
            client.mail(ADA, ["BODY=8BITMIME"])
            for recipient in recipients:
                assert client.rcpt(recipient, list(options))[0] == 250
            code, reply = client.data(text.encode())
        assert code == 250, reply
        return event_id(reply)

    def arrived(self, subject: str) -> bytes:
        """At the next hop."""
        found: bytes = self.server.wait_for(
            lambda: next((t.content for t in self.hop.taken if subject.encode() in t.content), None), subject
        )
        return found

    def clear_files(self, words: str) -> list[Path]:
        """Files of the data folder that have them."""
        return [each for each in self.server.data.rglob("*") if each.is_file() and words.encode() in each.read_bytes()]


@pytest.fixture(scope="module", params=["openpgp", "smime"])
def office(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("signing")
    person = scene.pgp(SIGNER) if request.param == "openpgp" else scene.smime(SIGNER)
    certificate = files(folder, person, "signer")[0] if request.param == "smime" else ""
    key = folder / "sign.key"
    key.write_bytes(person.signing.material + (Path(certificate).read_bytes() if certificate else b""))
    key.chmod(0o600)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpg", ignore_cleanup_errors=True)))
        home.chmod(0o700)
        gpg = Gpg(home)
        stack.callback(
            subprocess.run, ["gpgconf", "--kill", "all"], env=gpg.environment, check=False, capture_output=True
        )
        if request.param == "openpgp":
            gpg("--import", given=person.key.material)
        hop = stack.enter_context(Sink())
        config = f"""
            [domain."example.org"]
            [route."partner.example"]
            to = "smtp://{hop.address}"
            [seal]
            discovery = ["pinned", "imported"]
            [[seal.rule]]
            name = "all"
            mode = "opportunistic"
            sign = true
            [[seal.signer]]
            domain = "example.org"
            key = "{key}"
            """
        server = stack.enter_context(Server(folder / "server", ("mx", "submissions", "pop3s"), config=config))
        yield Office(server, hop, gpg, folder)


def check(office: Office, message: bytes, *, fails: bool = False) -> None:
    """By gpg or openssl."""
    message = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if b"application/pgp-signature" in message:
        status = check_with_gpg(office.gpg, message, office.folder, fails=fails)
        assert (b"BADSIG" if fails else b"GOODSIG") in status
        return
    words = ("cms", "-verify", "-CAfile", str(office.folder / "ca.pem"), "-purpose", "any")
    text = openssl(*words, given=message, fails=fails)
    assert fails or text == detached(message)[0]


def test_what_arrives_at_the_next_hop_and_in_a_maildir_is_signed(office: Office) -> None:
    entry_id = office.submit("Signed-4714", FAR, BOB)
    for content in (office.arrived("Signed-4714"), office.server.wait_for_subject("Signed-4714", BOB)):
        assert content.partition(b"multipart/signed")[2].isascii()
        check(office, content)
        assert content.count(b"mit Leerzeichen=20") == 1
        check(office, content.replace(b"mit Leerzeichen", b"mit Leerreichen"), fails=True)
    (told,) = office.server.wait_for_event("smtp.message", id=entry_id)["details"]["seal"]
    assert (told["rule"], told["signed"], sorted(told["recipients"])) == ("all", True, [BOB, FAR])


def test_a_notice_about_what_is_signed_reaches_its_sender(office: Office) -> None:
    office.submit("Noticed-4715", FAR, options=("NOTIFY=SUCCESS", "ORCPT=rfc822;old@partner.example"))
    check(office, office.arrived("Noticed-4715"))
    notice = office.server.wait_for(
        lambda: next((m for m in office.server.mail(ADA) if b"multipart/report" in m and b"Noticed-4715" in m), None),
        "the notice",
    )
    assert b"Original-Recipient: rfc822;old@partner.example" in notice


def test_mail_for_a_list_whose_members_want_it_encrypted_lies_nowhere_in_clear(office: Office) -> None:
    members = (ADA, BOB)
    for address in members:
        name = address.partition("@")[0]
        office.gpg("--quick-gen-key", f"{name} <{address}>", "future-default", "default", "1y")
        file = office.folder / f"{name}.asc"
        file.write_bytes(office.gpg("--armor", "--export", address))
        office.server.command("account", "seal", address, str(file))
    office.server.command("list", "add", "sealed@example.org", *members, "--owner", ADA, "--post", "anyone")
    office.server.command("alias", "add", "both@example.org", *members)
    large = ("words-of-4716 " * 5 + "\r\n") * 40_000
    with smtplib.SMTP(HOST, office.server.port("mx")) as client:
        client.ehlo("far.example.net")
        for name, text in (("sealed", "words-of-4716\r\n"), ("both", "words-of-4716\r\n"), ("sealed", large)):
            client.mail("x@partner.example")
            assert client.rcpt(f"{name}@example.org")[0] == 250
            code, _ = client.data(f"From: x@partner.example\r\nSubject: Listed-4716\r\n\r\n{text}".encode())
            assert code == 250
    for address in members:
        found = office.server.wait_for(
            lambda address=address: (
                [each for each in office.server.mail(address) if b"Subject: Listed-4716" in each][2:]
                and [each for each in office.server.mail(address) if b"Subject: Listed-4716" in each]
            ),
            f"three messages for {address}",
        )
        for each in found:
            armour = each[each.index(b"-----BEGIN PGP MESSAGE-----") :].partition(b"\n\n--=_")[0]
            assert b"words-of-4716" in office.gpg("--decrypt", given=armour)
    assert office.clear_files("words-of-4716") == []
    returned = {line for each in found for line in each.split(b"\n") if line.startswith(b"Return-Path")}
    assert returned == {b"Return-Path: <ada@example.org>", b"Return-Path: <x@partner.example>"}
    for address in members:  # the other tests read their mail
        office.server.command("account", "seal", address, "--off")
