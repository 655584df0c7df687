"""Messages on their way out of a spool, in pieces: files, and whatever is encrypted.

What is encrypted is authenticated piece by piece before anybody sees it, a plain file by a sum at its end; the last
piece comes only when it is known that nothing is missing. Not here: what becomes of an entry that is damaged (`spool`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec

from gatepost.store.sqlite.spool_cipher import (
    CHUNK_OCTETS,
    TAG_OCTETS,
    EntryKey,
    SpoolCipher,
    TamperedError,
    is_encrypted,
    opened,
    stored_octets,
)
from gatepost.store.sqlite.spool_content import PIECE_OCTETS

CHUNKS_AT_ONCE: Final = PIECE_OCTETS // CHUNK_OCTETS
OTHER_SIZE: Final = "its content file has another size than what was stored"

Run = Callable[..., Awaitable[bytes]]
"""Calls a function in a thread: (function, arguments...)."""


class Stored(msgspec.Struct, frozen=True):
    """An entry as its rows have it. octets: of prefix and content, in clear. file: of the content, None for a row's."""

    id: str
    octets: int
    crc: int
    prefix: bytes
    content: bytes
    file: Path | None


async def pieces(stored: Stored, cipher: SpoolCipher | None, run: Run) -> AsyncGenerator[bytes, None]:
    """Prefix and content in clear. Raises TamperedError, and SpoolError where the key is missing or another one."""
    source = _encrypted(stored, cipher, run) if is_encrypted(stored.prefix) else _plain_file(stored, run)
    piece = b""
    async with aclosing(source):
        async for following in source:
            if piece:
                yield piece
            piece = following
    yield piece


async def _plain_file(stored: Stored, run: Run) -> AsyncGenerator[bytes, None]:
    assert stored.file is not None  # a plain row is at hand as a whole
    yield stored.prefix
    descriptor = _opened_file(stored.file)
    try:
        size = os.fstat(descriptor).st_size
        if size + len(stored.prefix) != stored.octets:
            raise TamperedError(OTHER_SIZE)
        at = seen = 0
        while at < size:
            piece = await run(os.pread, descriptor, PIECE_OCTETS, at)
            if not piece:
                raise TamperedError("its content file became shorter")
            seen = zlib.crc32(piece, seen)
            at += len(piece)
            if at >= size and zlib.crc32(stored.prefix, seen) != stored.crc:
                raise TamperedError("its octets are not those that were stored")
            yield piece
    finally:
        os.close(descriptor)


async def _encrypted(stored: Stored, cipher: SpoolCipher | None, run: Run) -> AsyncGenerator[bytes, None]:
    key, prefix = opened(cipher, stored.id, stored.prefix)
    yield prefix
    octets = stored.octets - len(prefix)
    if stored.file is None:
        content = key.open_content(stored.content)
        if len(content) != octets:
            raise TamperedError("its content has another size than what was stored")
        for at in range(0, len(content), PIECE_OCTETS):
            yield content[at : at + PIECE_OCTETS]
        return
    descriptor = _opened_file(stored.file)
    try:
        if os.fstat(descriptor).st_size != stored_octets(octets):
            raise TamperedError(OTHER_SIZE)
        chunks = max(1, -(-octets // CHUNK_OCTETS))
        for first in range(0, chunks, CHUNKS_AT_ONCE):
            yield await run(_opened_chunks, descriptor, key, first, min(first + CHUNKS_AT_ONCE, chunks), chunks)
    finally:
        os.close(descriptor)


def _opened_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TamperedError(f"its content file cannot be read: {error.strerror}") from error


def _opened_chunks(descriptor: int, key: EntryKey, first: int, end: int, chunks: int) -> bytes:
    size = CHUNK_OCTETS + TAG_OCTETS
    stored = os.pread(descriptor, (end - first) * size, first * size)
    found = [stored[at : at + size] for at in range(0, (end - first) * size, size)]  # one that is missing opens as none
    return b"".join(
        key.open_content_chunk(index, chunk, is_last=index == chunks - 1) for index, chunk in enumerate(found, first)
    )
