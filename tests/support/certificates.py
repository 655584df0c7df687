"""Certificates for tests: an authority, and what it issues; made anew, valid now."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Authority:
    """A root, and an intermediate that signs: hosts send the chain of both, as they do on the net."""

    def __init__(self, folder: Path, name: str = "Test Root") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = _certificate(_name(name), root_key, _name(name), root_key, is_ca=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._intermediate = _certificate(_name(f"{name} 2"), self._key, self.root.subject, root_key, is_ca=True)
        self.file = folder / "root.pem"
        self.file.write_bytes(self.root.public_bytes(Encoding.PEM))

    def server_context(self, *names: str, days: int = 30) -> ssl.SSLContext:
        """Of a server with a certificate for `names` (host names or IP addresses); days < 0: it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _certificate(_name(names[0]), key, self._intermediate.subject, self._key, names=names, days=days)
        return _context(self._folder, key, leaf, self._intermediate)


def self_signed_context(folder: Path, *names: str) -> ssl.SSLContext:
    """Of a server with a certificate that nobody else signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _context(folder, key, _certificate(_name(names[0]), key, _name(names[0]), key, names=names))


def _context(folder: Path, key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate) -> ssl.SSLContext:
    folder.mkdir(parents=True, exist_ok=True)
    pair = folder / "pair.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair.write_bytes(private + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    names: tuple[str, ...] = (),
    is_ca: bool = False,
    days: int = 30,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if is_ca:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        general = [_general_name(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
