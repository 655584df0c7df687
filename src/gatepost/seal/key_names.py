"""Where the key of an address is published: names computed from the address, nothing looked up.

Web Key Directory (draft-koch-openpgp-webkey-service §3.1), OPENPGPKEY (RFC 7929 §3), SMIMEA (RFC 8162 §3).
"""

from __future__ import annotations

import hashlib
from typing import Final
from unicodedata import normalize
from urllib.parse import quote

from gatepost.mail.address import parse_mailbox

ADVANCED_LABEL: Final = "openpgpkey"
_Z_BASE_32: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"  # RFC 6189 §5.1.6
_HASH_OCTETS: Final = 28  # RFC 7929 §3: SHA2-256 truncated, so that its hex fits into a label


class KeyPlaces:
    """The places for one address. Invariant: `local_part` is as the address was given, `domain` is in A-labels."""

    def __init__(self, address: str) -> None:
        """Raises AddressError."""
        path = parse_mailbox(address.strip())
        self.local_part = path.local_part
        self.domain = path.ascii_domain
        self._asked = f"{wkd_hash(self.local_part)}?l={quote(self.local_part, safe='')}"

    @property
    def advanced_host(self) -> str:
        """The host of the advanced method; where it does not exist, the direct one is asked."""
        return f"{ADVANCED_LABEL}.{self.domain}"

    @property
    def advanced_url(self) -> str:
        return f"https://{self.advanced_host}/.well-known/openpgpkey/{self.domain}/hu/{self._asked}"

    @property
    def direct_url(self) -> str:
        return f"https://{self.domain}/.well-known/openpgpkey/hu/{self._asked}"

    @property
    def openpgpkey(self) -> str:
        """The owner name of OPENPGPKEY records."""
        return f"{_dns_hash(self.local_part)}._openpgpkey.{self.domain}"

    @property
    def smimea(self) -> str:
        """The owner name of SMIMEA records."""
        return f"{_dns_hash(self.local_part)}._smimecert.{self.domain}"


def wkd_hash(local_part: str) -> str:
    """The 32 characters under which a key directory keeps the keys of `local_part`: its ASCII letters lower-cased,
    hashed with SHA-1, which names here and protects nothing, in z-base-32."""
    return z_base_32(hashlib.sha1(_lowered(local_part).encode(), usedforsecurity=False).digest())


def z_base_32(octets: bytes) -> str:
    """`octets` in characters of five bits each; a last one that is not full has zeros."""
    bits = "".join(f"{octet:08b}" for octet in octets)
    return "".join(_Z_BASE_32[int(bits[at : at + 5].ljust(5, "0"), 2)] for at in range(0, len(bits), 5))


def _dns_hash(local_part: str) -> str:
    """RFC 7929 §3, but lower-cased as well, as GnuPG does when it publishes and when it looks up: addresses are kept
    without their letter case, and one look-up has to stand for all spellings."""
    return hashlib.sha256(_lowered(normalize("NFC", local_part)).encode()).digest()[:_HASH_OCTETS].hex()


def _lowered(local_part: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in local_part)
