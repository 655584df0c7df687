"""Messages that other programs made (tests/corpus/sealed): each opens to its text with the right verdict, and changed
anywhere it opens to nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding
from tests.seal.scene import NOW, der, pem_key
from tests.seal.scene import certificate as new_certificate

from gatepost.seal.cms import ber
from gatepost.seal.cms import identifiers as ids
from gatepost.seal.keys import check_key
from gatepost.seal.model import KnownKey, Opened, RecipientKey, Refused, Secret
from gatepost.seal.opening import open_
from gatepost.seal.openpgp_library import library

CORPUS = Path(__file__).parents[1] / "corpus" / "sealed"
TEXT, LONG = ((CORPUS / name).read_bytes() for name in ("text.eml", "long.eml"))
PGP_KEYS = ("rsa3072", "cv25519", "nistp256", "nistp384", "nistp521")
PGPJS_KEYS = ("pgpjs4", "pgpjs4x", "pgpjs4rsa", "pgpjs6")
OWNERS = (*PGP_KEYS, *PGPJS_KEYS)
PGP = sorted(path.stem for path in CORPUS.glob("*.asc") if not path.name.endswith((".key.asc", ".sig.asc")))
CMS = sorted(path.stem for path in CORPUS.glob("*.eml") if path.name.startswith(("cms-", "sig-")))
REFUSED = {
    "gpg-refused-no-mdc": "no MDC", "rnp-refused-aead-draft": "of a draft",
    "gpg-refused-3DES": "cipher that is not safe", "gpg-refused-CAST5": "cipher that is not safe",
    "gpg-refused-BZIP2": "not understood",
    "gpg-refused-sha1": "signature that does not fit", "cms-refused-aes-128-cbc": "AES-CBC",
    "cms-refused-aes-192-cbc": "AES-CBC", "cms-refused-aes-256-cbc": "AES-CBC",
    "cms-refused-des-ede3-cbc": "not safe enough", "cms-refused-signed-des-ede3-cbc": "not safe enough",
    "sig-refused-sha1": "SHA-1",
}  # fmt: skip
SMALL, LARGE = 1000, 6000  # octets: every one is changed in what is smaller, one in three, one in a hundred


@cache
def secrets(name: str = "") -> tuple[Secret, ...]:
    """The private keys; those for the message of this name, since to try each costs time."""
    if name.startswith(("cms-", "sig-")):
        return tuple(
            Secret(kind="smime", material=(CORPUS / f"{key}.key").read_bytes(), certificates=(certificate(key),))
            for key in ("rsa2048", "p256", "p384", "p521")
            if name == "cms-" or key == next((each for each in ("p256", "p384", "p521") if each in name), "rsa2048")
        )
    fitting = [key for key in (*OWNERS, "rfc9580-a4") if not name or key.partition("-")[0] in name] or ["cv25519"]
    keys = [*fitting, "rsa3072"] if name in ("gpg-refused-sha1", "gpg-refused-no-mdc") else fitting
    pgp = [Secret(kind="openpgp", material=(CORPUS / f"{key}.key.asc").read_bytes()) for key in keys]
    return (*pgp, *(() if name else secrets("cms-")))


def certificate(name: str) -> bytes:
    return (CORPUS / f"{name}.pem").read_bytes()


def public(name: str) -> bytes:
    return bytes(library().Tsk.from_bytes((CORPUS / f"{name}.key.asc").read_bytes()).extract_certificate())


@cache
def known(name: str = "") -> tuple[KnownKey, ...]:
    """The public keys; those for the message of this name."""
    keys = [key for key in OWNERS if not name or key in name or name == "gpg-refused-sha1"]
    pgp = [KnownKey(kind="openpgp", material=public(key), trusted_because="you compared it") for key in keys]
    anchor = KnownKey(kind="smime", material=certificate("ca"), is_anchor=True, trusted_because="its authority says so")
    return (*pgp, anchor)


def opened(message: bytes, name: str = "") -> Opened:
    return open_(message, secrets(name), known(name), NOW)


def pgp_mime(name: str, packets: bytes) -> bytes:
    """PGP/MIME by whoever's key is in the name. Armour without its checksum, which protects nothing."""
    part = "--b\r\nContent-Type: application/"
    owner = next((key for key in OWNERS if f"{key}-signed" in name), "somebody")
    armour = b"-----BEGIN PGP MESSAGE-----\r\n\r\n" + base64.encodebytes(packets).replace(b"\n", b"\r\n")
    return (
        f"From: {owner}@example.net\r\nSubject: Outside\r\nMIME-Version: 1.0\r\nContent-Type: multipart/encrypted;\r\n"
        f' protocol="application/pgp-encrypted"; boundary=b\r\n\r\n{part}pgp-encrypted\r\n\r\nVersion: 1\r\n'
        f"{part}octet-stream\r\n\r\n"
    ).encode() + armour + b"-----END PGP MESSAGE-----\r\n--b--\r\n"  # fmt: skip


