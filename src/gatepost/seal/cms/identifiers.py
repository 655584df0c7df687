"""Object identifiers of CMS, and what they stand for among the primitives of `cryptography`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes

DATA: Final = "1.2.840.113549.1.7.1"  # RFC 5652 §4
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"
AUTH_ENVELOPED_DATA: Final = "1.2.840.113549.1.9.16.1.23"  # RFC 5083

CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SIGNING_TIME: Final = "1.2.840.113549.1.9.5"
SMIME_CAPABILITIES: Final = "1.2.840.113549.1.9.15"

AES_GCM: Final[Mapping[str, int]] = {  # key octets; RFC 5084
    "2.16.840.1.101.3.4.1.6": 16, "2.16.840.1.101.3.4.1.26": 24, "2.16.840.1.101.3.4.1.46": 32,
}  # fmt: skip
AES_CBC: Final[Mapping[str, int]] = {
    "2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32,
}  # fmt: skip
AES_WRAP: Final[Mapping[str, int]] = {
    "2.16.840.1.101.3.4.1.5": 16, "2.16.840.1.101.3.4.1.25": 24, "2.16.840.1.101.3.4.1.45": 32,
}  # fmt: skip
AES256_GCM: Final = "2.16.840.1.101.3.4.1.46"
AES256_CBC: Final = "2.16.840.1.101.3.4.1.42"
AES256_WRAP: Final = "2.16.840.1.101.3.4.1.45"

RSA: Final = "1.2.840.113549.1.1.1"
RSA_OAEP: Final = "1.2.840.113549.1.1.7"
RSA_PSS: Final = "1.2.840.113549.1.1.10"
MGF1: Final = "1.2.840.113549.1.1.8"
P_SPECIFIED: Final = "1.2.840.113549.1.1.9"
EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"
ED25519: Final = "1.3.101.112"  # RFC 8419

SHA256: Final = "2.16.840.1.101.3.4.2.1"
SHA512: Final = "2.16.840.1.101.3.4.2.3"
DIGESTS: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {
    SHA256: hashes.SHA256, "2.16.840.1.101.3.4.2.2": hashes.SHA384, SHA512: hashes.SHA512,
}  # fmt: skip
"""Digests that a signature may rest on; SHA-1 and MD5 are none."""
OAEP_DIGESTS: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {**DIGESTS, "1.3.14.3.2.26": hashes.SHA1}
"""In OAEP and in key derivation SHA-1 is no weakness; it is the default of the former (RFC 8017)."""

RSA_WITH: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {
    "1.2.840.113549.1.1.11": hashes.SHA256, "1.2.840.113549.1.1.12": hashes.SHA384,
    "1.2.840.113549.1.1.13": hashes.SHA512,
}  # fmt: skip
ECDSA_WITH: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {
    "1.2.840.10045.4.3.2": hashes.SHA256, "1.2.840.10045.4.3.3": hashes.SHA384, "1.2.840.10045.4.3.4": hashes.SHA512,
}  # fmt: skip
SHA256_WITH_RSA: Final = "1.2.840.113549.1.1.11"
ECDSA_WITH_SHA256: Final = "1.2.840.10045.4.3.2"

ECDH_SHA256_KDF: Final = "1.3.132.1.11.1"  # RFC 5753 §7.1.4
ECDH: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {
    "1.3.133.16.840.63.0.2": hashes.SHA1, "1.3.132.1.11.0": hashes.SHA224, ECDH_SHA256_KDF: hashes.SHA256,
    "1.3.132.1.11.2": hashes.SHA384, "1.3.132.1.11.3": hashes.SHA512,
}  # fmt: skip
