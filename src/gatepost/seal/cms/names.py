"""How CMS names a certificate (RFC 5652 §10.2.4), and which addresses a certificate carries (RFC 8550 §3)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gatepost.mail.address import AddressError, parse_mailbox
from gatepost.seal.cms import ber

_SMTP_UTF8_MAILBOX = ObjectIdentifier("1.3.6.1.5.5.7.8.9")  # RFC 9598


def issuer_and_serial(certificate: x509.Certificate) -> bytes:
    """IssuerAndSerialNumber, in DER."""
    return ber.sequence(certificate.issuer.public_bytes(), ber.integer(certificate.serial_number))


def key_identifier(certificate: x509.Certificate) -> bytes | None:
    """The subject key identifier that the certificate itself states."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError):
        return None


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """The addresses it carries, lower case: in subjectAltName, and in the subject's name as old ones have them."""
    found: list[str] = []
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found += names.get_values_for_type(x509.RFC822Name)
        for other in names.get_values_for_type(x509.OtherName):
            if other.type_id == _SMTP_UTF8_MAILBOX:
                found.append(ber.read(other.value).contents.decode("utf-8", "replace"))
    except (x509.ExtensionNotFound, ValueError):
        pass
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        found.append(attribute.value if isinstance(attribute.value, str) else "")
    return tuple(dict.fromkeys(key for text in found if (key := address_key(text))))


def address_key(text: str) -> str:
    """An address in the form that addresses are compared in: lower case, A-labels; "" for what is none."""
    try:
        path = parse_mailbox(text.strip())
        return f"{path.local_part.lower()}@{path.ascii_domain}"
    except AddressError:
        return ""