def armoured(name: str) -> bytes:
    """The octets in a file in armour."""
    body = (CORPUS / f"{name}.asc").read_text().partition("\n\n")[2]
    return base64.b64decode("".join(line for line in body.splitlines() if line[:1] not in "=-"))


def pgp_detached(text: bytes, signature: bytes) -> bytes:
    return (
        b"From: rsa3072@example.net\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; micalg=pgp-sha512;\r\n"
        b' protocol="application/pgp-signature"; boundary=b\r\n\r\n--b\r\n' + text
        + b"\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n" + signature + b"\r\n--b--\r\n"
    )  # fmt: skip


def cms(name: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The octets that may be changed, and what makes the message of them."""
    message = (CORPUS / f"{name}.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head, _, body = message.partition(b"\r\n\r\n")
    if b"multipart/signed" in head:
        return body, lambda changed: head + b"\r\n\r\n" + changed
    return base64.b64decode(body), lambda changed: head + b"\r\n\r\n" + base64.encodebytes(changed)


def expected(name: str) -> bytes:
    if name.startswith("rfc9580"):
        return b"Hello, world!"
    return (LONG if "partial" in name or "indefinite" in name else TEXT).partition(b"\r\n\r\n")[2]


def signature_of(name: str) -> str:
    return "good" if "signed" in name or name.startswith("sig-") else "none"


def mutated(octets: bytes) -> Iterator[bytes]:
    """One octet changed, each in what is small, else many all over; and the end cut off."""
    step = 1 if len(octets) <= SMALL else 3 if len(octets) <= LARGE else 101
    for number, at in enumerate(range(0, len(octets), step)):
        yield octets[:at] + bytes((octets[at] ^ (1 << number % 8),)) + octets[at + 1 :]
        if number % 4 == 0:
            yield octets[:at]


def assert_opens(name: str, message: bytes) -> bytes:
    found = opened(message)
    assert found.text is not None, found.verdict
    assert found.text.endswith(b"\r\n\r\n" + expected(name))
    assert found.verdict.signature == signature_of(name), found.verdict
    assert found.verdict.is_encrypted == (not name.startswith("sig-"))
    return found.text


def is_nothing_else(name: str, text: bytes, message: bytes) -> bool:
    return opened(message, name).text in (None, text)


@pytest.mark.parametrize("name", [name for name in PGP if name not in REFUSED])
def test_openpgp_of_others_opens_to_its_text_and_changed_to_no_other(name: str) -> None:
    packets = armoured(name)
    text = assert_opens(name, pgp_mime(name, packets))
    assert all(is_nothing_else(name, text, pgp_mime(name, changed)) for changed in mutated(packets))


def test_aead_is_there_with_each_mode_and_size_for_keys_of_both_versions() -> None:
    """RFC 9580 §5.13.2: version 2, then cipher and mode, so that the names say what is in the files."""
    ciphers, modes = {"aes128": 7, "aes192": 8, "aes256": 9}, {"eax": 1, "ocb": 2, "gcm": 3}
    for owner in ("pgpjs4", "pgpjs6"):
        for cipher, cipher_id in ciphers.items():
            for mode, mode_id in modes.items():
                assert aead_head(armoured(f"{owner}-{mode}-{cipher}")) == (2, cipher_id, mode_id)


def aead_head(packets: bytes) -> tuple[int, ...]:
    """Version, cipher and mode of the packet that holds the ciphertext."""
    return tuple(ciphertext_of(packets)[:3])


def ciphertext_of(packets: bytes) -> bytes:
    """The body of the last packet."""
    *_, packet = library().packet.PacketPile.from_bytes(packets)
    return bytes(packet.body)


@pytest.mark.parametrize("name", [name for name in PGP if name.startswith("pgpjs")])
def test_ciphertext_of_aead_that_was_changed_anywhere_yields_no_text_at_all(name: str) -> None:
    """The rest is who it is for, which nothing protects: a change there may go unnoticed, and changes no text."""
    packets = armoured(name)
    at = packets.index(ciphertext_of(packets)[:16])  # not all of it in one piece, where its length was not known
    changed = [opened(pgp_mime(name, packets[:at] + other), name).text for other in mutated(packets[at:])]
    assert changed == [None] * len(changed) != []


@pytest.mark.parametrize("name", [name for name in CMS if name not in REFUSED])
def test_smime_of_others_opens_to_its_text_and_changed_to_no_other(name: str) -> None:
    octets, message = cms(name)
    text = assert_opens(name, message(octets))
    assert all(is_nothing_else(name, text, message(changed)) for changed in mutated(octets))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_safe_is_refused_with_the_reason_and_changed_it_is_no_better(name: str) -> None:
    if name in PGP:
        octets, message = armoured(name), lambda octets: pgp_mime(name, octets)
    else:
        octets, message = cms(name)
    found = opened(message(octets))
    assert found.text is None
    assert REFUSED[name] in found.verdict.words()
    assert all(opened(message(changed), name).text is None for changed in mutated(octets))


@pytest.mark.parametrize("name", PGP_KEYS)
def test_detached_signatures_of_gpg_hold_and_not_over_another_text(name: str) -> None:
    signature = (CORPUS / f"gpg-{name}-detached.sig.asc").read_bytes()

    def message(text: bytes) -> bytes:
        return pgp_detached(text, signature).replace(b"rsa3072@", f"{name}@".encode())

    found = opened(message(TEXT))
    assert found.verdict.signature == "good", found.verdict
    assert found.text is not None
    for changed in mutated(TEXT):
        other = opened(message(changed), name)
        # White space at the end of a line is no part of what RFC 3156 signs; a line end is made whole before.
        assert other.text is None or other.text == found.text


@pytest.mark.parametrize("name", OWNERS)
def test_the_keys_may_be_encrypted_to(name: str) -> None:
    found = check_key(public(name), f"{name}@example.net", NOW)
    assert isinstance(found, RecipientKey), found


def test_a_certificate_of_a_version_that_never_was_ends_nothing() -> None:
    """The library fails on it with an error of its own kind, which came out of `open` as a traceback."""
    octets, message = cms("sig-ed25519-opaque")
    strange = octets.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    assert strange != octets
    assert opened(message(strange)).text is None
    found = check_key(x509.load_pem_x509_certificate(certificate("p256")).public_bytes(Encoding.DER).replace(
        b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"), "p256@example.net", NOW)  # fmt: skip
    assert isinstance(found, Refused)
    assert found.code == "malformed"


@pytest.mark.parametrize(
    "table", ["AES_GCM", "AES_CBC", "AES_WRAP", "DIGESTS", "OAEP_DIGESTS", "RSA_WITH", "ECDSA_WITH", "ECDH"]
)
def test_each_algorithm_of_smime_that_is_taken_is_in_something_that_others_made(table: str) -> None:
    names = set(getattr(ids, table))
    # OAEP leaves its default away, so that SHA-1 is named nowhere; its files are cms-rsa-oaep-sha1 and -mgf1-sha1.
    missing = {name for name in names - {"1.3.14.3.2.26"} if ber.oid(name) not in smime_of_others()}
    assert missing == set()


@cache
def smime_of_others() -> bytes:
    """The octets of all messages of S/MIME that are opened, one behind the other."""
    texts = [(CORPUS / f"{name}.eml").read_text() for name in CMS if name not in REFUSED]
    blocks = [block for text in texts for block in re.findall(r"(?:^[A-Za-z0-9+/=]{1,76}\r?\n)+", text, re.MULTILINE)]
    return b"".join(base64.b64decode(block) for block in blocks)


def test_a_private_key_of_x25519_opens_nothing_of_smime_and_that_is_said() -> None:
    key = x25519.X25519PrivateKey.generate()
    secret = Secret(kind="smime", material=pem_key(key), certificates=(der(new_certificate("bob@example.net", key)),))
    found = open_((CORPUS / "cms-ecdh-p256.eml").read_bytes(), (secret,), known(), NOW)
    assert found.text is None
    assert "of a kind that opens nothing here; RSA and P-256 to P-521 do" in found.verdict.words()


def test_every_file_is_tried() -> None:
    """A vector that nobody opens proves nothing."""
    tried = {*PGP, *CMS, *(f"gpg-{name}-detached.sig" for name in PGP_KEYS)}
    there = {path.stem for path in CORPUS.glob("*.asc") if not path.name.endswith(".key.asc")}
    there |= {path.stem for path in CORPUS.glob("*.eml")} - {"text", "long"}
    assert tried == there
    assert set(REFUSED) <= tried
    assert {name for name in tried if re.search("refused", name)} == set(REFUSED)
