"""Whether a message is encrypted or signed, by its structure (RFC 3156, RFC 8551) and never by its words.

A wrapper around clear text does not pass: armour is taken off and the packets are walked, the CMS is read, and text
beside the encrypted part counts as clear. No cryptography: whether anybody can open it, nobody can tell from outside.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from gatepost.seal.cms import ber
from gatepost.seal.cms import identifiers as ids
from gatepost.seal.mime import Entity, canonical, decoded, from_base64, parse, split_multipart
from gatepost.seal.model import Kind

_ARMOUR: Final = re.compile(rb"\s*-----BEGIN PGP MESSAGE-----[ \t]*\r\n(?:[A-Za-z]+: [^\r\n]*\r\n)*[ \t]*\r\n")
_ARMOUR_END: Final = b"-----END PGP MESSAGE-----"
_CHECKSUM: Final = re.compile(rb"\r\n=[A-Za-z0-9+/]{4}\s*\Z")
_TAIL_OCTETS: Final = 80  # in which a checksum and white space behind it stand
_PKESK, _SKESK, _SED, _MARKER, _SEIPD, _AED, _PADDING = 1, 3, 9, 10, 18, 20, 21
_SMIME: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_SMIME_SIGNATURE: Final = ("application/pkcs7-signature", "application/x-pkcs7-signature")


class Layer(msgspec.Struct, frozen=True):
    """The outermost layer. data: the ciphertext, or the signature; for "opaque" (S/MIME), content and signature in
    one. signed: what a detached signature covers."""

    kind: Kind
    what: Literal["encrypted", "signed", "opaque"]
    data: bytes
    signed: bytes = b""


def is_sealed(message: bytes) -> Kind | None:
    """How `message` is encrypted as a whole, None when anything of its body is in clear (signed only is in clear)."""
    layer = layer_of(parse(canonical(message)))
    return layer.kind if layer is not None and layer.what == "encrypted" else None


def may_be_sealed(entity: Entity) -> bool:
    """Whether the type says that it is; where not, nothing of the body has to be looked at."""
    return entity.content_type.name in (*_SMIME, "multipart/encrypted")


def layer_of(entity: Entity) -> Layer | None:
    """The outermost layer of encryption or signature that is the whole of `entity`, None when there is none."""
    kind = entity.content_type
    if kind.name in _SMIME:
        return _smime(entity)
    if kind.name not in ("multipart/encrypted", "multipart/signed"):
        return None
    found = split_multipart(entity.body, kind.parameters.get("boundary", ""))
    if found is None or not found.is_closed or len(found.parts) != 2 or _has_text(found.surroundings):
        return None
    first, second = found.parts[0], parse(found.parts[1])
    if kind.name == "multipart/encrypted":
        return _pgp_mime(parse(first), second) if kind.get("protocol") == "application/pgp-encrypted" else None
    data = decoded(second)
    if data is None:
        return None
    if kind.get("protocol") == "application/pgp-signature" == second.content_type.name:
        return Layer("openpgp", "signed", data, first)
    if kind.get("protocol") in _SMIME_SIGNATURE and second.content_type.name in _SMIME_SIGNATURE:
        return Layer("smime", "signed", data, first)
    return None


def _has_text(surroundings: bytes) -> bool:
    """Whether a preamble or an epilogue says more than that the reader needs another program (in one short line)."""
    text = surroundings.strip()
    return bool(text) and not re.fullmatch(rb"This is an OpenPGP/MIME [a-z ]+ \([^()\r\n]{1,60}\)|"
                                           rb"This is an S/MIME signed message", text)  # fmt: skip


def _pgp_mime(control: Entity, encrypted: Entity) -> Layer | None:
    """RFC 3156 §4: a control part with a version, and octets in armour."""
    if control.content_type.name != "application/pgp-encrypted" or control.body.strip().lower() != b"version: 1":
        return None
    data = decoded(encrypted)
    if encrypted.content_type.name != "application/octet-stream" or data is None:
        return None
    packets = _dearmoured(data)
    return Layer("openpgp", "encrypted", packets) if packets is not None and is_encrypted_message(packets) else None


def _dearmoured(text: bytes) -> bytes | None:
    match, end = _ARMOUR.match(text), text.rfind(_ARMOUR_END)
    if match is None or end < match.end() or text[end + len(_ARMOUR_END) :].strip():
        return None
    checksum = _CHECKSUM.search(text, max(match.end(), end - _TAIL_OCTETS), end)
    return from_base64(text[match.end() : checksum.start() if checksum else end])  # the only copy of what may be large


def is_encrypted_message(packets: bytes) -> bool:
    """Whether `packets` are an OpenPGP message that is encrypted as a whole (RFC 9580 §10.3): session keys, then one
    packet of ciphertext, nothing in clear. Raises nothing."""
    at, has_key, has_data = 0, False, False
    while at < len(packets):
        step = _packet(packets, at)
        if step is None:
            return False
        tag, at = step
        if tag in (_MARKER, _PADDING):
            continue
        if has_data or tag not in (_PKESK, _SKESK, _SED, _SEIPD, _AED):
            return False
        if tag in (_PKESK, _SKESK):
            has_key = True
        else:
            has_data = True
    return has_key and has_data


def _packet(packets: bytes, at: int) -> tuple[int, int] | None:
    """(tag, where the next one begins) of the packet at `at` (RFC 9580 §4.2), None for what is none."""
    octet = packets[at]
    at += 1
    if not octet & 0x80:
        return None
    if not octet & 0x40:  # the old format
        size = (1, 2, 4, 0)[octet & 3]
        if not size:
            return (octet >> 2) & 0x0F, len(packets)
        end = at + size + int.from_bytes(packets[at : at + size], "big")
        return ((octet >> 2) & 0x0F, end) if at + size <= len(packets) and end <= len(packets) else None
    while True:
        if at >= len(packets):
            return None
        first = packets[at]
        if 224 <= first < 255:  # a piece, another one follows
            at += 1 + (1 << (first & 0x1F))
            continue
        if first < 192:
            end = at + 1 + first
        elif first < 224:
            if at + 2 > len(packets):
                return None
            end = at + 2 + ((first - 192) << 8) + packets[at + 1] + 192
        else:
            end = at + 5 + int.from_bytes(packets[at + 1 : at + 5], "big")
        return (octet & 0x3F, end) if end <= len(packets) else None


def _smime(entity: Entity) -> Layer | None:
    """RFC 8551 §3.3, §3.5.2: the CMS says what it is; a parameter that says otherwise makes it none."""
    data = decoded(entity)
    if data is None:
        return None
    try:
        info = ber.read(data).expect(ber.SEQUENCE, 2)
        name = info.children[0].oid()
        body = info.children[1].expect(0xA0).only().expect(ber.SEQUENCE, 3)
        if name in (ids.ENVELOPED_DATA, ids.AUTH_ENVELOPED_DATA):
            infos = body.children[2 if body.children[1].tag == 0xA0 else 1].expect(ber.SET, 1)
            return Layer("smime", "encrypted", data) if infos.children else None
    except (ber.BerError, IndexError):
        return None
    return Layer("smime", "opaque", data) if name == ids.SIGNED_DATA else None
