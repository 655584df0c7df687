"""A DKIM key record as a value (RFC 6376 §3.6.1, RFC 8463 §4)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gatepost.mail.text import printable
from gatepost.verify.dkim_tags import TagError, listed, parse_tags, squeezed

LEAST_RSA_BITS: Final = 1024  # RFC 8301 §3.2: a shorter key proves nothing
MOST_RSA_BITS: Final = 8192  # ours: RFC 8301 asks for 4096; a check takes longer with the square of it
MAX_RECORD: Final = 8192  # ours, characters; a key of 8192 bits has 1400
MAX_RECORDS: Final = 4  # ours: of one name; there is to be one (§3.6.2.2)
MAX_KEPT: Final = 1024  # keys that stay read; each takes about 3 KiB
_PADDING: Final = PKCS1v15()
_HASH: Final = Prehashed(SHA256())


class KeyRecordError(ValueError):
    """There is no key to use in the record; the message says why, for the operator."""


class Key(msgspec.Struct, frozen=True):
    """public: of `cryptography`. is_testing: the domain only tries (t=y). is_strict: "i=" has the very domain of "d="
    (t=s). bits: of the modulus, 256 for Ed25519."""

    public: RSAPublicKey | Ed25519PublicKey
    bits: int
    is_testing: bool = False
    is_strict: bool = False

    @property
    def algorithm(self) -> str:
        """The "a=" that it is for."""
        return "rsa-sha256" if isinstance(self.public, RSAPublicKey) else "ed25519-sha256"

    def has_made(self, signature: bytes, digest: bytes) -> bool:
        """Whether `signature` is of the SHA-256 `digest`, by this key."""
        try:
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(signature, digest, _PADDING, _HASH)
            else:
                self.public.verify(signature, digest)  # RFC 8463 §3: the hash is what is signed
        except InvalidSignature:
            return False
        return True


def key_among(records: Sequence[str]) -> Key:
    """The first of the TXT records that holds a usable key. Raises KeyRecordError, about the first of them."""
    first: KeyRecordError | None = None
    for record in records[:MAX_RECORDS]:
        found = _read(record)
        if isinstance(found, Key):
            return found
        first = first or KeyRecordError(found)
    raise first or KeyRecordError("there is no record")


def _read(record: str) -> Key | str:
    """The key, or why there is none."""
    return _read_once(record) if len(record) <= MAX_RECORD else f"the record is longer than {MAX_RECORD} characters"


@lru_cache(maxsize=MAX_KEPT)
def _read_once(record: str) -> Key | str:
    try:
        return _parsed(record)
    except (KeyRecordError, TagError) as error:
        return str(error)


def _parsed(record: str) -> Key:
    tags = parse_tags(record)
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        raise KeyRecordError("it is no DKIM1 record (v=)")
    if "p" not in tags:
        raise KeyRecordError("it holds no key (p=)")
    if not tags["p"]:
        raise KeyRecordError("the key was revoked (p= is empty)")
    if "sha256" not in listed(tags.get("h", "sha256")):
        raise KeyRecordError("the key is not for sha256 (h=)")
    if not {"*", "email"} & set(listed(tags.get("s", "*"))):
        raise KeyRecordError("the key is not for mail (s=)")
    flags = listed(tags.get("t", ""))
    kind = tags.get("k", "rsa").lower()
    try:
        octets = base64.b64decode(squeezed(tags["p"]), validate=True)
    except (ValueError, binascii.Error) as error:
        raise KeyRecordError("the key is not base64 (p=)") from error
    public, bits = _public(kind, octets)
    return Key(public, bits, is_testing="y" in flags, is_strict="s" in flags)


def _public(kind: str, octets: bytes) -> tuple[RSAPublicKey | Ed25519PublicKey, int]:
    """The key, and its bits."""
    try:
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(octets), 256
        if kind == "rsa":
            public = load_der_public_key(octets)  # SubjectPublicKeyInfo, or RSAPublicKey (erratum 3017)
            if isinstance(public, RSAPublicKey):
                return public, public.key_size
            raise KeyRecordError("the key is none of RSA (p=, k=)")
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, KeyRecordError):
            raise
        raise KeyRecordError(f"the key cannot be read (p=): {printable(str(error), 120)}") from error
    raise KeyRecordError(f"keys of the kind {printable(kind, 20)} are not known (k=)")
