"""One way to check a key of either kind before it is kept or used."""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.seal import openpgp_keys
from gatepost.seal.cms import names
from gatepost.seal.cms.names import address_key
from gatepost.seal.model import Kind, RecipientKey, Refused
from gatepost.seal.openpgp_keys import check_openpgp
from gatepost.seal.openpgp_library import OpenPgpError
from gatepost.seal.smime_keys import check_certificate, load_certificate, load_certificates

MAX_KEY_OCTETS = 1024 * 1024  # keys with the signatures of thousands have been used to choke programs
MAX_REMEMBERED = 4096  # keys: some megabytes


def kind_of(material: bytes) -> Kind:
    """Which kind of key `material` is: an X.509 certificate, or else OpenPGP."""
    try:
        load_certificate(material)
    except (ValueError, TypeError):
        return "openpgp"
    return "smime"


def check_key(material: bytes, address: str, now: datetime) -> RecipientKey | Refused:
    """The key of `address`, or why it is refused: expired, revoked, bound by SHA-1, too short, of another address,
    not for encryption, malformed. Raises nothing.

    material: an OpenPGP certificate (binary or in armour) or an X.509 certificate (DER or PEM). now: aware, UTC.
    """
    key = address_key(address)
    if not key:
        return Refused("no_address", f"{address!r} is not an address", address)
    if len(material) > MAX_KEY_OCTETS:
        return Refused("malformed", f"the key for {key} is larger than {MAX_KEY_OCTETS} octets", key)
    if kind_of(material) == "smime":
        return check_certificate(material, key, now)
    return check_openpgp(material, key, now)


class KeyChecks:
    """`check_key` with a memory: it costs milliseconds of the processor, and of a key that was sound once only time
    changes what it says."""

    def __init__(self) -> None:
        self._sound: dict[tuple[str, bytes], RecipientKey] = {}

    def check(self, material: bytes, address: str, now: datetime) -> RecipientKey | Refused:
        """As `check_key`."""
        known = self._sound.get((address, material))
        if known is not None and (known.valid_until is None or now < known.valid_until):
            return known
        checked = check_key(material, address, now)
        if not isinstance(checked, Refused):
            if len(self._sound) >= MAX_REMEMBERED:
                self._sound.clear()
            self._sound[address, material] = checked
        return checked


def split_keys(material: bytes) -> tuple[bytes, ...]:
    """Each key in a file, binary: certificates in PEM or one in DER, or OpenPGP. Raises ValueError that says why there
    is none, also where a private key is among them."""
    if b"-----BEGIN CERTIFICATE" in material or kind_of(material) == "smime":
        if b"PRIVATE KEY-----" in material:
            raise ValueError("it holds a private key; take the certificate alone")
        return tuple(each.public_bytes(Encoding.DER) for each in load_certificates(material))
    try:
        return openpgp_keys.split(material)
    except OpenPgpError as error:
        raise ValueError(str(error)) from None


def fingerprint_of(material: bytes) -> str:
    """The fingerprint as `RecipientKey` has it, whether the key may be used or not; "" for what is no key."""
    try:
        if kind_of(material) == "smime":
            return names.fingerprint(load_certificate(material))
        return openpgp_keys.fingerprint(material)
    except (OpenPgpError, ValueError):
        return ""


def addresses_of(material: bytes) -> tuple[str, ...]:
    """The addresses that a key of either kind carries, lower case; none for what is no key."""
    try:
        if kind_of(material) == "smime":
            return names.addresses(load_certificate(material))
        return openpgp_keys.addresses_of(material)
    except (OpenPgpError, ValueError):
        return ()
