"""Whom we trust when another host shows a certificate: the system's trust store, or the file that SSL_CERT_FILE names.

Not here: certificates of our own (`net.tls`).
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Sequence
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

_SYSTEM_FOLDER: Final = Path("/etc/ssl/certs")
_BUNDLE: Final = "ca-certificates.crt"  # in that folder: all of it in one file
# Where any certificate passes, old ciphers and short keys pass as well: the alternative is no encryption at all.
_LAX_CIPHERS: Final = "HIGH:!aNULL:!PSK:!SRP:@SECLEVEL=1"


class TrustStore:
    """The root certificates, read once, at the first use.

    roots: a file in PEM instead of the system's.
    """

    def __init__(self, roots: Path | None = None) -> None:
        self._file = roots

    @cached_property
    def strict(self) -> ssl.SSLContext:
        """A client's context, TLS 1.2 or newer: the handshake fails unless the certificate is valid for the name.
        Where no root certificate can be read, every handshake fails."""
        context = _context()
        for path in self._files():
            try:
                context.load_verify_locations(cafile=path)
            except (OSError, ssl.SSLError):
                continue  # in a folder not every file is a certificate; what is missing shows in the handshake
        return context

    @cached_property
    def lax(self) -> ssl.SSLContext:
        """A client's context, TLS 1.2 or newer, that takes any certificate; `problem` tells afterwards."""
        context = _context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers(_LAX_CIPHERS)
        return context

    def problem(self, name: str, chain: Sequence[bytes]) -> str:
        """Why `chain` (DER, the host's own first) is not valid for `name`, a host name or IP address; "" if it is.

        The rules are those of the web's public authorities. A home-made chain that `strict` passes may be found
        wanting here; nothing relies on more than the answer "" here.
        """
        if not chain or not name:
            return "there is no certificate" if name else "there is no name that the certificate could match"
        if self._roots is None:
            return "there is no trust store; set SSL_CERT_FILE or install ca-certificates"
        try:
            certificates = [x509.load_der_x509_certificate(octets) for octets in chain]
            verifier = PolicyBuilder().store(self._roots).build_server_verifier(_subject(name))
            verifier.verify(certificates[0], certificates[1:])
        except VerificationError as error:
            return f"not valid for {name}: {error}"
        except ValueError as error:
            return f"cannot be read: {error}"
        return ""

    @cached_property
    def _roots(self) -> Store | None:
        roots = [root for octets in self.strict.get_ca_certs(binary_form=True) if (root := _root(octets)) is not None]
        return Store(roots) if roots else None

    def _files(self) -> list[Path]:
        if self._file is not None:
            return [self._file]
        paths = ssl.get_default_verify_paths()  # reads SSL_CERT_FILE and SSL_CERT_DIR
        if paths.cafile:
            return [Path(paths.cafile)]
        folder = Path(paths.capath) if paths.capath else _SYSTEM_FOLDER
        bundle = folder / _BUNDLE
        return [bundle] if bundle.is_file() else sorted(path for path in folder.glob("*") if path.is_file())


def peer_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates that the peer showed, in DER, its own first; nothing of it is checked."""
    # A public method from Python 3.13 on; before, the same in the C object underneath. Without either, the first only.
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return [bytes(octets) for octets in public()]
    inner = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    if inner is not None:
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in inner() or ()]
    own = tls.getpeercert(binary_form=True)
    return [own] if own else []


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _root(octets: bytes) -> x509.Certificate | None:
    with warnings.catch_warnings():  # an authority whose certificate breaks a rule: the system's choice, not ours
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            return x509.load_der_x509_certificate(octets)
        except ValueError:
            return None


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
