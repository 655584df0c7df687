"""Entities as octets: a header section and a body, the parts of a multipart, transfer encodings (RFC 2045, RFC 2046).

Octets are cut and joined, never re-serialised, so that what was signed stays as it was. Not here: what a part means.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from gatepost.mail.header import HeaderSection, section_end, walk

MAX_PARTS: Final = 100  # of what we look into: two each in RFC 3156 and RFC 8551
LINE_OCTETS: Final = 57  # that base64 makes a line of 76 (RFC 2045 §6.8)
_PARAMETER: Final = re.compile(rb';\s*([!#-\'*+.0-9A-Z^-~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"()]+))', re.S)
_TYPE: Final = re.compile(rb"\s*([!#-'*+.0-9A-Z^-~-]+)\s*/\s*([!#-'*+.0-9A-Z^-~-]+)\s*(?=;|\(|\Z)")
_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class ContentType(msgspec.Struct, frozen=True):
    """A media type and its parameters, lower case but for the parameters' values."""

    name: str
    parameters: dict[str, str]

    def get(self, parameter: str) -> str:
        """Its value in lower case, "" where it is missing."""
        return self.parameters.get(parameter, "").lower()


class Entity(msgspec.Struct, frozen=True):
    """A message or a part. octets: the whole. header: walked. body_at: where the body begins."""

    octets: bytes
    header: HeaderSection
    body_at: int

    @property
    def body(self) -> bytes:
        """The body as it lies there."""
        return self.octets[self.body_at :]

    @property
    def content_type(self) -> ContentType:
        """Of the only Content-Type; text/plain where there is none, "" for one that is malformed or repeated."""
        values = self.header.values(b"content-type")
        if not values:
            return ContentType("text/plain", {})
        return parse_content_type(values[0]) if len(values) == 1 else ContentType("", {})


class Multipart(msgspec.Struct, frozen=True):
    """The parts, each without the line end that belongs to the boundary. surroundings: what stands around them."""

    parts: tuple[bytes, ...]
    surroundings: bytes
    is_closed: bool


def canonical(octets: bytes) -> bytes:
    """`octets` with CRLF at every end of a line, and one at the very end."""
    if octets.count(b"\n") != octets.count(b"\r\n") or octets.count(b"\r") != octets.count(b"\r\n"):
        octets = _BARE.sub(b"\r\n", octets)
    return octets


def with_crlf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """`pieces`, made `canonical` one by one."""
    held = b""  # a CR whose LF may come with the next piece
    for piece in pieces:
        octets = held + piece if held else piece
        held = b"\r" if octets.endswith(b"\r") else b""
        yield canonical(octets[:-1] if held else octets)
    if held:
        yield b"\r\n"


def parse(octets: bytes) -> Entity:
    """The entity that `octets` (with CRLF) are; one without a blank line is all header."""
    end = section_end(octets)
    if end < 0:
        end = len(octets)
    return Entity(octets, walk(octets[:end]), end)


def parse_content_type(value: bytes) -> ContentType:
    """The type in an unfolded value, "" when it is malformed. A parameter that is said twice counts as said once."""
    match = _TYPE.match(value)
    if match is None:
        return ContentType("", {})
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(value, match.end()):
        name = found[1].decode("ascii", "replace").lower()
        raw = found[3] if found[2] is None else re.sub(rb"\\(.)", rb"\1", found[2])
        parameters.setdefault(name, raw.decode("utf-8", "replace"))
    return ContentType(f"{match[1].decode('ascii')}/{match[2].decode('ascii')}".lower(), parameters)


def split_multipart(body: bytes, boundary: str) -> Multipart | None:
    """The parts of `body` (RFC 2046 §5.1.1); None for a boundary that is none or more parts than we look into."""
    if not boundary or len(boundary) > 70:
        return None
    delimiter = b"\r\n--" + boundary.encode("utf-8")
    text = b"\r\n" + body
    parts: list[bytes] = []
    around: list[bytes] = []
    start = -1  # of the part that is open, -1 before the first
    at, is_closed = 0, False
    while (found := text.find(delimiter, at)) >= 0:
        line_end = text.find(b"\r\n", found + 2)
        line_end = len(text) if line_end < 0 else line_end
        rest = text[found + len(delimiter) : line_end]
        closes = rest[:2] == b"--" and not rest[2:].strip(b" \t")
        if not closes and rest.strip(b" \t"):
            at = found + 2  # a longer boundary of another multipart, or text
            continue
        if start < 0:
            around.append(text[2:found])
        else:
            parts.append(text[start:found] if found >= start else b"")
        # The CRLF behind the line belongs to the next delimiter too, when a part is empty.
        start, at = line_end + 2, line_end
        if closes:
            is_closed = True
            around.append(text[line_end:])
            break
        if len(parts) >= MAX_PARTS:
            return None
    if not is_closed and start >= 0:
        parts.append(text[start:])
    return Multipart(tuple(parts), b"".join(around), is_closed) if start >= 0 else None


def decoded(entity: Entity) -> bytes | None:
    """The body without its transfer encoding; None where it is not what the encoding says."""
    values = entity.header.values(b"content-transfer-encoding")
    encoding = values[0].strip().lower() if len(values) == 1 else b"" if not values else b"?"
    if encoding in (b"", b"7bit", b"8bit", b"binary"):
        return entity.body
    if encoding == b"base64":
        return from_base64(entity.body)
    if encoding == b"quoted-printable":
        return quopri.decodestring(entity.body)
    return None


def from_base64(text: bytes) -> bytes | None:
    """What base64 `text` stands for, None for text that has anything else in it."""
    try:
        return binascii.a2b_base64(text.translate(None, b" \t\r\n"), strict_mode=True)
    except binascii.Error:
        return None


def to_base64(octets: bytes | memoryview) -> bytes:
    """In lines of 76 that end in CRLF."""
    view = memoryview(octets)
    encode = binascii.b2a_base64
    lines = [encode(view[at : at + LINE_OCTETS], newline=False) for at in range(0, len(octets), LINE_OCTETS)]
    lines.append(b"")
    return b"\r\n".join(lines)


def base64_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """`to_base64` of all of them, piece by piece."""
    held = b""
    for piece in pieces:
        octets = held + piece
        end = len(octets) - len(octets) % LINE_OCTETS
        if end:
            yield to_base64(memoryview(octets)[:end])
        held = octets[end:]
    if held:
        yield to_base64(held)
