"""Event and entry IDs: 26 characters that sort by time (the ULID layout), made from a time and random octets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

ID_CHARACTERS: Final = 26
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U, so it can be read aloud
_ID: Final = re.compile(f"[{_ALPHABET}]{{{ID_CHARACTERS}}}")
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


def make_id(unix_ms: int, entropy: int) -> str:
    """An ID of 26 characters: 48 bits of `unix_ms`, then the low 80 bits of `entropy`."""
    pairs = _PAIRS
    high, low = entropy >> 40, entropy & 0xFFFFFFFFFF
    return (
        f"{pairs[unix_ms >> 40 & 0xFF]}{pairs[unix_ms >> 30 & 0x3FF]}{pairs[unix_ms >> 20 & 0x3FF]}"
        f"{pairs[unix_ms >> 10 & 0x3FF]}{pairs[unix_ms & 0x3FF]}"
        f"{pairs[high >> 30 & 0x3FF]}{pairs[high >> 20 & 0x3FF]}{pairs[high >> 10 & 0x3FF]}{pairs[high & 0x3FF]}"
        f"{pairs[low >> 30]}{pairs[low >> 20 & 0x3FF]}{pairs[low >> 10 & 0x3FF]}{pairs[low & 0x3FF]}"
    )


def is_id(text: str) -> bool:
    """Whether `text` has the shape of an ID; nothing else may become part of a file name."""
    return _ID.fullmatch(text) is not None


def id_time(event_id: str) -> datetime:
    """When `event_id` was made, UTC, to the millisecond. Raises ValueError for what is no ID."""
    if not is_id(event_id):
        raise ValueError(f"{event_id!r} is not an ID: {ID_CHARACTERS} characters of {_ALPHABET} are expected")
    return datetime.fromtimestamp(id_unix_ms(event_id) / 1000, UTC)


def id_unix_ms(event_id: str) -> int:
    """When `event_id`, which has the shape of an ID, was made: milliseconds since 1970."""
    unix_ms = 0
    for character in event_id[:10]:
        unix_ms = unix_ms << 5 | _ALPHABET.index(character)
    return unix_ms
