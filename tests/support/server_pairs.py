"""Certificates for tests, made in a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def write_pair(
    folder: Path,
    *names: str,
    key: Key | None = None,
    begin: datetime | None = None,
    end: datetime | None = None,
    hash_algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
    passphrase: bytes = b"",
    stem: str = "",
) -> tuple[Path, Path]:
    """(certificate, key): self-signed for `names`, in files named for the first of them."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    algorithm = None if isinstance(private, ed25519.Ed25519PrivateKey) else hash_algorithm or hashes.SHA256()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin or now - timedelta(days=1))
        .not_valid_after(end or now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .sign(private, algorithm)
    )
    folder.mkdir(parents=True, exist_ok=True)
    stem = stem or names[0].replace("*", "_")
    paths = folder / f"{stem}.pem", folder / f"{stem}.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    locked: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    paths[1].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    return paths
