"""Encrypted content on its way out of a spool: in pieces, each authenticated before anybody sees it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from gatepost.store.sqlite.spool_cipher import CHUNK_OCTETS, TAG_OCTETS, EntryKey, TamperedError, stored_octets

CHUNKS_AT_ONCE: Final = 4  # 256 KiB, as much as any read of a spool brings

Run = Callable[..., Awaitable[bytes]]
"""Calls a function in a thread: (function, arguments...)."""


async def pieces_of_file(path: Path, key: EntryKey, octets: int, run: Run) -> AsyncIterator[bytes]:
    """The content of so many octets in the file at `path`. Raises TamperedError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TamperedError(f"its content file cannot be read: {error.strerror}") from error
    try:
        if os.fstat(descriptor).st_size != stored_octets(octets):
            raise TamperedError("its content file has another size than what was stored")
        chunks = max(1, -(-octets // CHUNK_OCTETS))
        for first in range(0, chunks, CHUNKS_AT_ONCE):
            yield await run(_opened, descriptor, key, first, min(first + CHUNKS_AT_ONCE, chunks), chunks)
    finally:
        os.close(descriptor)


def _opened(descriptor: int, key: EntryKey, first: int, end: int, chunks: int) -> bytes:
    size = CHUNK_OCTETS + TAG_OCTETS
    stored = os.pread(descriptor, (end - first) * size, first * size)
    return b"".join(
        key.open_content_chunk(
            index, stored[(index - first) * size : (index - first + 1) * size], is_last=index == chunks - 1
        )
        for index in range(first, end)
    )


async def pieces_of_row(key: EntryKey, stored: bytes) -> AsyncIterator[bytes]:
    """The content of a row. Raises TamperedError."""
    octets = key.open_content(stored)
    for at in range(0, len(octets), CHUNKS_AT_ONCE * CHUNK_OCTETS):
        yield octets[at : at + CHUNKS_AT_ONCE * CHUNK_OCTETS]
