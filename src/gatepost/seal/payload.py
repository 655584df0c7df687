"""What is to be sealed, held once and read in pieces as often as somebody needs it.

Large payloads lie in a file that has no name and no place on a disk (memfd), because the library of OpenPGP reads what
it should not copy from files only. Small ones are octets.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

IN_FILE_OCTETS: Final = 1024 * 1024
PIECE_OCTETS: Final = 256 * 1024


class MemoryFile:
    """A file in memory, gone when nobody holds it; no other program of this machine's users can open it by a name."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("gatepost-seal", os.MFD_CLOEXEC)

    @property
    def path(self) -> str:
        """By which this process opens it, while it is held."""
        return f"/proc/self/fd/{self._descriptor}"

    @property
    def octets(self) -> int:
        """Written so far."""
        return os.fstat(self._descriptor).st_size

    def write(self, octets: bytes) -> None:
        """At its end."""
        view = memoryview(octets)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        while piece := os.pread(self._descriptor, PIECE_OCTETS, at):
            at += len(piece)
            yield piece

    def once(self) -> Iterator[bytes]:
        """All pieces; with the last one the memory is free."""
        try:
            yield from self
        finally:
            self.close()

    def close(self) -> None:
        """The memory is free."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class Payload:
    """Octets in pieces, of known length. file: where they lie, None while they are few."""

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self.file: MemoryFile | None = None
        self._pieces: list[bytes] = []
        self.octets = 0
        for piece in pieces:
            self.write(piece)

    def write(self, octets: bytes) -> None:
        """At the end."""
        if self.file is None and self.octets + len(octets) > IN_FILE_OCTETS:
            self.file = MemoryFile()
            for piece in self._pieces:
                self.file.write(piece)
            self._pieces.clear()
        if self.file is not None:
            self.file.write(octets)
        else:
            self._pieces.append(octets)
        self.octets += len(octets)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.file if self.file is not None else self._pieces

    def close(self) -> None:
        """Its memory is free."""
        self._pieces.clear()
        if self.file is not None:
            self.file.close()

    def whole(self) -> bytes:
        """In one piece."""
        return b"".join(self)


class Framed:
    """A payload with octets around it, none of which is copied."""

    def __init__(self, before: bytes, payload: Payload, after: bytes) -> None:
        self._parts = (before, payload, after)
        self.octets = len(before) + payload.octets + len(after)

    def __iter__(self) -> Iterator[bytes]:
        before, payload, after = self._parts
        yield before
        yield from payload
        yield after


def multipart_signed(payload: Payload, protocol: bytes, micalg: bytes, signature: bytes) -> Framed:
    """An entity of `payload` and the part that signs it (RFC 1847 §2.1). micalg: as it is written, in quotes where it
    needs them. signature: the entity of that part."""
    boundary = b"=_" + secrets.token_hex(16).encode()
    before = b"".join([
        b'Content-Type: multipart/signed; protocol="', protocol, b'";\r\n micalg=', micalg,
        b'; boundary="', boundary, b'"\r\n\r\n--', boundary, b"\r\n",
    ])  # fmt: skip
    return Framed(before, payload, b"".join([b"\r\n--", boundary, b"\r\n", signature, b"\r\n--", boundary, b"--\r\n"]))


Pieces = Payload | Framed
