"""Certificates and keys on disk: read and judged before they are used, and watched for changes. No TLS context here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

# RFC 5929 §4.1: a hash that is broken is not used for the binding, SHA-256 is.
BROKEN_HASHES: Final = ("md5", "sha1")


class CertificateError(Exception):
    """A certificate or key that cannot be used; the message says which file, what is wrong and what to do."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate (with its chain) and its key that fit together and are valid now.

    names: the DNS names it is for, in lower case; "*.example.org" is a wildcard. end_point: tls-server-end-point
    (RFC 5929 §4), b"" where the certificate's signature names no hash and the binding is therefore undefined.
    """

    certificate: Path
    key: Path
    names: tuple[str, ...]
    end: datetime
    end_point: bytes


def load_pair(certificate: Path, key: Path, now: datetime) -> Pair:
    """The pair, once everything about it is in order. Raises CertificateError."""
    leaf = _leaf(certificate)
    try:
        private = load_pem_private_key(_read(key, "key"), password=None)
    except TypeError as error:
        what = f"key {key} is locked with a passphrase, which nobody could type when the server starts"
        raise CertificateError(f'{what}; write it unlocked, for example with "openssl pkey"') from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"key {key} holds no private key in PEM form ({error}); write one there") from error
    if not _belong(private, leaf):
        what = f"key {key} does not belong to certificate {certificate}"
        raise CertificateError(f"{what}; if both are being renewed, wait until both are written")
    end, begin = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    if end <= now:
        raise CertificateError(f'certificate {certificate} expired {end:%Y-%m-%d}; renew it, then run "config check"')
    if begin > now:
        raise CertificateError(
            f"certificate {certificate} is valid from {begin:%Y-%m-%d %H:%M} UTC on; check the clock"
        )
    return Pair(certificate, key, _names(leaf), end, server_end_point(leaf))


def _belong(private: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    try:
        return private.public_key() == certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):  # a key in it that nobody here can use
        return False


def server_end_point(certificate: x509.Certificate) -> bytes:
    """tls-server-end-point: the certificate hashed as its signature says (RFC 5929 §4.1), b"" if undefined."""
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return b""
    return certificate.fingerprint(hashes.SHA256() if algorithm.name in BROKEN_HASHES else algorithm)


class CertificateWatch:
    """Tells when files change, by looking at them: no thread, no notification to miss.

    A change counts once it has settled, that is, two looks find the same: a renewal writes several files.
    """

    __slots__ = ("_accepted", "_paths", "_seen")

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._accepted = self._seen = self._look()

    def accept(self) -> None:
        """The files as they are now are no change: we have just written them."""
        self._accepted = self._seen = self._look()

    def changed(self) -> bool:
        """Whether the files are others than before; true once for each change. Costs a stat for each file."""
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._accepted:
            return False
        self._accepted = self._seen
        return True

    def _look(self) -> tuple[tuple[int, int, int, int] | None, ...]:
        return tuple(_signature(path) for path in self._paths)


def _signature(path: Path) -> tuple[int, int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _leaf(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(_read(path, "certificate"))[0]
    except ValueError as error:
        what = f"certificate {path} holds no certificate in PEM form ({error})"
        raise CertificateError(f"{what}; write it there, the server's own first, then its chain") from error


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"{what} {path} cannot be read ({error.strerror})"
        raise CertificateError(f"{problem}; see that it exists and that the server's user may read it") from error


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Its DNS names; the common name where it lists none at all."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(name.lower() for name in alternatives.get_values_for_type(x509.DNSName))
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(name.value).lower() for name in common)
