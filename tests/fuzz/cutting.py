"""How a target cuts its input: by chance, which the input decides, so that a crash is repeated from it alone."""

from __future__ import annotations

import random
import zlib


def pieces(octets: bytes) -> tuple[bytes, ...]:
    """`octets` in up to a dozen pieces, at times one by one."""
    chance = random.Random(zlib.crc32(octets))
    if len(octets) < 200 and chance.random() < 0.3:
        return tuple(octets[at : at + 1] for at in range(len(octets)))
    cuts = sorted(chance.randrange(len(octets) + 1) for _ in range(chance.randrange(12)))
    return tuple(octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True) if start < end)
