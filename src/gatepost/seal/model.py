"""Values of sealing and opening: keys, what came of it, and the verdict in words. No cryptography and no files here.

Addresses are lower case throughout, as `mail.address.Path.key` writes them. Every value can be pickled, since large
messages are sealed in another process.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

Kind = Literal["openpgp", "smime"]
Source = Literal["pinned", "imported", "wkd", "autocrypt", "openpgpkey", "smimea", "local"]
"""Where a key was found, in the order of trust; "local" is a key of ours."""
DiscoveryMethod = Literal["pinned", "imported", "wkd", "autocrypt", "openpgpkey", "smimea"]
Cipher = Literal["aes-256-gcm", "aes-256-cbc"]
RefusalCode = Literal[
    "malformed", "secret", "no_address", "expired", "not_yet_valid", "revoked", "weak_hash", "short", "algorithm",
    "no_encryption", "no_key", "sealed", "signed", "locked", "signer", "unavailable", "cipher",
]  # fmt: skip
SignatureState = Literal["none", "good", "bad", "unknown", "untrusted"]

HIDDEN_SUBJECT: Final = "[...]"  # RFC 9788 §3.2.1


class RecipientKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that passed `check_key` for `address`; what `seal` encrypts to.

    fingerprint: lower-case hex; of the primary key (OpenPGP), SHA-256 of the certificate (S/MIME). material: the
    binary certificate, for OpenPGP reduced to what is needed and sound. valid_until: the end of its validity, None for
    none. algorithm: in words ("rsa3072", "x25519"). source, found_at and cached_until are the finder's.
    """

    kind: Kind
    address: str
    fingerprint: str
    material: bytes
    valid_until: datetime | None = None
    algorithm: str = ""
    user_id: str = ""
    source: Source = "imported"
    found_at: datetime | None = None
    cached_until: datetime | None = None


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A private key that signs for `address`. valid_until: the end of its certificate, None where it has none.

    material: OpenPGP: a transferable secret key; S/MIME: PKCS #8 or PKCS #12, PEM or DER. passphrase: what unlocks it.
    certificates: S/MIME only, DER: its certificate first, then those between it and the root (PKCS #12 brings its own).
    """

    kind: Kind
    address: str
    fingerprint: str
    material: bytes
    passphrase: str | None = None
    certificates: tuple[bytes, ...] = ()
    valid_until: datetime | None = None

    def __repr__(self) -> str:  # neither the key nor the passphrase stands in a traceback
        return f"SigningKey({self.kind} {self.fingerprint} of {self.address})"


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A private key that opens. material, passphrase and certificates as in `SigningKey`."""

    kind: Kind
    material: bytes
    passphrase: str | None = None
    certificates: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Secret({self.kind})"


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that signatures are checked with.

    trusted_because: why its owner is believed to be who it says, "" where there is no reason. is_anchor: S/MIME only:
    an authority, whose certificates are believed.
    """

    kind: Kind
    material: bytes
    source: Source = "imported"
    trusted_because: str = ""
    is_anchor: bool = False


class SealOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to seal. now: aware, UTC. hide_subject: the outer Subject becomes "[...]". cipher: of S/MIME; CBC only for
    old peers, and only together with a signature, since it does not protect against changes. is_shared: recipients
    whom the header does not name share one message for each kind of key, which shows whose keys open it."""

    now: datetime
    hide_subject: bool = True
    cipher: Cipher = "aes-256-gcm"
    is_shared: bool = False


class SealedFor(msgspec.Struct, frozen=True, kw_only=True):
    """Of one message, to be sent to `recipients` and nobody else. keys: the fingerprints that open it. signer: of the
    key that signed it."""

    kind: Kind
    recipients: tuple[str, ...]
    keys: tuple[str, ...]
    is_signed: bool
    signer: str = ""


class SignedBy(msgspec.Struct, frozen=True, kw_only=True):
    """Of a message that is signed and not encrypted. signer: the fingerprint of the key."""

    kind: Kind
    signer: str


class SealedMessage(SealedFor, frozen=True, kw_only=True):
    """It with all of its octets."""

    octets: bytes


class Sealed(msgspec.Struct, frozen=True):
    """One message for each set of recipients. Each recipient that the header does not name (Bcc) is a set of its own,
    so that nobody sees their key's ID."""

    messages: tuple[SealedMessage, ...]


class Refused(msgspec.Struct, frozen=True):
    """It was not done. code: stable, for programs and metrics. reason: a sentence for people, no content in it."""

    code: RefusalCode
    reason: str
    address: str = ""


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed. addresses: those that the key carries. source, trusted_because: of the `KnownKey`."""

    fingerprint: str
    addresses: tuple[str, ...] = ()
    source: Source | None = None
    trusted_because: str = ""
    signed_at: datetime | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What opening found.

    is_encrypted: it was, and what was released could not have been changed on its way. signature: "good" only where
    the signer is trusted and is the author in From; "untrusted" is a sound signature of a key that nobody vouches for
    or that belongs to another address. unprotected: names of header fields that anybody could have changed.
    reason: why nothing was released, "" when it was.
    """

    kind: Kind
    is_encrypted: bool
    signature: SignatureState
    signer: Signer | None = None
    unprotected: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    reason: str = ""
    remark: str = ""

    def words(self) -> str:
        """Lines of text for people, the most important one first."""
        from gatepost.seal.verdict import in_words

        return in_words(self)


class Opened(msgspec.Struct, frozen=True):
    """text: the whole message in clear, with the protected header fields in place; None when anything is in doubt."""

    text: bytes | None
    verdict: Verdict
