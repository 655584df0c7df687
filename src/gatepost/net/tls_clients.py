"""Certificates that clients show: which authorities are asked for, and what a certificate says. Not here: whose account
it is (`accounts.certificates`)."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gatepost.net.tls_certificates import CertificateError
from gatepost.ports.wire import PeerCertificate

_CRL: Final = b"-----BEGIN X509 CRL-----"
MAX_ADDRESSES: Final = 10  # of one certificate; each is looked up


def read_authorities(path: Path) -> ssl.VerifyFlags:
    """How certificates are to be checked against the authorities in `path`: also for revocation, where it holds a CRL.

    A certificate in the file is trusted itself, so that one device's can stand there alone. Raises CertificateError for
    a file that cannot be read or holds no certificate.
    """
    try:
        octets = path.read_bytes()
        x509.load_pem_x509_certificates(octets)
    except OSError as error:
        problem = f"client_ca {path} cannot be read ({error.strerror})"
        raise CertificateError(f"{problem}; see that it exists and that the server's user may read it") from error
    except ValueError as error:
        problem = f"client_ca {path} holds no certificate in PEM form ({error})"
        raise CertificateError(f"{problem}; write those there that issue your clients' certificates") from error
    flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    return ssl.VerifyFlags(flags | ssl.VERIFY_CRL_CHECK_LEAF if _CRL in octets else flags)


def load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Let `context` check clients against the authorities in `path`. Raises CertificateError."""
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(f"client_ca {path} is refused by OpenSSL ({error}); write it anew") from error


def shown_certificate(tls: ssl.SSLObject) -> PeerCertificate | None:
    """The certificate that the client of a finished handshake has proved to hold, None for none.

    It was checked in the handshake: one that does not fit the authorities ends it.
    """
    octets = tls.getpeercert(binary_form=True)
    if not octets:
        return None
    try:
        certificate = x509.load_der_x509_certificate(octets)
        return PeerCertificate(
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            subject=certificate.subject.rfc4514_string(),
            addresses=_addresses(certificate),
        )
    except ValueError:  # OpenSSL reads what this library does not
        return None


def _addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """The mail addresses in it (rfc822Name; what else a certificate may say is no account)."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    return tuple(alternatives.get_values_for_type(x509.RFC822Name)[:MAX_ADDRESSES])
