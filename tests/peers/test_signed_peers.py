"""What is signed and not encrypted: gpg and openssl find it good, and a changed octet bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.peers.test_seal_peers import ADA, LARGE, Gpg, files, gpg, openssl
from tests.seal import scene
from tests.seal.scene import MESSAGE, NOW, Person

from gatepost.seal.mime import decoded, parse, split_multipart
from gatepost.seal.model import SealOptions
from gatepost.seal.signing import sign

__all__ = ["gpg"]
TEXTS = {"small": MESSAGE, "large": LARGE, "long lines": b"From: ada@example.org\r\n\r\n" + b"word " * 400 + b"\r\n"}


def signed(message: bytes, ada: Person) -> bytes:
    result = sign(message, ada.signing, SealOptions(now=NOW))
    assert isinstance(result, bytes), result
    return result


def detached(message: bytes) -> tuple[bytes, bytes]:
    """What is signed, and the signature."""
    entity = parse(message)
    found = split_multipart(entity.body, entity.content_type.parameters["boundary"])
    assert found is not None
    signature = decoded(parse(found.parts[1]))
    assert signature is not None
    return found.parts[0], signature


def check_with_gpg(gpg: Gpg, message: bytes, folder: Path, *, fails: bool = False) -> bytes:
    """What gpg says of a message that is signed with PGP/MIME."""
    text, signature = detached(message)
    (folder / "text").write_bytes(text)
    (folder / "text.asc").write_bytes(signature)
    return gpg("--status-fd", "1", "--verify", str(folder / "text.asc"), str(folder / "text"), fails=fails)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("suite", ["default", "rsa3072"])
def test_gpg_finds_what_we_sign_good_and_changed_octets_bad(gpg: Gpg, tmp_path: Path, text: bytes, suite: str) -> None:
    ada = scene.pgp(ADA) if suite == "default" else scene.pgp_person(_rsa_key(), ADA)
    gpg("--import", given=ada.key.material)
    message = signed(text, ada)
    status = check_with_gpg(gpg, message, tmp_path)
    assert b"GOODSIG" in status
    hash_name = {b"8": b"sha256", b"9": b"sha384", b"10": b"sha512"}[_field(status, 7)]
    assert b'micalg="pgp-' + hash_name + b'"' in message
    body = message.index(b"hp=") + 12
    changed = message[:body] + bytes((message[body] ^ 1,)) + message[body + 1 :]
    assert b"BADSIG" in check_with_gpg(gpg, changed, tmp_path, fails=True)


def _rsa_key() -> object:
    import pysequoia

    return scene.pgp_key(ADA, cipher_suite=pysequoia.CipherSuite.RSA3k)


def _field(status: bytes, number: int) -> bytes:
    line = next(each for each in status.split(b"\n") if b" VALIDSIG " in each)
    return line.split()[number + 2]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("algorithm", ["rsa2048", "p256", "p384"])
def test_openssl_finds_what_we_sign_good_and_changed_octets_bad(tmp_path: Path, text: bytes, algorithm: str) -> None:
    ada = scene.smime(ADA, algorithm)
    files(tmp_path, ada, "ada")
    message = signed(text, ada)
    words = ("cms", "-verify", "-CAfile", str(tmp_path / "ca.pem"), "-purpose", "any")
    assert openssl(*words, given=message) == detached(message)[0]
    changed = message.replace(b'hp="clear"', b'hp="cleaR"')
    openssl(*words, given=changed, fails=True)
