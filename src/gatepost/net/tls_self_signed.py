"""The certificate of a server that was given none: made by itself, so that TLS works from the first minute.

Nobody can verify it without having been told, but nobody listens in either.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatepost.net.tls_certificates import CertificateError, load_pair
from gatepost.store.disk import write_private

LIFETIME: Final = timedelta(days=820)  # Apple's programs refuse more than 825, even for a certificate one trusts
REMADE_BEFORE_END: Final = timedelta(days=60)
BACKDATED: Final = timedelta(hours=1)  # clients whose clock is slow
CERTIFICATE: Final = "self-signed.pem"
KEY: Final = "self-signed.key"
COMMON_NAME_OCTETS: Final = 64  # X.520's limit; the name is in the alternatives anyway


def self_signed_files(folder: Path) -> tuple[Path, Path]:
    """(certificate, key), where they are kept."""
    return folder / CERTIFICATE, folder / KEY


def make_self_signed(folder: Path, hostname: str, now: datetime) -> None:
    """Sees that both files are there: made anew where they are missing, damaged, for another host or near their end.

    Raises CertificateError when they cannot be written.
    """
    certificate, key = self_signed_files(folder)
    if _is_good(certificate, key, hostname, now):
        return
    try:
        _make(certificate, key, hostname, now)
    except OSError as error:
        what = f"no certificate is configured, and one of our own cannot be written to {folder} ({error.strerror})"
        raise CertificateError(f'{what}; let the server\'s user write there, or set "certificate" in [tls]') from error


def _is_good(certificate: Path, key: Path, hostname: str, now: datetime) -> bool:
    try:
        pair = load_pair(certificate, key, now)
    except CertificateError:
        return False
    return hostname.lower() in pair.names and pair.end - now > REMADE_BEFORE_END


def _make(certificate: Path, key: Path, hostname: str, now: datetime) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:COMMON_NAME_OCTETS])])
    names = [x509.DNSName(host) for host in dict.fromkeys((hostname.lower(), "localhost"))]
    addresses = [x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1")]
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(key, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_private(certificate, made.public_bytes(Encoding.PEM))
