"""Certificates and private keys of S/MIME: read, and checked before they are encrypted to (RFC 8550, RFC 8551 §4).

A recipient's certificate is believed for where it was found; whether an authority stands behind it is not asked here.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatepost.seal.cms.certificates import read_certificate, read_pem
from gatepost.seal.cms.names import addresses, fingerprint
from gatepost.seal.model import RecipientKey, RefusalCode, Refused

MIN_RSA_BITS = 2048  # RFC 8551 §4.2
_WEAK = ("sha1", "md5", "sha224")
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


class KeyLocked(ValueError):
    """The private key cannot be read; the message says why and what to do."""


class PrivateKeyFile(msgspec.Struct, frozen=True):
    """What a file of a private key holds. certificates: the key's own first."""

    key: object
    certificates: tuple[x509.Certificate, ...]


def load_certificate(material: bytes) -> x509.Certificate:
    """The first certificate in `material`, PEM or DER. Raises ValueError."""
    return load_certificates(material)[0]


def load_certificates(material: bytes) -> list[x509.Certificate]:
    """The certificates in `material`, several in PEM or one in DER. Raises ValueError."""
    return read_pem(material) if b"-----BEGIN" in material else [read_certificate(material)]


def check_certificate(material: bytes, address: str, now: datetime) -> RecipientKey | Refused:
    """The certificate as a key for `address` (lower case), or why it is refused. now: aware, UTC."""

    def refused(code: RefusalCode, reason: str) -> Refused:
        return Refused(code, f"the certificate for {address} {reason}", address)

    try:
        certificate = load_certificate(material)
        public = certificate.public_key()
        carried = addresses(certificate)
        digest = certificate.signature_hash_algorithm
        usage_fault = _usage_fault(certificate, public)
        der = certificate.public_bytes(Encoding.DER)
    except (ValueError, UnsupportedAlgorithm, TypeError):
        return refused("malformed", "cannot be read: it is neither PEM nor DER of an X.509 certificate")
    if address not in carried:
        return refused("no_address", f"does not carry this address; it carries {', '.join(carried) or 'none'}")
    if digest is not None and digest.name in _WEAK:
        return refused(
            "weak_hash", f"is bound by {digest.name.upper()}, which can be forged; its owner needs a new one"
        )
    if now > certificate.not_valid_after_utc:
        return refused("expired", f"expired {certificate.not_valid_after_utc:%Y-%m-%d}; its owner needs a new one")
    if now < certificate.not_valid_before_utc:
        return refused("not_yet_valid", f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}")
    match public:
        case rsa.RSAPublicKey():
            if public.key_size < MIN_RSA_BITS:
                return refused("short", f"has a key of {public.key_size} bits; {MIN_RSA_BITS} are needed")
            algorithm = f"rsa{public.key_size}"
        case ec.EllipticCurvePublicKey() if public.curve.name in _CURVES:
            algorithm = public.curve.name
        case _:
            kind = type(public).__name__.removeprefix("_").removesuffix("PublicKey").upper()
            # X25519 (RFC 8418) would be ours alone: OpenSSL 3.0 cannot, so nobody could try it against us.
            return refused("algorithm", f"has a key ({kind}) that nothing can be encrypted to here; RSA and P-256 to "
                           "P-521 are taken")  # fmt: skip
    if usage_fault:
        return refused("no_encryption", usage_fault)
    return RecipientKey(
        kind="smime", address=address, fingerprint=fingerprint(certificate), material=der,
        valid_until=certificate.not_valid_after_utc, algorithm=algorithm, user_id=certificate.subject.rfc4514_string(),
    )  # fmt: skip


def _usage_fault(certificate: x509.Certificate, public: object) -> str:
    """Why nothing may be encrypted to it by its own word (RFC 8550 §4.4), "" when it may."""
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage):
            if isinstance(public, rsa.RSAPublicKey) and not value.key_encipherment:
                return "is not for encryption (its key usage lacks keyEncipherment)"
            if isinstance(public, ec.EllipticCurvePublicKey) and not value.key_agreement:
                return "is not for encryption (its key usage lacks keyAgreement)"
        if isinstance(value, x509.ExtendedKeyUsage):
            allowed = {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
            if not allowed & set(value):
                return "is not for mail (its extended key usage lacks emailProtection)"
    return ""


def load_private(
    material: bytes, passphrase: str | None, certificates: tuple[bytes, ...], *, is_new: bool = False
) -> PrivateKeyFile:
    """The private key and its certificates, of PKCS #8 or PKCS #12, PEM or DER. Raises KeyLocked.

    is_new: the numbers of an RSA key are tried too, which takes 0.1 seconds: once at the start, not for each message.
    """
    secret = passphrase.encode() if passphrase else None
    more = tuple(load_certificate(each) for each in certificates)
    try:
        if b"-----BEGIN" in material:
            found = read_pem(material) if b"BEGIN CERTIFICATE" in material else []
            key: object = serialization.load_pem_private_key(
                material, secret, unsafe_skip_rsa_key_validation=not is_new
            )
            return PrivateKeyFile(key, _own_first(key, (*more, *found)))
        try:
            key = serialization.load_der_private_key(material, secret, unsafe_skip_rsa_key_validation=not is_new)
        except (ValueError, TypeError):
            loaded = pkcs12.load_pkcs12(material, secret)
            key = loaded.key
            more += (loaded.cert.certificate,) if loaded.cert else ()
            more += tuple(each.certificate for each in loaded.additional_certs)
        return PrivateKeyFile(key, _own_first(key, more))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        advice = "the passphrase is wrong, or it is no key" if passphrase else "it needs a passphrase, or it is no key"
        raise KeyLocked(f"the private key of S/MIME cannot be read: {advice}") from None


def _own_first(key: object, certificates: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
    public = getattr(key, "public_key", lambda: None)()
    own = [each for each in certificates if each.public_key() == public]
    if not own:
        raise KeyLocked("no certificate belongs to the private key of S/MIME; give its certificate too")
    return (own[0], *(each for each in certificates if each not in own))
