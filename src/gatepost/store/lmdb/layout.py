"""How keys and values lie in the two files. Octets only; no transaction, no clock.

Counters, by their first octet: `c` those at once, `n` notes, `r` rates. Facts: a letter for each table. A value starts
with its end (seconds since 1970), so that a sweep needs to know nothing else; counts at once end with their process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Final

from gatepost.standing.port import Fact, Table

MAX_KEY_OCTETS: Final = 511  # LMDB's, as it is built
KEPT_OCTETS: Final = 400  # of a key that is too long; a hash tells those apart that begin alike

AT_ONCE: Final = b"c"
NOTE: Final = b"n"
RATE: Final = b"r"
WITH_END: Final = (NOTE, b"\xff")  # the range of counters that have one; `c` sorts before it

TABLES: Final[dict[Table, bytes]] = {"ban": b"b", "good": b"d", "grant": b"g", "greylist": b"y"}

END: Final = Struct("<d")
BUCKET: Final = Struct("<ddd")  # end, units in the bucket, when they were counted
SHARE: Final = Struct("<HI")  # the slot of a process, how many it holds
FACT: Final = Struct("<dH")  # end, octets of the key that follow (0: the key itself says it)


@lru_cache(maxsize=4096)
def octets_of(prefix: bytes, key: str) -> bytes:
    """The key as LMDB keeps it, whatever text and length `key` has."""
    octets = prefix + key.encode("utf-8", "surrogatepass")
    if len(octets) <= MAX_KEY_OCTETS:
        return octets
    return octets[:KEPT_OCTETS] + b"\0" + hashlib.blake2b(octets, digest_size=32).digest()


def pack_fact(key: str, value: bytes, until: float) -> bytes:
    """The value of a fact; it carries the key where LMDB's key cannot."""
    whole = key.encode("utf-8", "surrogatepass")
    carried = whole if len(whole) + 1 > MAX_KEY_OCTETS else b""
    return FACT.pack(until, len(carried)) + carried + value


def fact_value(packed: bytes, now: float) -> bytes | None:
    """The value inside, None if the fact has ended."""
    until, carried = FACT.unpack_from(packed)
    return packed[FACT.size + carried :] if until > now else None


def fact(stored_key: bytes, packed: bytes) -> Fact:
    """The whole fact."""
    until, carried = FACT.unpack_from(packed)
    key = packed[FACT.size : FACT.size + carried] or stored_key[1:]
    return Fact(key.decode("utf-8", "surrogatepass"), packed[FACT.size + carried :], until)


def shares(packed: bytes) -> Iterator[tuple[int, int]]:
    """(slot, count) of each process that holds something."""
    return SHARE.iter_unpack(packed)


def pack_shares(counts: dict[int, int]) -> bytes:
    """The opposite; nothing is kept of those that hold none."""
    return b"".join(SHARE.pack(slot, count) for slot, count in counts.items() if count)
