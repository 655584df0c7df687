"""Header fields inside of the encryption (RFC 9788): put there, hidden outside, taken out again and compared.

Every field but those of the transport is protected; Subject, Comments and Keywords are hidden (the baseline of §3.2.1)
where the message is encrypted. Where it is signed only, all of them stand outside too, as they stand inside.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from gatepost.mail.header import Field, HeaderSection
from gatepost.seal.mime import Entity, parse
from gatepost.seal.model import HIDDEN_SUBJECT

TRACE: Final = frozenset({b"received", b"return-path", b"delivered-to", b"authentication-results", b"received-spf"})
"""Written on the way: they stay outside, and nobody promises anything about them."""
_HIDDEN: Final = frozenset({b"comments", b"keywords"})
_INSIDE_ONLY: Final = frozenset({b"dkim-signature"})  # about the body as it was
_DROPPED: Final = frozenset({b"bcc", b"resent-bcc", b"hp-outer"})
_HP: Final = re.compile(rb'\s*;\s*(?:hp|hp-legacy-display|protected-headers)\s*=\s*(?:"[^"]*"|[^\s;"]+)', re.I)

Protection = Literal["none", "cipher", "clear", "draft"]


class Wrapped(msgspec.Struct, frozen=True):
    """outer: the fields that stay readable, without those of MIME. inner: those of what is to be signed and encrypted,
    with their blank line; the body follows as it is."""

    outer: bytes
    inner: bytes


class Unwrapped(msgspec.Struct, frozen=True):
    """text: the message in clear. unprotected: fields that anybody could have changed; hidden: fields that were
    readable nowhere. remark: what a reader should know, "" for nothing."""

    text: bytes
    unprotected: tuple[str, ...]
    hidden: tuple[str, ...]
    remark: str


def _is_structural(name: bytes) -> bool:
    return name.startswith(b"content-") or name == b"mime-version"


def _octets(section: HeaderSection, field: Field) -> bytes:
    raw = section.octets[field.start : field.end]
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def wrap(message: HeaderSection, *, hide_subject: bool, is_ascii: bool, is_encrypted: bool = True) -> Wrapped:
    """The fields of `message` as they stand inside, protected, and those outside (§5.2). is_ascii: its body is.
    is_encrypted: or else signed only, and nothing is hidden."""
    outer: list[bytes] = []
    inner: list[bytes] = []
    recorded: list[bytes] = []
    structural: list[bytes] = []
    for field in message.fields:
        octets = _octets(message, field)
        if field.name in TRACE:
            outer.append(octets)
        elif _is_structural(field.name):
            structural.append(octets)
        elif field.name not in _DROPPED:
            inner.append(octets)
            if field.name in _INSIDE_ONLY or field.name.startswith(b"arc-"):
                continue
            if not is_encrypted:
                outer.append(octets)
                continue
            if field.name == b"subject" and hide_subject:
                octets = b"Subject: " + HIDDEN_SUBJECT.encode() + b"\r\n"
            if field.name not in _HIDDEN:
                outer.append(octets)
                recorded.append(b"HP-Outer: " + octets)
    how = b"cipher" if is_encrypted else b"clear"
    header = b"".join([*inner, *recorded, *_marked(structural, how, is_ascii=is_ascii)])
    return Wrapped(b"".join(outer), header + b"\r\n")


def _marked(structural: list[bytes], how: bytes, *, is_ascii: bool) -> list[bytes]:
    """The fields of MIME, the Content-Type saying that fields are protected, and how (§2.1.1)."""
    marked = []
    for octets in structural:
        if octets[:13].lower() == b"content-type:":
            octets = _HP.sub(b"", octets).rstrip(b"\r\n; \t") + b';\r\n hp="' + how + b'"\r\n'
        marked.append(octets)
    if not any(octets[:13].lower() == b"content-type:" for octets in structural):
        # Text without MIME is ASCII by the letter (RFC 2045 §5.2); where it is not, UTF-8 is what it is these days.
        charset = b"us-ascii" if is_ascii else b"utf-8"
        marked.append(b"Content-Type: text/plain; charset=" + charset + b'; hp="' + how + b'"\r\n')
    return marked


def protection(payload: Entity) -> Protection:
    """How the fields of `payload` are protected; "draft" is what programs wrote before there was a standard."""
    kind = payload.content_type
    if kind.get("hp") == "cipher":
        return "cipher"
    if kind.get("hp") == "clear":
        return "clear"
    return "draft" if kind.get("protected-headers") == "v1" else "none"


def unwrap(outer: Entity, payload: bytes, *, is_author_proven: bool) -> Unwrapped:
    """The message that `payload` is, under the fields it protects.

    is_author_proven: a trusted signature belongs to the inner From; without it, a From that differs outside is shown
    as the transport had it, since an inner one that nobody signed could name anybody (§4.4).
    """
    inside = parse(payload)
    if not inside.header.fields and not payload.startswith(b"\r\n"):
        inside = parse(b"\r\n" + payload)  # text that somebody encrypted without making a part of it is all body
    how = protection(inside)
    protected = [] if how == "none" else _fields(inside.header)
    names = {name for name, _ in protected}
    outside = _fields(outer.header)
    remark = ""
    authors = [_value(octets) for name, octets in protected if name == b"from"]
    outer_authors = [_value(octets) for name, octets in outside if name == b"from"]
    if authors and outer_authors and authors != outer_authors and not is_author_proven:
        remark = "From differs inside and outside of the encryption, and no signature proves the inner one"
        protected = [pair for pair in protected if pair[0] != b"from"]
        names.discard(b"from")
    unprotected = [pair for pair in outside if pair[0] not in names and (how != "cipher" or pair[0] == b"from")]
    stripped = [pair for pair in outside if pair[0] not in names and pair not in unprotected]
    trace = [_octets(outer.header, field) for field in outer.header.fields if field.name in TRACE]
    structural = [
        _HP.sub(b"", _octets(inside.header, field))
        for field in inside.header.fields
        if _is_structural(field.name) and field.name != b"mime-version"
    ]
    text = b"".join([
        *trace, *(octets for _, octets in protected), *(octets for _, octets in unprotected),
        b"MIME-Version: 1.0\r\n", *structural, b"\r\n", inside.body,
    ])  # fmt: skip
    return Unwrapped(text, _names([*unprotected, *stripped]), _hidden(protected, outside), remark)


def _fields(section: HeaderSection) -> list[tuple[bytes, bytes]]:
    """Those that say something about the message, by name."""
    return [
        (field.name, _octets(section, field))
        for field in section.fields
        if not _is_structural(field.name) and field.name not in TRACE and field.name not in _DROPPED
    ]


def _value(octets: bytes) -> bytes:
    return b" ".join(octets.partition(b":")[2].split())


def _names(fields: list[tuple[bytes, bytes]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.decode("ascii", "replace") for name, _ in fields))


def _hidden(protected: list[tuple[bytes, bytes]], outside: list[tuple[bytes, bytes]]) -> tuple[str, ...]:
    seen = {(name, _value(octets)) for name, octets in outside}
    return _names([(name, octets) for name, octets in protected if (name, _value(octets)) not in seen])
