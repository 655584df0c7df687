"""Certificates of strangers, read whole: the library reads a part when it is asked for it, and fails in many ways."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

_FAULTS = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip


def read_certificate(der: bytes) -> x509.Certificate:
    """The certificate, no part of which fails later. Raises ValueError."""
    try:
        return whole(x509.load_der_x509_certificate(der))
    except _FAULTS as error:
        raise ValueError(f"a certificate cannot be read: {error}") from None


def read_pem(text: bytes) -> list[x509.Certificate]:
    """The same for each in PEM. Raises ValueError, also where there is none."""
    try:
        return [whole(each) for each in x509.load_pem_x509_certificates(text)]
    except _FAULTS as error:
        raise ValueError(f"a certificate cannot be read: {error}") from None


def whole(certificate: x509.Certificate) -> x509.Certificate:
    """`certificate`, after each of its parts was read. Raises what the library raises."""
    list(certificate.extensions)
    certificate.public_key()
    for name in (certificate.subject, certificate.issuer):
        name.public_bytes()
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificate
