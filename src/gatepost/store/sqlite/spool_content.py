"""A message's octets on their way into the spool: in memory, above a threshold in a file that becomes its place.

What will be sealed lies in its file encrypted with a key that nobody keeps; what of it is kept in clear all the same
gets a file of its own when the spool takes it. Not here: reading what the spool has (`spool.SqliteSpool.read`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import weakref
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from gatepost.ports.faults import Faults
from gatepost.spool.port import SpoolError, SpoolFullError
from gatepost.store.disk import sync_folder
from gatepost.store.sqlite.spool_cipher import CHUNK_OCTETS, TAG_OCTETS, EntryKey, TamperedError, new_key
from gatepost.store.sqlite.spool_layout import INCOMING, Layout

PIECE_OCTETS: Final = 256 * 1024
_STORED_CHUNK: Final = CHUNK_OCTETS + TAG_OCTETS
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_numbers = itertools.count(1)


class Memory:
    """What all contents of one process hold in memory, in octets, and how much that may be."""

    __slots__ = ("limit", "octets")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.octets = 0


class SpoolContent:
    """`spool.port.Content` for a spool of files and rows.

    Invariant: what was written is in `_pieces` or, once the file is made, in the file; never in both.
    """

    __slots__ = (
        *(
            "__weakref__",
            "_close",
            "_descriptor",
            "_failure",
            "_faults",
            "_held",
            "_inline_octets",
            "_is_finished",
            "_is_taken",
        ),
        *("_layout", "_memory", "_octets", "_pieces", "_sealed_chunks", "_tail", "crc", "has_ephemeral_key", "key"),
        "path",
    )

    def __init__(
        self, layout: Layout, inline_octets: int, faults: Faults, memory: Memory, key: EntryKey | None = None,
        *, has_ephemeral_key: bool = False,
    ) -> None:  # fmt: skip
        """memory: where it has no room, a file is made at once. key: what goes to the disk is encrypted with it.
        has_ephemeral_key: the key is gone with this process, so that what stays is written in clear by `place`."""
        self._memory = memory
        self._held = 0  # octets of it that count there
        self._layout = layout
        self._inline_octets = inline_octets
        self._faults = faults
        self._pieces: list[bytes] = []
        self._octets = 0
        self._descriptor = -1
        self._close: weakref.finalize[..., SpoolContent] | None = None
        self._is_finished = False
        self._is_taken = False
        self.crc = 0  # CRC-32 of what was written
        self.path: Path | None = None  # of the file; None while all of it is in memory
        self.key = key
        self.has_ephemeral_key = has_ephemeral_key
        self._tail = b""  # of an encrypted file: what makes no whole chunk yet; it is kept until the end
        self._sealed_chunks = 0  # of it that are in the file
        self._failure: SpoolError | None = None  # of a write into an encrypted file

    @property
    def octets(self) -> int:
        return self._octets

    @property
    def is_finished(self) -> bool:
        return self._is_finished

    @property
    def is_taken(self) -> bool:
        return self._is_taken

    def write(self, octets: bytes) -> None:
        if self._is_finished:
            raise ValueError("the content is finished")
        if self.path is None and not self._fits(len(octets)):
            self._make_file()
        if self.path is None:
            self._pieces.append(octets)
            self._held += len(octets)
            self._memory.octets += len(octets)
        elif self.key is not None:
            self._write_sealed(self._descriptor, self.key, octets, self.path)
        else:
            self._write_at(self._descriptor, octets, self._octets, self.path)
        self._octets += len(octets)
        self.crc = zlib.crc32(octets, self.crc)

    def finish(self) -> None:
        self._is_finished = True

    def discard(self) -> None:
        if self._is_taken:
            return
        self._is_finished = True
        self._pieces.clear()
        self._let_go()
        self._tail = b""
        if self.path is not None:
            with contextlib.suppress(OSError):  # a left-over goes at the next start
                self.path.unlink()
            self.path = None
        if self._close is not None:
            self._close()
            self._descriptor = -1

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._descriptor < 0:
            for piece in self._pieces:
                yield piece
            return
        if self.key is not None:
            for piece in self._opened(self._descriptor, self.key):
                yield piece
            return
        at = 0
        while at < self._octets:  # just written: the pages are still in memory, so no thread is needed
            piece = os.pread(self._descriptor, min(PIECE_OCTETS, self._octets - at), at)
            if not piece:
                raise SpoolError(f"{self.path}: the file ends after {at} of {self._octets} octets")
            at += len(piece)
            yield piece

    def inline(self) -> bytes:
        """All of it in one piece, where it is in memory; empty where it is in a file."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces[0]
        return b"".join(pieces)

    def take(self) -> None:
        """The spool has it: `discard` does nothing from here on, and the octets can still be read."""
        self._is_taken = True

    def give_back(self) -> None:
        """The spool could not keep it: it is the caller's again."""
        self._is_taken = False

    def abandon(self) -> None:
        """Nobody wants it any more."""
        self.give_back()
        self.discard()

    def place(self, layout: Layout, entry_id: str) -> None:
        """The file is on stable storage under the entry's ID. Blocks: for a thread. Raises SpoolError."""
        assert self.path is not None
        target = layout.content / entry_id
        if self._failure is not None:
            raise self._failure
        try:
            if self.has_ephemeral_key:
                self._lay_open()
            elif self.key is not None:
                # At the end of the data nobody would hear of a full disk; here it is answered.
                last = self.key.content_chunk(self._sealed_chunks, self._tail, is_last=True)
                self._write_at(self._descriptor, last, self._sealed_chunks * _STORED_CHUNK, self.path)
            self._faults("content.sync")
            os.fsync(self._descriptor)
            self._faults("content.rename")
            if self.path != target:  # else the commit failed after this, and is tried again
                os.link(self.path, target)  # a rename would replace the content of another entry of this ID
                self.path.unlink()
                self.path = target
            self._faults("content.folder")
            sync_folder(layout.content)
        except FileExistsError as error:
            raise SpoolError(f"{target}: there is an entry of that ID already") from error
        except OSError as error:
            raise full_or_broken(error, target) from error

    def __del__(self) -> None:
        self._let_go()

    def _fits(self, octets: int) -> bool:
        """Whether so many more may stay in memory: many that are small are as much as one that is large."""
        memory = self._memory
        return self._octets + octets <= self._inline_octets and memory.octets + octets <= memory.limit

    def _let_go(self) -> None:
        self._memory.octets -= self._held
        self._held = 0

    def _new_file(self) -> tuple[Path, int]:
        """A file of the name of one that arrives, and its descriptor. Raises SpoolError."""
        path = self._layout.content / f"{INCOMING}{os.getpid()}-{next(_numbers)}"
        try:
            return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise full_or_broken(error, path) from error

    def _make_file(self) -> None:
        path, descriptor = self._new_file()
        try:
            if self.key is not None:
                self._write_sealed(descriptor, self.key, b"".join(self._pieces), path)
            else:
                self._write_at(descriptor, b"".join(self._pieces), 0, path)
        except BaseException:  # what is in memory stays the truth
            self._tail, self._sealed_chunks = b"", 0
            if self.key is not None:
                self._failure, self.key = None, new_key()  # another try, another key
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._hold(path, descriptor)
        self._pieces.clear()
        self._let_go()

    def _hold(self, path: Path, descriptor: int) -> None:
        # Whoever checks the message may read it after the spool has sent and removed the file.
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        self.path = path

    def _lay_open(self) -> None:
        """A file in clear takes the place of the one that only this process can read: somebody gets it in clear."""
        assert self.key is not None
        assert self.path is not None
        path, descriptor = self._new_file()
        try:
            at = 0
            for piece in self._opened(self._descriptor, self.key):
                self._write_at(descriptor, piece, at, path)
                at += len(piece)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        before = self.path
        self._hold(path, descriptor)  # the other one is closed when nobody can be reading it any more
        self.key, self.has_ephemeral_key, self._tail = None, False, b""
        before.unlink(missing_ok=True)

    def _write_sealed(self, descriptor: int, key: EntryKey, octets: bytes, path: Path) -> None:
        """The next octets into an encrypted file; a chunk is not written before it is known not to be the last. After a
        failure there is no second try: other octets would be encrypted under a nonce that has been used."""
        if self._failure is not None:
            raise self._failure
        tail = self._tail + octets
        start = 0
        try:
            while len(tail) - start > CHUNK_OCTETS:
                stored = key.content_chunk(self._sealed_chunks, tail[start : start + CHUNK_OCTETS], is_last=False)
                self._write_at(descriptor, stored, self._sealed_chunks * _STORED_CHUNK, path)
                self._sealed_chunks += 1
                start += CHUNK_OCTETS
        except BaseException as error:
            self._failure = error if isinstance(error, SpoolError) else SpoolError(f"{path}: {error}")
            raise
        self._tail = tail[start:]

    def _opened(self, descriptor: int, key: EntryKey) -> Iterator[bytes]:
        """What was written into an encrypted file. Raises SpoolError."""
        chunks, tail = self._sealed_chunks, self._tail
        for index in range(chunks):
            stored = os.pread(descriptor, _STORED_CHUNK, index * _STORED_CHUNK)
            try:
                yield key.open_content_chunk(index, stored, is_last=False)
            except TamperedError as error:
                raise SpoolError(f"{self.path}: {error}") from error
        yield tail

    def _write_at(self, descriptor: int, octets: bytes, offset: int, path: Path) -> None:
        self._faults("content.write")
        view = memoryview(octets)
        try:
            while view:  # at an offset: what a failed write left behind is written over
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise full_or_broken(error, path) from error


def full_or_broken(error: OSError, path: Path) -> SpoolError:
    """What a failed file operation means to a peer: no room (452) or a fault (451)."""
    if error.errno in NO_ROOM:
        return SpoolFullError(f"{path}: {error.strerror}; nothing is accepted until there is room")
    return SpoolError(f"{path}: {error.strerror}; the user that Gatepost runs as must own the spool")
