"""Signed mail, a real server and a real DNS: the record, the mailbox, and mail that is encrypted as it is accepted."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.seal.scene import pgp
from tests.support.dkim_signer import KEY_NAME, key_record, rsa_key
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.server import ADA, BOB, HOST, Server

STRANGER = "eve@example.net"
LETTER = (
    b"From: Eve <eve@example.net>\r\nTo: ada@example.org\r\nSubject: signed\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@example.net>\r\n\r\nA  letter.\r\n"
)


def signed_by_dkimpy(letter: bytes) -> bytes:
    """A signer that knows nothing of us."""
    private = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    field = dkim.sign(letter, b"s1", b"example.net", private, include_headers=[b"from", b"to", b"subject"])
    return bytes(field) + letter


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Server, DnsServer]]:
    record = key_record(rsa_key())
    dns = DnsServer(
        {
            "example.net": {"MX": ["10 mx.example.net."]},
            "mx.example.net": {"A": ["192.0.2.25"]},
            KEY_NAME: {"TXT": [f'"{record[:200]}" "{record[200:]}"']},  # as DNS has it: strings of up to 255 octets
        }
    )
    with dns.in_thread():
        config = f'[domain."example.org"]\n[dns]\nresolvers = ["{dns.address}"]\ntimeout = "2s"\n'
        with Server(folder, ("mx",), config=config) as server:
            yield server, dns


def send(server: Server, message: bytes, recipient: str = ADA) -> dict[str, Any]:
    """The event of the message that was accepted."""
    with smtplib.SMTP(HOST, server.port("mx")) as client:
        client.ehlo("client.example.net")
        client.mail(STRANGER)
        client.rcpt(recipient)
        code, said = client.data(message)
        assert code == 250, said
    return server.wait_for_event("smtp.message", id=said.decode().rpartition("(")[2].rstrip(")"))


def result_in(event: dict[str, Any]) -> dict[str, Any]:
    (verdict,) = (each for each in event["verdicts"] if each["check"] == "content.dkim")
    assert verdict["verdict"] == "pass"
    found: dict[str, Any] = verdict["facts"]["dkim"][0]
    return found


def test_what_a_stranger_has_signed_is_on_the_record_and_on_top_of_the_message(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, dns):
        event = send(server, signed_by_dkimpy(LETTER))
        found = result_in(event)
        assert (found["result"], found["domain"], found["selector"]) == ("pass", "example.net", "s1")
        assert (found["key_bits"], found["signed"]) == (2048, ["from", "to", "subject"])
        shown = server.command("audit", "show", event["id"])
        assert "pass example.net (rsa-sha256, 2048 bits)" in shown
        assert "content.dkim found: pass example.net" in server.command("policy", "explain", event["id"])
        mail = server.wait_for_subject("signed")
        assert b"Authentication-Results: mx.example.org;" in mail
        assert b"dkim=pass header.d=example.net header.s=s1" in mail

        # A forged result in our name, and a body that was changed on the way.
        forged = b"Authentication-Results: mx.example.org; dkim=pass header.d=bank.example\r\n"
        message = forged + signed_by_dkimpy(LETTER.replace(b"signed", b"changed")).replace(b"letter", b"lie")
        event = send(server, message)
        assert result_in(event)["result"] == "fail"
        assert event["details"]["claims_removed"] == 1
        mail = server.wait_for_subject("changed")
        assert b'dkim=fail reason="the body is not the one that was signed"' in mail.replace(b"\n\t", b" ")
        assert b"bank.example" not in mail

        # A large one goes through a file; the key comes from the cache.
        asked = len([query for query in dns.queries if query[0] == KEY_NAME])
        large = LETTER.replace(b"signed", b"large") + b"a line  of text \r\n" * 100_000
        assert result_in(send(server, signed_by_dkimpy(large)))["result"] == "pass"
        assert len([query for query in dns.queries if query[0] == KEY_NAME]) == asked == 1


def test_a_dns_that_is_silent_refuses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, dns):
        dns.behave(Behaviour.SILENCE, KEY_NAME)
        found = result_in(send(server, signed_by_dkimpy(LETTER)))
        assert found["result"] == "temperror"
        assert "no answer" in found["reason"]


def test_mail_that_is_encrypted_as_it_is_accepted_was_verified_before(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, _):
        key = tmp_path / "bob.pgp"
        key.write_bytes(pgp(BOB).key.material)
        server.command("account", "seal", BOB, str(key))
        event = send(server, signed_by_dkimpy(LETTER), BOB)
        assert result_in(event)["result"] == "pass"
        assert event["details"]["seal"]
        (mail,) = server.wait_for_mail(BOB)
        assert b"A  letter." not in mail
        assert b"-----BEGIN PGP MESSAGE-----" in mail
        assert b"dkim=pass header.d=example.net" in mail
