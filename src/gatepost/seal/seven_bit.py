"""An entity made fit to be signed: 7-bit, no blanks at the end of a line, no line that a mailbox would change.

A signature covers octets, and a hop on the way may change others: RFC 3156 §3 and RFC 8551 §3.1.3 have such content
encoded before. What needs it is encoded part by part, all other octets stay.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

from gatepost.seal.mime import Entity, decoded, parse, to_base64

MAX_LINE_OCTETS: Final = 998  # RFC 5321 §4.5.3.1.6, without CRLF
MAX_DEPTH: Final = 20  # of parts within parts; what lies deeper stays as it is
_BLANKS: Final = re.compile(rb"[ \t]+(?=\r\n|\Z)")
_EMPTY_LINE: Final = re.compile(rb"\r\n[ \t]+(?=\r\n)")
_ASCII: Final = bytes(range(128))
_IDENTITY: Final = (b"", b"7bit", b"8bit", b"binary")


def seven_bit(octets: bytes, depth: int = 0, default: str = "text/plain", *, is_attached: bool = False) -> list[bytes]:
    """The entity in pieces, its parts encoded where they need it.

    octets: with CRLF. default: its type where it names none. is_attached: it belongs to a message within the message,
    of which only what 7-bit transport needs is changed. Left as they are: parts that are signed themselves, what is
    no multipart though it says so, and header fields of attached messages. Raises nothing.
    """
    if not _needs_it(octets, is_attached=is_attached):
        return [octets]
    entity = parse(octets)
    kind = entity.content_type.name if entity.header.values(b"content-type") else default
    if depth >= MAX_DEPTH or kind == "multipart/signed":
        return [octets]
    if kind == "message/rfc822":
        body = seven_bit(entity.body, depth + 1, is_attached=True)
        return [_header(entity, _encoding(body), is_attached=is_attached), *body]
    if kind.startswith("multipart/"):
        of_parts = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        found = list(_multipart(entity, depth, of_parts, is_attached=is_attached))
        if not found:
            return [octets]
        return [_header(entity, _encoding(found), is_attached=is_attached), *found]
    return _leaf(entity, kind, is_attached=is_attached)


def _needs_it(octets: bytes, *, is_attached: bool) -> bool:
    if not octets.isascii() or _has_long_line(octets):
        return True
    if is_attached:
        return False
    if octets.endswith((b" ", b"\t")) or octets.startswith(b"From "):  # no line end belongs to the last line of a part
        return True
    return b" \r\n" in octets or b"\t\r\n" in octets or b"\r\nFrom " in octets


def _has_long_line(octets: bytes) -> bool:
    at, longest = 0, MAX_LINE_OCTETS + 2
    while len(octets) - at > longest:
        found = octets.rfind(b"\n", at, at + longest)
        if found < 0:
            return True
        at = found + 1
    return False


def _leaf(entity: Entity, kind: str, *, is_attached: bool) -> list[bytes]:
    raw = entity.body
    if not _needs_it(raw, is_attached=is_attached):
        return [_header(entity, b"", is_attached=is_attached), raw]
    encoding = b"".join(entity.header.values(b"content-transfer-encoding")).strip().lower()
    if encoding not in _IDENTITY:
        found = decoded(entity)
        if found is None:
            return [entity.octets]
        raw = found
    # Text that is mostly ASCII stays readable in quoted-printable, and is shorter than in base64.
    is_readable = kind.startswith("text/") and len(raw.translate(None, _ASCII)) * 4 <= len(raw)
    if is_readable and encoding != b"base64":  # whose text may end its lines in other ways
        return [_header(entity, b"quoted-printable", is_attached=is_attached), _quoted(raw)]
    return [_header(entity, b"base64", is_attached=is_attached), to_base64(raw)]


def _quoted(raw: bytes) -> bytes:
    """Quoted-printable, in which no line begins with "From " (RFC 3156 §3)."""
    lines = binascii.b2a_qp(raw, istext=True)
    if b"From " not in lines:
        return lines
    # A soft line break keeps the line within 76 octets (RFC 2045 §6.7).
    return re.sub(rb"(?m)^From ", b"=46rom=\r\n ", lines)


def _multipart(entity: Entity, depth: int, default: str, *, is_attached: bool) -> Iterator[bytes]:
    """The body; nothing where there is no part."""
    boundary = entity.content_type.parameters.get("boundary", "").encode("utf-8")
    if not boundary:
        return
    text = b"\r\n" + entity.body
    start = -1  # of the part that is open
    for match in re.finditer(rb"\r\n--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r\n|\Z)", text):
        if start < 0:
            yield _plain(text[2 : match.start()], b"")
        elif match.start() >= start:
            yield from seven_bit(text[start : match.start()], depth + 1, default, is_attached=is_attached)
        # The line break before it is ours where it is the first line of the body, and given out behind an empty part.
        yield match[0].rstrip(b" \t")[2 if match.start() < max(start, 2) else 0 :]
        start = match.end()
        if match[1]:
            yield _plain(text[start:], b"\r\n")
            return
        if text.startswith(b"\r\n", start):
            yield b"\r\n"
            start += 2
    if start >= 0:
        yield from seven_bit(text[start:], depth + 1, default, is_attached=is_attached)


def _plain(text: bytes, otherwise: bytes) -> bytes:
    """What stands around the parts, which no reader shows and nothing can encode: it goes where it is not fit."""
    text = _BLANKS.sub(b"", text)
    return otherwise if _needs_it(text, is_attached=False) else text


def _encoding(body: list[bytes]) -> bytes:
    """Of a part that holds others, which cannot be encoded itself (RFC 2045 §6.4)."""
    return b"7bit" if all(map(bytes.isascii, body)) else b"8bit"


def _header(entity: Entity, encoding: bytes, *, is_attached: bool) -> bytes:
    """The header section with that Content-Transfer-Encoding; "" for the one that it has."""
    section = entity.octets[: entity.body_at]
    named = entity.header.named(b"content-transfer-encoding")
    if encoding and not (encoding == b"7bit" and not named):
        section = entity.header.without(named) if named else section
        end = len(section) - 2 if section.endswith(b"\r\n") else len(section)
        section = section[:end] + b"Content-Transfer-Encoding: " + encoding + b"\r\n" + section[end:]
    return section if is_attached else _BLANKS.sub(b"", _EMPTY_LINE.sub(b"", section))
