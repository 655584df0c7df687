"""Dialogues about encryption: what must be encrypted before it is submitted."""

from __future__ import annotations

from tests.dialogues.test_limits import logged_in
from tests.seal.scene import MESSAGE, NOW, pgp, smime
from tests.support.desk import Client, Desk

from gatepost.policy.checks import content_sealed
from gatepost.seal.model import Sealed, SealOptions
from gatepost.seal.sealing import seal

BOB = "bob@example.net"
REFUSED = "550 5.7.1 A recipient takes encrypted mail only; encrypt it (OpenPGP or S/MIME) and send again"
PARTNER = content_sealed.Settings(mode="enforce", recipients=("*@example.net",))


async def submit(client: Client, message: bytes, *recipients: str) -> str:
    """The reply to the last command of a transaction of ada's."""
    await client.line("MAIL FROM:<ada@example.org>")
    for recipient in recipients:
        reply = await client.line(f"RCPT TO:<{recipient}>")
        if not reply.startswith("250"):
            return reply
    await client.line("DATA")
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return "\n".join(await client.say(stuffed + b".\r\n"))


def sealed_to(person: object) -> bytes:
    done = seal(MESSAGE, {BOB: person.key}, None, SealOptions(now=NOW))  # type: ignore[attr-defined]
    assert isinstance(done, Sealed)
    return done.messages[0].octets


async def test_only_what_is_encrypted_is_taken_for_those_who_require_it() -> None:
    desk = Desk(policy={content_sealed.NAME: PARTNER})
    client = await logged_in(desk)
    assert await submit(client, MESSAGE, BOB) == REFUSED
    assert await submit(client, MESSAGE, "eve@far.example", BOB) == REFUSED
    assert desk.spool.entries == {}
    assert (await submit(client, MESSAGE, "eve@far.example")).startswith("250")
    for person in (pgp(BOB), smime(BOB)):
        assert (await submit(client, sealed_to(person), BOB)).startswith("250")


async def test_a_wrapper_around_clear_text_does_not_pass() -> None:
    """A user who only calls his message encrypted would send it in clear to whoever asked for better."""
    desk = Desk(policy={content_sealed.NAME: PARTNER})
    client = await logged_in(desk)
    armour = b"-----BEGIN PGP MESSAGE-----\r\n\r\nyxliAAAAAABIZWxsbywgd29ybGQhCg==\r\n-----END PGP MESSAGE-----\r\n"
    head = (
        b"From: ada@example.org\r\nTo: bob@example.net\r\nSubject: x\r\nContent-Type: multipart/encrypted;\r\n"
        b' protocol="application/pgp-encrypted"; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    assert await submit(client, head + armour + b"\r\n--b--\r\n", BOB) == REFUSED
    beside = sealed_to(pgp(BOB)).rstrip() + b"\r\nAnd this is what it says.\r\n"
    assert await submit(client, beside, BOB) == REFUSED
    assert desk.spool.entries == {}
