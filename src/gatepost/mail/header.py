"""The header section of a message as octets: found, walked once, never re-serialised (RFC 5322 §2.2, §3.6).

Not here: what a header section must have (`policy.checks.content_headers`), nor addresses inside of fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

SINGLETONS: Final = frozenset(
    b"from date sender reply-to to cc bcc message-id in-reply-to references subject".split(b" ")
)
"""Fields that may stand once (RFC 5322 §3.6), lower case."""

MAX_FIELDS: Final = 10_000  # ours: far more than `content.headers` lets pass; whoever walks more holds others up
_NAMELESS: Final = "a line without a field name"
# obs-optional (RFC 5322 §4.5): blanks before the colon, which all readers drop.
_NAMED: Final = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")


class Field(msgspec.Struct, frozen=True):
    """One header field. name: lower case. start, end: where its octets lie in the section, last CRLF included."""

    name: bytes
    start: int
    end: int


class HeaderSection(msgspec.Struct, frozen=True):
    """A header section, walked.

    octets: the whole section with the blank line that ends it. fields: in order. defects: "a line without a field
    name", "it begins with a continuation line": what readers may understand differently.
    """

    octets: bytes
    fields: tuple[Field, ...]
    defects: tuple[str, ...]

    def value(self, field: Field) -> bytes:
        """The value, unfolded: line ends inside of it are gone, surrounding blanks too."""
        raw = self.octets[field.start : field.end]
        return raw[raw.index(b":") + 1 :].replace(b"\r\n", b"").strip(b" \t")

    def values(self, name: bytes) -> list[bytes]:
        """The values of every field `name` (lower case), in order."""
        return [self.value(field) for field in self.named(name)]

    def first(self, name: bytes) -> bytes | None:
        """The value of the first field `name` (lower case), None where there is none."""
        for field in self.fields:
            if field.name == name:
                return self.value(field)
        return None

    def named(self, name: bytes) -> list[Field]:
        """Every field `name` (lower case), in order."""
        return [field for field in self.fields if field.name == name]

    def without(self, fields: Iterable[Field]) -> bytes:
        """The section's octets without `fields`, which are some of its own, in order; every other octet as it was."""
        kept, at = [], 0
        for field in fields:
            kept.append(self.octets[at : field.start])
            at = field.end
        kept.append(self.octets[at:])
        return b"".join(kept)


def section_end(octets: bytes, searched: int = 0) -> int:
    """Where the body starts: behind the first blank line, or -1 if that has not come yet.

    searched: how much of `octets` an earlier call has seen.
    """
    if octets.startswith(b"\r\n"):
        return 2  # no header field at all
    at = octets.find(b"\r\n\r\n", max(0, searched - 3))
    return at + 4 if at >= 0 else -1


def walk(section: bytes) -> HeaderSection:
    """The fields of `section`, which ends with its blank line (or lacks it: a message without a body).

    Those behind the first MAX_FIELDS are not looked at, which is a defect. Each defect is named once.
    """
    fields: list[Field] = []
    defects: list[str] = []
    end = len(section)
    if section.endswith(b"\r\n\r\n"):
        end -= 2
    elif section == b"\r\n":
        end = 0
    name, name_at, at = b"", 0, 0
    while at < end:
        next_at = section.find(b"\r\n", at) + 2
        if next_at < 2:
            next_at = end
        if section[at] not in b" \t":
            if name:
                fields.append(Field(name, name_at, at))
                name = b""
            if len(fields) >= MAX_FIELDS:
                defects.append(f"more than {MAX_FIELDS} fields")
                break
            named = _NAMED.match(section, at, next_at)
            name_at = at
            if named is not None:
                name = named.group(1).lower()
            elif _NAMELESS not in defects:
                defects.append(_NAMELESS)
        elif not name and not defects:
            defects.append("it begins with a continuation line")
        at = next_at
    if name:
        fields.append(Field(name, name_at, end))
    return HeaderSection(section, tuple(fields), tuple(defects))
