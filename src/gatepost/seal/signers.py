"""Private keys that sign for a domain: read and tried once at the start, so that no message finds them broken."""

from __future__ import annotations

from datetime import datetime

from gatepost.seal.cms.names import fingerprint
from gatepost.seal.keys import kind_of
from gatepost.seal.model import Kind, SigningKey
from gatepost.seal.openpgp import is_locked
from gatepost.seal.openpgp_keys import components_of
from gatepost.seal.openpgp_library import OpenPgpError, call, library
from gatepost.seal.smime_keys import KeyLocked, load_private


def kind_of_private(material: bytes) -> Kind:
    """Which kind of private key: PKCS #8 or PKCS #12 (S/MIME), else OpenPGP."""
    if b"BEGIN PGP" in material:
        return "openpgp"
    if b"PRIVATE KEY-----" in material or kind_of(material) == "smime":
        return "smime"
    # Both are binary now. PKCS #12 is a SEQUENCE of DER, which is no tag of a packet (RFC 9580 §4.2).
    return "smime" if material[:1] == b"\x30" else "openpgp"


def load_signer(domain: str, material: bytes, passphrase: str | None, now: datetime) -> SigningKey:
    """The key in `material`, which signs, or did until its `valid_until`. Raises ValueError that says why it cannot,
    without a word of it.

    now: aware. One that expired is no error: a restart would else end all mail, and `seal` refuses to use it.
    """
    kind = kind_of_private(material)
    if kind == "smime":
        try:
            own = load_private(material, passphrase, (), is_new=True).certificates[0]
        except KeyLocked as error:
            raise ValueError(str(error)) from None
        if now < own.not_valid_before_utc:
            raise ValueError(f"its certificate is not valid before {own.not_valid_before_utc:%Y-%m-%d}")
        return SigningKey(
            kind=kind, address=domain, fingerprint=fingerprint(own), material=material, passphrase=passphrase,
            valid_until=own.not_valid_after_utc,
        )  # fmt: skip
    try:
        if is_locked(material) and not passphrase:
            raise ValueError("the private key of OpenPGP needs its passphrase")
        name = components_of(material)[0].packet.fingerprint or ""
        tsk = call(library().Tsk.from_bytes, material)
        end = call(lambda: tsk.extract_certificate().expiration)
        if end is None or end > now:
            call(lambda: tsk.signer(passphrase))
    except OpenPgpError as error:
        raise ValueError(f"the private key of OpenPGP cannot be used: {error}") from None
    return SigningKey(
        kind=kind, address=domain, fingerprint=name.lower(), material=material, passphrase=passphrase, valid_until=end
    )  # fmt: skip
