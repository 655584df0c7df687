"""Encryption of what a spool keeps of messages, with a key that lies outside of the data folder.

Each entry has a key of its own, random, which stands wrapped by the spool's key in front of the entry's prefix. Prefix
and content are chunks of AES-256-GCM; a chunk's nonce says which part it is of, its place, and whether it is the last:
none can be left out, moved, repeated, or brought over from another entry. Clear stay the envelope, states and sizes,
which are in the record too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gatepost.spool.port import SpoolError
from gatepost.store.sqlite.spool_schema import Prepared

CHUNK_OCTETS: Final = 64 * 1024
TAG_OCTETS: Final = 16
KEY_OCTETS: Final = 32
NONCE_OCTETS: Final = 12  # random for wrapped keys: 2**32 of them are safe under one key (NIST SP 800-38D §8.3)
MAGIC: Final = b"\0GPE1"  # no header field begins so
_WRAPPED_OCTETS: Final = NONCE_OCTETS + KEY_OCTETS + TAG_OCTETS
HEAD_OCTETS: Final = len(MAGIC) + _WRAPPED_OCTETS  # of a prefix, which tell its key
_PREFIX, _CONTENT = 1, 2
_CHECK: Final = b"gatepost spool key check"


class TamperedError(Exception):
    """What is stored is not what was stored; the message says of which part."""


class EntryKey:
    """The key of one entry. Invariant: what is encrypted under one nonce is always the same, as `content_chunk` is
    called with the same octets for the same place only."""

    __slots__ = ("_cipher", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self._cipher = AESGCM(octets)

    def content_chunk(self, index: int, octets: bytes, *, is_last: bool) -> bytes:
        """Chunk `index` of the content, of CHUNK_OCTETS but for the last one, as it is stored."""
        return self._cipher.encrypt(_nonce(_CONTENT, index, is_last), octets, None)

    def open_content_chunk(self, index: int, stored: bytes, *, is_last: bool) -> bytes:
        """Raises TamperedError."""
        return self._opened(_CONTENT, index, stored, is_last)

    def content(self, octets: bytes) -> bytes:
        """The whole content as it is stored in a row."""
        return b"".join(
            self.content_chunk(index, octets[start:end], is_last=end == len(octets))
            for index, start, end in _chunks(len(octets), CHUNK_OCTETS)
        )

    def open_content(self, stored: bytes) -> bytes:
        """Raises TamperedError."""
        size = CHUNK_OCTETS + TAG_OCTETS
        return b"".join(
            self.open_content_chunk(index, stored[start:end], is_last=end == len(stored))
            for index, start, end in _chunks(len(stored), size)
        )

    def prefix(self, octets: bytes) -> bytes:
        """The prefix as it is stored."""
        return self._cipher.encrypt(_nonce(_PREFIX, 0, True), octets, None)

    def open_prefix(self, stored: bytes) -> bytes:
        """Raises TamperedError."""
        return self._opened(_PREFIX, 0, stored, True)

    def _opened(self, part: int, index: int, stored: bytes, is_last: bool) -> bytes:
        try:
            return self._cipher.decrypt(_nonce(part, index, is_last), stored, None)
        except InvalidTag:
            what = "prefix" if part == _PREFIX else f"content, from octet {index * CHUNK_OCTETS} on,"
            raise TamperedError(f"its {what} is not what was stored") from None


def new_key() -> EntryKey:
    """A key for a new entry."""
    return EntryKey(os.urandom(KEY_OCTETS))


class SpoolCipher:
    """The spool's keys. secret: as the configuration has it, a text that nobody guesses; entries are encrypted with it.
    previous: those that open older ones too."""

    CHECK_OCTETS: Final = _WRAPPED_OCTETS

    def __init__(self, secret: str, *previous: str) -> None:
        self._ciphers = tuple(AESGCM(_derived(each)) for each in (secret, *previous))

    def sealed(self, prepared: Prepared, key: EntryKey) -> Prepared:
        """The rows of a new entry as they are stored. The sum of its octets is not kept: it would tell whoever guesses
        a message that the guess was right."""
        entry_id, received_at, octets, _, in_file, head = prepared.entry
        return msgspec.structs.replace(
            prepared,
            entry=(entry_id, received_at, octets, 0, in_file, head),
            prefix=MAGIC + self._wrapped(key.octets, _of(entry_id)) + key.prefix(prepared.prefix),
            content=b"" if in_file else key.content(prepared.content),
        )

    def opened(self, entry_id: str, stored: bytes) -> tuple[EntryKey, bytes]:
        """The key and the prefix of an entry, from its stored prefix. Raises SpoolError for another spool's key,
        TamperedError."""
        at = len(MAGIC)
        key = self._unwrapped(stored[at : at + _WRAPPED_OCTETS], _of(entry_id))
        if key is None:
            raise SpoolError(
                f"entry {entry_id} was encrypted with another key; name that one in [spool] key, or in previous_keys"
            )
        found = EntryKey(key)
        return found, found.open_prefix(stored[at + _WRAPPED_OCTETS :])

    def opens(self, entry_id: str, stored: bytes) -> bool:
        """Whether one of the keys is that of the entry; `stored`: its prefix, of which the first HEAD_OCTETS do."""
        return self._unwrapped(stored[len(MAGIC) : HEAD_OCTETS], _of(entry_id)) is not None

    def check_value(self) -> bytes:
        """Octets that tell whether a key is this one, and nothing else of it."""
        return self._wrapped(bytes(KEY_OCTETS), _CHECK)

    def is_of(self, check_value: bytes) -> bool:
        """Whether `check_value` is one of this key."""
        return self._unwrapped(check_value, _CHECK) is not None

    def _wrapped(self, key: bytes, about: bytes) -> bytes:
        nonce = os.urandom(NONCE_OCTETS)
        return nonce + self._ciphers[0].encrypt(nonce, key, about)

    def _unwrapped(self, wrapped: bytes, about: bytes) -> bytes | None:
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(wrapped[:NONCE_OCTETS], wrapped[NONCE_OCTETS:], about)
            except (InvalidTag, ValueError):
                continue
        return None


def _derived(secret: str) -> bytes:
    return HKDF(SHA256(), KEY_OCTETS, salt=None, info=b"gatepost spool").derive(secret.encode())


def is_encrypted(stored_prefix: bytes) -> bool:
    """Whether the entry with this prefix is."""
    return stored_prefix.startswith(MAGIC)


def opened(cipher: SpoolCipher | None, entry_id: str, stored_prefix: bytes) -> tuple[EntryKey, bytes]:
    """As `SpoolCipher.opened`. Raises SpoolError too where there is no key."""
    if cipher is None:
        raise SpoolError(f"entry {entry_id} is encrypted, and no key is configured; name it in [spool] key")
    return cipher.opened(entry_id, stored_prefix)


def stored_octets(octets: int) -> int:
    """How long a content of so many octets is as it is stored."""
    return octets + TAG_OCTETS * max(1, -(-octets // CHUNK_OCTETS))


def _of(entry_id: str) -> bytes:
    return b"gatepost spool entry " + entry_id.encode()


def _nonce(part: int, index: int, is_last: bool) -> bytes:
    return bytes((part, is_last)) + index.to_bytes(NONCE_OCTETS - 2, "big")


def _chunks(octets: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each chunk; of nothing there is one, empty and last."""
    for index in range(max(1, -(-octets // size))):
        yield index, index * size, min((index + 1) * size, octets)
