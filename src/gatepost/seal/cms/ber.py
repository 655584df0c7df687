"""ASN.1 in BER, read with limits, and in DER, written. No schema: who reads says what it expects, step by step.

Own and small: other programs stream CMS in indefinite lengths, and the octets come from strangers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

MAX_DEPTH: Final = 24
MAX_NODES: Final = 400_000  # a stream of 25 MB in pieces of 1 KiB has 25,000

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x02, 0x03, 0x04, 0x05, 0x06
SEQUENCE, SET, UTC_TIME, GENERALIZED_TIME = 0x30, 0x31, 0x17, 0x18


class BerError(ValueError):
    """The octets are not what they should be; the message says what, without quoting them."""


class Node(msgspec.Struct, frozen=True):
    """One value. tag: its identifier octet. source[start:end]: the whole; source[at:until]: its contents."""

    tag: int
    source: bytes
    start: int
    at: int
    until: int
    end: int
    children: tuple[Node, ...] = ()

    @property
    def raw(self) -> bytes:
        """With its tag and length."""
        return self.source[self.start : self.end]

    @property
    def contents(self) -> bytes:
        """Without them."""
        return self.source[self.at : self.until]

    def expect(self, tag: int, fewest: int = 0) -> Node:
        """Itself, if it has that tag and at least `fewest` children."""
        if self.tag != tag or len(self.children) < fewest:
            raise BerError(f"a value of type {tag:#04x} was expected, and {self.tag:#04x} found")
        return self

    def only(self) -> Node:
        """Its one child."""
        if len(self.children) != 1:
            raise BerError("one value was expected inside of another")
        return self.children[0]

    def find(self, tag: int) -> Node | None:
        """The first child with that tag."""
        return next((child for child in self.children if child.tag == tag), None)

    def octets(self) -> bytes:
        """Of an OCTET STRING, in one piece or in many (X.690 §8.7), tagged implicitly or not."""
        if not self.tag & 0x20:
            return self.contents
        return b"".join(child.octets() for child in self.children if _is_octets(child))

    def view(self) -> bytes | memoryview:
        """As `octets`, without a copy where it is in one piece."""
        return self.octets() if self.tag & 0x20 else memoryview(self.source)[self.at : self.until]

    def bits(self) -> bytes:
        """Of a BIT STRING of whole octets."""
        contents = self.contents
        if self.tag & 0x20 or not contents or contents[0]:
            raise BerError("a bit string has odd bits")
        return contents[1:]

    def oid(self) -> str:
        """Of an OBJECT IDENTIFIER, with dots."""
        contents = self.expect(OID).contents
        if not contents or contents[-1] & 0x80 or len(contents) > 64:
            raise BerError("an object identifier is malformed")
        arcs, value = [], 0
        for octet in contents:
            value = value << 7 | octet & 0x7F
            if not octet & 0x80:
                arcs.append(value)
                value = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))

    def integer(self) -> int:
        """Of an INTEGER of at most 64 octets."""
        contents = self.expect(INTEGER).contents
        if not contents or len(contents) > 64:
            raise BerError("an integer is malformed")
        return int.from_bytes(contents, "big", signed=True)


def _is_octets(node: Node) -> bool:
    if node.tag not in (OCTET_STRING, OCTET_STRING | 0x20):
        raise BerError("a string in pieces has a piece of another type")
    return True


def read(octets: bytes) -> Node:
    """The one value that `octets` are. Raises BerError, never anything else."""
    reader = _Reader(octets)
    node = reader.read(0, len(octets), 0)
    if node.end != len(octets):
        raise BerError("something follows the value")
    return node


class _Reader:
    """Reads one tree. Invariant: `_left` values may still come."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._left = MAX_NODES

    def read(self, start: int, limit: int, depth: int) -> Node:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise BerError("values are nested too deep, or too many")
        tag, at, length = self._head(start, limit)
        if length is None:
            children, until = self._children(at, limit, depth, has_end=True)
            return Node(tag, self._octets, start, at, until, until + 2, children)
        until = at + length
        if not tag & 0x20:
            return Node(tag, self._octets, start, at, until, until)
        children, _ = self._children(at, until, depth, has_end=False)
        return Node(tag, self._octets, start, at, until, until, children)

    def _head(self, start: int, limit: int) -> tuple[int, int, int | None]:
        """(tag, where the contents begin, their length or None for an indefinite one)."""
        if start + 2 > limit:
            raise BerError("it ends too early")
        tag, first = self._octets[start], self._octets[start + 1]
        if tag & 0x1F == 0x1F:
            raise BerError("a tag number above 30")
        at = start + 2
        if first == 0x80:
            if not tag & 0x20:
                raise BerError("a simple value without a length")
            return tag, at, None
        length = first
        if first > 0x80:
            size = first & 0x7F
            if size > 6 or at + size > limit:
                raise BerError("a length is malformed")
            length = int.from_bytes(self._octets[at : at + size], "big")
            at += size
        if length > limit - at:
            raise BerError("it ends too early")
        return tag, at, length

    def _children(self, at: int, limit: int, depth: int, *, has_end: bool) -> tuple[tuple[Node, ...], int]:
        children: list[Node] = []
        while has_end or at < limit:
            if has_end and self._octets[at : at + 2] == b"\0\0":
                break
            child = self.read(at, limit, depth + 1)
            children.append(child)
            at = child.end
        return tuple(children), at


def tlv(tag: int, *parts: bytes) -> bytes:
    """A value in DER, of contents in pieces."""
    return b"".join((head(tag, sum(map(len, parts))), *parts))


def head(tag: int, length: int) -> bytes:
    """Tag and length of a value whose contents, so many octets, follow."""
    if length < 0x80:
        return bytes((tag, length))
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big")


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE."""
    return tlv(SEQUENCE, *parts)


def set_of(parts: Iterable[bytes], tag: int = SET) -> bytes:
    """A SET OF in the order that DER asks for (X.690 §11.6)."""
    return tlv(tag, *sorted(parts))


def integer(value: int) -> bytes:
    """An INTEGER."""
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def octet_string(*parts: bytes) -> bytes:
    """An OCTET STRING."""
    return tlv(OCTET_STRING, *parts)


def bit_string(octets: bytes) -> bytes:
    """A BIT STRING of whole octets."""
    return tlv(BIT_STRING, b"\0", octets)


def oid(text: str) -> bytes:
    """An OBJECT IDENTIFIER from its form with dots."""
    first, second, *others = map(int, text.split("."))
    out = bytearray()
    for arc in (first * 40 + second, *others):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        out += bytes(reversed(digits))
    return tlv(OID, bytes(out))


def algorithm(text: str, parameters: bytes = b"") -> bytes:
    """An AlgorithmIdentifier; parameters: in DER, b"" for none."""
    return sequence(oid(text), parameters)


NULL_VALUE: Final = bytes((NULL, 0))
