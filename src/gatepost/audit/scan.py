"""Reading the record's files: the lines in which some octets stand, quickly, and the last lines of a file.

A line that a writer is just writing has no LF yet: it is not there. Not here: what a line says (`criteria`, `search`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from gatepost.audit.files import CannotRead, RecordFile, opened

CHUNK_OCTETS: Final = 1 << 20
_decoder: Final = msgspec.json.Decoder()


def decode(line: bytes) -> dict[str, Any] | None:
    """The event of a line, None for what is none: a torn line, which `audit verify` reports."""
    try:
        event = _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def lines_with(file: RecordFile, needles: Sequence[bytes]) -> Iterator[bytes]:
    """The whole lines of a file that hold every needle, in any case (ASCII). needles: lower case, the rarest first.

    Raises CannotRead.
    """
    with opened(file) as stream:
        for chunk in _chunks(stream):
            yield from _matching(chunk, needles) if needles else chunk.splitlines()


def lines_with_any(file: RecordFile, needles: Sequence[bytes]) -> Iterator[bytes]:
    """The whole lines that hold one needle or more. needles: exact octets. Raises CannotRead."""
    with opened(file) as stream:
        for chunk in _chunks(stream):
            if any(needle in chunk for needle in needles):
                for line in chunk.splitlines():
                    if any(needle in line for needle in needles):
                        yield line


def last_lines(path: Path, count: int, end: int | None = None) -> tuple[list[bytes], int]:
    """(the last `count` whole lines before octet `end` of an uncompressed file, where they end). Raises CannotRead."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size if end is None else end
            start, tail = size, b""
            while start > 0 and tail.count(b"\n") <= count:
                start = max(0, start - CHUNK_OCTETS)
                stream.seek(start)
                tail = stream.read(size - start)
    except OSError as error:
        raise CannotRead(f"{path}: {error.strerror}") from error
    whole = tail[: tail.rfind(b"\n") + 1]
    lines = whole.splitlines()
    if start > 0:
        lines = lines[1:]
    return lines[max(0, len(lines) - count) :], start + len(whole)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The octets of `stream` in pieces that end with a line; what comes after the last LF is left out."""
    rest = b""
    while piece := stream.read(CHUNK_OCTETS):
        end = piece.rfind(b"\n") + 1
        if not end:
            rest += piece
            continue
        yield rest + piece[:end]
        rest = piece[end:]


def _matching(chunk: bytes, needles: Sequence[bytes]) -> Iterator[bytes]:
    lower = chunk.lower()
    first, others = needles[0], needles[1:]
    at = lower.find(first)
    while at >= 0:
        begin = lower.rfind(b"\n", 0, at) + 1
        end = lower.index(b"\n", at)
        if all(lower.find(needle, begin, end) >= 0 for needle in others):
            yield chunk[begin:end]
        at = lower.find(first, end)
