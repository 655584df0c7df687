"""The header fields that a signature is about, in the form that was signed (RFC 6376 §3.4.1, §3.4.2, §5.4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from gatepost.mail.header import Field, HeaderSection
from gatepost.verify.dkim_signature import Canonicalization
from gatepost.verify.dkim_tags import without_signature

NAME: Final = b"dkim-signature"


class SignedFields:
    """The fields of one header section, each made canonical once for all signatures."""

    def __init__(self, section: HeaderSection) -> None:
        self._section = section
        self._by_name: dict[str, list[int]] = {}
        for at, field in enumerate(section.fields):
            self._by_name.setdefault(field.name.decode("latin-1"), []).append(at)
        self._canonical: dict[tuple[Canonicalization, int], bytes] = {}

    @property
    def signatures(self) -> list[int]:
        """Where DKIM-Signature fields are among the fields, from the top."""
        return self._by_name.get(NAME.decode(), [])

    def raw(self, at: int) -> bytes:
        """The field, as it came."""
        field = self._section.fields[at]
        return self._section.octets[field.start : field.end]

    def digest(self, at: int, chosen: Iterable[int], kind: Canonicalization) -> bytes:
        """SHA-256 of the `chosen` fields, and of the signature in field `at`."""
        parts = [self._field(each, kind) for each in chosen]
        own = without_signature(self.raw(at))
        parts.append(_relaxed(own, self._section.fields[at]) if kind == "relaxed" else own)
        return hashlib.sha256(b"".join(parts)).digest()

    def names(self, chosen: Iterable[int]) -> tuple[str, ...]:
        """What the fields are called."""
        return tuple([self._section.fields[each].name.decode("latin-1") for each in chosen])

    def chosen(self, at: int, names: Sequence[str]) -> list[int]:
        """Where the fields are that the signature in field `at` is about. Of fields with one name the last is taken
        first, then the one above it; a name for which there is none left says that there were no more of them (§5.4.2).
        No signature is about itself."""
        left: dict[str, list[int]] = {}
        chosen = []
        for name in names:
            places = left.get(name)
            if places is None:
                places = left[name] = [each for each in self._by_name.get(name, ()) if each != at]
            if places:
                chosen.append(places.pop())
        return chosen

    def _field(self, at: int, kind: Canonicalization) -> bytes:
        found = self._canonical.get((kind, at))
        if found is None:
            raw = self.raw(at)
            found = _relaxed(raw, self._section.fields[at]) + b"\r\n" if kind == "relaxed" else raw
            self._canonical[kind, at] = found
        return found


def _relaxed(raw: bytes, field: Field) -> bytes:
    """Lower-case name, unfolded, each run of blanks one space, none around the value; without the line end."""
    value = raw.partition(b":")[2].replace(b"\r\n", b"").replace(b"\t", b" ")
    while b"  " in value:
        value = value.replace(b"  ", b" ")
    return field.name + b":" + value.strip(b" ")
