"""What we seal is opened by gpg, sqop and openssl, and what they make is opened by us; what they refuse, so do we."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.programs import program
from tests.seal import scene
from tests.seal.scene import BODY, MESSAGE, NOW

from gatepost.seal.keys import check_key
from gatepost.seal.mime import decoded, parse, split_multipart
from gatepost.seal.model import KnownKey, RecipientKey, Refused, Sealed, SealOptions, Secret, SigningKey
from gatepost.seal.opening import open_
from gatepost.seal.payload import IN_FILE_OCTETS, Payload
from gatepost.seal.sealing import seal
from gatepost.seal.smime import sign_mime

BOB, ADA = "bob@example.net", "ada@example.org"


# Without a Content-Type, and beyond what is sealed in memory.
LARGE = MESSAGE.partition(b"MIME-Version")[0] + b"\r\n" + b"An offer that goes on and on\r\n" * (IN_FILE_OCTETS // 28)


def sealed(key, signer=None, cipher="aes-256-gcm"):
    result = seal(MESSAGE, {BOB: key}, signer, SealOptions(now=NOW, cipher=cipher))
    assert isinstance(result, Sealed), result
    return result.messages[0].octets


def armoured(message: bytes) -> bytes:
    match = re.search(rb"-----BEGIN PGP MESSAGE-----.*-----END PGP MESSAGE-----\r\n", message, re.S)
    assert match is not None
    return match[0]


def pgp_mime(armour: bytes) -> bytes:
    return (
        b"From: Ada <ada@example.org>\r\nTo: bob@example.net\r\nSubject: In clear\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\r\n\r\n'
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n"
        + armour.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        + b"\r\n--b--\r\n"
    )


class Gpg:
    """A GnuPG home of its own, whose agent ends with it."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "GNUPGHOME": str(home)}
        self.name = str(program("gpg"))

    def __call__(self, *arguments: str, given: bytes = b"", fails: bool = False) -> bytes:
        words = [self.name, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always"]
        done = subprocess.run([*words, *arguments], input=given, capture_output=True, env=self.environment, check=False)
        assert (done.returncode != 0) == fails, done.stderr.decode()
        return done.stdout


@pytest.fixture
def gpg(tmp_path_factory):
    import shutil
    import tempfile

    home = Path(tempfile.mkdtemp(prefix="gpg"))  # a short path: the agent's socket has to fit
    home.chmod(0o700)
    peer = Gpg(home)
    yield peer
    subprocess.run(["gpgconf", "--kill", "all"], env=peer.environment, check=False, capture_output=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["default", "rsa3072"])
def bob(gpg, request):
    """Bob, who has gpg: his key as we take it, and his secret."""
    if request.param == "default":
        gpg("--quick-gen-key", f"Bob <{BOB}>", "future-default", "default", "1y")
    else:
        gpg("--quick-gen-key", f"Bob <{BOB}>", "rsa3072", "default", "1y")
        listed = gpg("--with-colons", "--list-keys").decode()
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        gpg("--quick-add-key", fingerprint, "rsa3072", "encr", "1y")
    key = check_key(gpg("--export", BOB), BOB, NOW)
    assert isinstance(key, RecipientKey), key
    return key, Secret(kind="openpgp", material=gpg("--export-secret-keys", BOB))


def test_gpg_opens_what_we_seal_and_finds_the_signature_good(gpg, bob):
    ada = scene.pgp(ADA)
    gpg("--import", given=ada.key.material)
    message = sealed(bob[0], ada.signing)
    status = gpg("--status-fd", "1", "--decrypt", given=armoured(message))
    assert b"Subject: The offer to Cardiff\r\n" in status
    assert BODY in status
    assert b"GOODSIG" in status


def test_gpg_opens_large_messages_whatever_their_length(gpg):
    """Without a checksum, GnuPG 2.2 called every third message damaged."""
    gpg("--quick-gen-key", f"Bob <{BOB}>", "future-default", "default", "1y")
    key = check_key(gpg("--export", BOB), BOB, NOW)
    assert isinstance(key, RecipientKey), key
    for more in range(3):
        result = seal(LARGE + b"x" * more + b"\r\n", {BOB: key}, None, SealOptions(now=NOW))
        assert isinstance(result, Sealed), result
        text = gpg("--decrypt", given=armoured(result.messages[0].octets))
        assert text.endswith(b"x" * more + b"\r\n")
        assert len(text) > len(LARGE)


def test_we_open_what_gpg_makes_and_find_its_signature_good(gpg, bob):
    secret = bob[1]
    gpg("--quick-gen-key", f"Ada <{ADA}>", "default", "default", "1y")
    known = KnownKey(kind="openpgp", material=gpg("--export", ADA), trusted_because="you compared it")
    inner = b"Content-Type: text/plain\r\n\r\nHello Bob\r\n"
    words = ("--armor", "--encrypt", "--sign", "-u", ADA, "-r", BOB)
    compressed = open_(pgp_mime(gpg(*words, given=inner)), [secret], [known], NOW)
    assert compressed.text is not None
    assert compressed.verdict.signature == "unknown"  # said to be unproven, and never to be good
    assert "cannot be checked here" in compressed.verdict.words()
    made = gpg(*words, "--compress-algo", "none", given=inner)
    opened = open_(pgp_mime(made), [secret], [known], NOW)
    assert opened.text is not None, opened.verdict
    assert opened.text.endswith(b"\r\n\r\nHello Bob\r\n")
    assert opened.verdict.signature == "good"
    assert "subject" in opened.verdict.unprotected
    hidden = gpg("--armor", "--encrypt", "-R", BOB, given=inner)
    assert open_(pgp_mime(hidden), [secret], [], NOW).text is not None
    other = gpg("--armor", "--encrypt", "-r", ADA, given=inner)
    assert open_(pgp_mime(other), [secret], [], NOW).text is None


def test_what_gpg_encrypts_without_integrity_protection_is_not_shown(gpg, bob):
    made = gpg("--armor", "--rfc2440", "--disable-mdc", "--encrypt", "-r", BOB, given=b"\r\nHello\r\n")
    opened = open_(pgp_mime(made), [bob[1]], [], NOW)
    assert opened.text is None
    assert "no MDC" in opened.verdict.words()


def test_a_detached_signature_of_gpg_is_checked_and_a_changed_text_is_not_shown(gpg):
    gpg("--quick-gen-key", f"Ada <{ADA}>", "default", "default", "1y")
    known = KnownKey(kind="openpgp", material=gpg("--export", ADA), trusted_because="you compared it")
    part = b"Content-Type: text/plain\r\n\r\nHello\r\n"

    def message(digest: str) -> bytes:
        signature = gpg("--armor", "--digest-algo", digest, "-u", ADA, "--detach-sign", given=part)
        return (
            b"From: ada@example.org\r\nContent-Type: multipart/signed; boundary=b; micalg=pgp-sha256;"
            b' protocol="application/pgp-signature"\r\n\r\n--b\r\n' + part
            + b"\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n" + signature + b"\r\n--b--\r\n"
        )  # fmt: skip

    assert open_(message("SHA256"), [], [known], NOW).verdict.signature == "good"
    assert open_(message("SHA256").replace(b"Hello", b"Hallo"), [], [known], NOW).text is None
    assert open_(message("SHA1"), [], [known], NOW).text is None
    assert open_(message("SHA256"), [], [], NOW).text is None


def test_keys_of_gpg_that_rest_on_sha1_or_expire_or_are_short_are_refused(gpg):
    def code(address):
        found = check_key(gpg("--export", address), address, NOW)
        return found.code if isinstance(found, Refused) else "taken"

    gpg("--cert-digest-algo", "SHA1", "--quick-gen-key", "old@example.net", "default", "default", "0")
    assert code("old@example.net") == "weak_hash"
    gpg("--quick-gen-key", "short@example.net", "rsa1024", "default", "0")
    assert code("short@example.net") == "short"
    gpg("--quick-gen-key", "sign@example.net", "rsa2048", "default", "0")
    assert code("sign@example.net") == "no_encryption"
    gpg("--faked-system-time", "20200101T000000", "--quick-gen-key", "late@example.net", "default", "default", "1y")
    assert code("late@example.net") == "expired"


def test_sqop_opens_what_we_seal_and_we_what_it_makes(tmp_path):
    sqop = str(program("sqop"))
    bob = scene.pgp_key(BOB)
    person = scene.pgp_person(bob, BOB)
    (tmp_path / "bob").write_bytes(bytes(bob))
    (tmp_path / "bob.cert").write_bytes(person.key.material)
    made = subprocess.run(
        [sqop, "encrypt", str(tmp_path / "bob.cert")], input=b"\r\nHello\r\n", capture_output=True, check=True
    ).stdout
    opened = open_(pgp_mime(made), [person.secret], [], NOW)
    assert opened.text is not None
    assert opened.text.endswith(b"\r\n\r\nHello\r\n")


def openssl(*arguments, given=b"", fails=False):
    done = subprocess.run([str(program("openssl")), *arguments], input=given, capture_output=True, check=False)
    assert (done.returncode != 0) == fails, done.stderr.decode()
    return done.stdout


def files(folder: Path, person, name: str) -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    own = x509.load_der_x509_certificate(person.key.material)
    (folder / f"{name}.pem").write_bytes(own.public_bytes(Encoding.PEM))
    (folder / f"{name}.key").write_bytes(person.secret.material)
    issuer = scene.authority()[0]
    (folder / "ca.pem").write_bytes(issuer.public_bytes(Encoding.PEM))
    return str(folder / f"{name}.pem"), str(folder / f"{name}.key")


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-cbc"])
@pytest.mark.parametrize("algorithm", ["rsa2048", "p256", "p384"])
def test_openssl_opens_what_we_seal_and_finds_the_signature_good(tmp_path, algorithm, cipher):
    bob, ada = scene.smime(BOB, algorithm), scene.smime(ADA, algorithm)
    certificate, key = files(tmp_path, bob, "bob")
    message = sealed(bob.key, ada.signing, cipher)
    inner = openssl("cms", "-decrypt", "-recip", certificate, "-inkey", key, given=message)
    text = openssl("cms", "-verify", "-CAfile", str(tmp_path / "ca.pem"), "-purpose", "any", given=inner)
    assert b"Subject: The offer to Cardiff\r\n" in text
    assert text.endswith(BODY)


def test_certtool_finds_our_signatures_of_ed25519_good_and_over_another_text_not(tmp_path):
    """OpenSSL 3.0 has no Ed25519 in CMS."""
    ada = scene.private_key("ed25519")
    own = scene.der(scene.certificate(ADA, ada, usage=scene.SIGNS_ONLY))
    signer = SigningKey(
        kind="smime", address=ADA, fingerprint="", material=scene.pem_key(ada), certificates=(own,)
    )  # fmt: skip
    entity = parse(b"".join(sign_mime(Payload((b"Content-Type: text/plain\r\n\r\nHello Bob\r\n",)), signer, NOW)))
    found = split_multipart(entity.body, entity.content_type.parameters["boundary"])
    assert found is not None
    signature = decoded(parse(found.parts[1]))
    assert signature is not None
    (tmp_path / "ca.pem").write_bytes(scene.authority()[0].public_bytes(serialization.Encoding.PEM))
    (tmp_path / "text").write_bytes(found.parts[0])
    (tmp_path / "other").write_bytes(found.parts[0].replace(b"Bob", b"Eve"))
    words = [str(program("certtool")), "--p7-verify", "--load-ca-certificate", "ca.pem", "--inder", "--load-data"]
    for name, is_good in (("text", True), ("other", False)):
        done = subprocess.run([*words, name], input=signature, capture_output=True, check=False, cwd=tmp_path)
        assert (done.returncode == 0) == is_good, done.stderr


OPENSSL = [
    ("rsa2048", ["-aes-256-gcm"], False),
    ("rsa2048", ["-aes-128-gcm", "-keyopt", "rsa_padding_mode:oaep"], False),
    ("rsa2048", ["-aes-256-gcm", "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"], False),
    ("p256", ["-aes-256-gcm"], False),
    ("p384", ["-aes-256-gcm", "-keyopt", "ecdh_kdf_md:sha384"], False),
    ("p521", ["-aes-192-gcm"], False),
    ("p256", ["-aes-256-gcm", "-keyid"], False),
    ("rsa2048", ["-aes-256-cbc"], True),
    ("p256", ["-aes-128-cbc"], True),
]


@pytest.mark.parametrize(("algorithm", "options", "is_cbc"), OPENSSL)
def test_we_open_what_openssl_makes_and_cbc_under_a_signature_only(tmp_path, algorithm, options, is_cbc):
    bob, ada = scene.smime(BOB, algorithm), scene.smime(ADA)
    certificate, _ = files(tmp_path, bob, "bob")
    signer, key = files(tmp_path, ada, "ada")
    head = ["-from", ADA, "-to", BOB, "-subject", "In clear"]
    keyopt = options.index("-keyopt") if "-keyopt" in options else len(options)
    words = ["cms", "-encrypt", "-stream", *head, *options[:keyopt], "-recip", certificate, *options[keyopt:]]
    inner = b"Content-Type: text/plain\r\n\r\nHello\r\n"
    opened = open_(openssl(*words, given=inner), [bob.secret], [scene.anchor()], NOW)
    if is_cbc:
        assert opened.text is None
        assert "AES-CBC" in opened.verdict.words()
    else:
        assert opened.text is not None, opened.verdict
        assert opened.text.endswith(b"\r\n\r\nHello\r\n")
    signed = openssl("cms", "-sign", "-signer", signer, "-inkey", key, given=inner)
    opened = open_(openssl(*words, given=signed), [bob.secret], [scene.anchor()], NOW)
    assert opened.text is not None, opened.verdict
    assert opened.verdict.signature == "good"
    opaque = openssl("cms", "-sign", "-nodetach", "-signer", signer, "-inkey", key, given=inner)
    opened = open_(openssl(*words, given=opaque), [bob.secret], [scene.anchor()], NOW)
    assert opened.verdict.signature == "good", opened.verdict


@pytest.mark.parametrize("options", [[], ["-keyopt", "rsa_padding_mode:pss"], ["-md", "sha512"], ["-noattr"]])
def test_signatures_of_openssl_hold_and_those_on_sha1_do_not(tmp_path, options):
    signer, key = files(tmp_path, scene.smime(ADA), "ada")
    words = ["cms", "-sign", "-from", ADA, "-signer", signer, "-inkey", key]
    made = openssl(*words, *options, given=b"Content-Type: text/plain\r\n\r\nHello\r\n")
    opened = open_(made, [], [scene.anchor()], NOW)
    assert opened.verdict.signature == "good", opened.verdict
    assert open_(made.replace(b"Hello", b"Hallo"), [], [scene.anchor()], NOW).text is None
    weak = openssl(*words, "-md", "sha1", given=b"Content-Type: text/plain\r\n\r\nHello\r\n")
    assert open_(weak, [], [scene.anchor()], NOW).verdict.signature == "bad"


def test_mail_to_a_key_of_ones_own_that_expired_opens_after_what_the_refusal_says(gpg):
    past = ("--faked-system-time", "20200101T000000")
    gpg(*past, "--quick-gen-key", f"Bob <{BOB}>", "future-default", "default", "1y")
    later = ("--faked-system-time", "20200102T000000")  # the clock of the next gpg may be a second behind
    made = gpg(*later, "--armor", "--encrypt", "-r", BOB, given=b"\r\nHello\r\n")

    def opened():
        young = Secret(kind="openpgp", material=bytes(scene.pgp_key(BOB)))
        return open_(
            pgp_mime(made), [young, Secret(kind="openpgp", material=gpg("--export-secret-keys", BOB))], [], NOW
        )

    assert opened().text is None
    advice = re.findall(r'"gpg (--quick-set-expire [^"]*)"', opened().verdict.words())
    assert len(advice) == 2
    for words in advice:
        gpg(*words.split())
    assert opened().text is not None
