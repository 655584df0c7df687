"""Keys and messages that the tests of sealing share; made anew in each run, so nothing here expires."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pysequoia
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatepost.seal.cms.names import fingerprint
from gatepost.seal.keys import check_key
from gatepost.seal.model import KnownKey, RecipientKey, Secret, SigningKey

NOW = datetime.now(UTC).replace(microsecond=0)
MESSAGE = (
    b"From: Ada <ada@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: The offer to Cardiff\r\n"
    b"Message-ID: <1@example.org>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b1"\r\n\r\n'
    b"--b1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe, trailing blanks  \r\n.\r\nFrom here\r\n"
    b"--b1\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQ=\r\n--b1--\r\n"
)
BODY = MESSAGE.partition(b"\r\n\r\n")[2]


class Person:
    """Somebody with a key: what others have of it, what they sign and what they open with."""

    def __init__(self, key: RecipientKey, signing: SigningKey, secret: Secret) -> None:
        self.key, self.signing, self.secret = key, signing, secret

    def known(self, because: str = "you compared its fingerprint") -> KnownKey:
        return KnownKey(kind=self.key.kind, material=self.key.material, trusted_because=because)


def pgp_key(address: str, **options: Any) -> Any:
    return pysequoia.Tsk.generate(user_id=f"Somebody <{address}>", **options)


@cache
def pgp(address: str) -> Person:
    return pgp_person(pgp_key(address), address)


def pgp_person(tsk: Any, address: str) -> Person:
    key = check_key(bytes(tsk.extract_certificate()), address, NOW)
    assert isinstance(key, RecipientKey), key
    signing = SigningKey(kind="openpgp", address=address, fingerprint=key.fingerprint, material=bytes(tsk))
    return Person(key, signing, Secret(kind="openpgp", material=bytes(tsk)))


def private_key(algorithm: str) -> Any:
    if algorithm.startswith("rsa"):
        return rsa.generate_private_key(65537, int(algorithm[3:]))
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[algorithm])


@cache
def authority() -> tuple[x509.Certificate, Any]:
    key = private_key("p256")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
    builder = _builder(name, name, key.public_key(), NOW - timedelta(days=10), NOW + timedelta(days=3000))
    builder = builder.add_extension(x509.BasicConstraints(True, None), True).add_extension(_usage(cert=True), True)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
    return builder.sign(key, hashes.SHA256()), key


def certificate(
    address: str, key: Any, *, start: datetime = NOW - timedelta(days=1), end: datetime = NOW + timedelta(days=300),
    digest: Any = hashes.SHA256, usage: Any = None, purpose: Any = ExtendedKeyUsageOID.EMAIL_PROTECTION,
) -> x509.Certificate:  # fmt: skip
    issuer, issuer_key = authority()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    builder = _builder(name, issuer.subject, key.public_key(), start, end)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), False)
    builder = builder.add_extension(usage or _usage(), True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    return builder.sign(issuer_key, digest())


def _builder(subject: Any, issuer: Any, public: Any, start: datetime, end: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    )  # fmt: skip


def _usage(*, cert: bool = False, encrypts: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=encrypts and not cert,
        data_encipherment=False, key_agreement=encrypts and not cert, key_cert_sign=cert, crl_sign=cert,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


SIGNS_ONLY = _usage(encrypts=False)


def der(item: x509.Certificate) -> bytes:
    return item.public_bytes(serialization.Encoding.DER)


def pem_key(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@cache
def smime(address: str, algorithm: str = "rsa2048") -> Person:
    key = private_key(algorithm)
    own = certificate(address, key)
    checked = check_key(der(own), address, NOW)
    assert isinstance(checked, RecipientKey), checked
    return smime_person(address, key, own, checked)


def smime_person(address: str, key: Any, own: x509.Certificate, checked: RecipientKey) -> Person:
    signing = SigningKey(
        kind="smime", address=address, fingerprint=fingerprint(own), material=pem_key(key), certificates=(der(own),)
    )
    return Person(checked, signing, Secret(kind="smime", material=pem_key(key), certificates=(der(own),)))


def anchor() -> KnownKey:
    return KnownKey(
        kind="smime", material=der(authority()[0]), is_anchor=True, trusted_because="Test Authority says so"
    )
