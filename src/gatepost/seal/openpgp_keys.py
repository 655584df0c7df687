"""Certificates of OpenPGP: checked before anything is encrypted to them, and reduced to what is sound (RFC 9580 §10.1).

The library encrypts to revoked and to expired keys when it is told to, so what may be used is decided here; that a
signature on a key holds is decided by the library. SHA-1 binds nothing, whenever it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from gatepost.seal.cms.names import address_key
from gatepost.seal.model import RecipientKey, RefusalCode, Refused
from gatepost.seal.openpgp_library import OpenPgpError, call, library

if TYPE_CHECKING:
    from pysequoia.packet import Packet

MIN_RSA_BITS = 2048
_STRONG = frozenset({"SHA256", "SHA384", "SHA512", "SHA3_256", "SHA3_512"})
_RSA, _RSA_ENCRYPT, _RSA_SIGN = 1, 2, 3
_DSA_AND_ELGAMAL = (16, 17, 20)
_ALGORITHMS = {18: "ecdh", 19: "ecdsa", 22: "ed25519", 25: "x25519", 26: "x448", 27: "ed25519", 28: "ed448"}
_FAR = timedelta(days=365 * 200)


class Component(msgspec.Struct, frozen=True):
    """A key or a user ID, and the signatures behind it."""

    packet: Packet
    signatures: tuple[Packet, ...]


class _Refusal(Exception):
    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.code: RefusalCode = code


def check_openpgp(material: bytes, address: str, now: datetime) -> RecipientKey | Refused:
    """The certificate as a key for `address` (lower case), or why it is refused. now: aware, UTC."""
    try:
        found = call(library().Cert.split_bytes, material)
        if len(found) != 1:
            raise _Refusal("malformed", f"is {len(found)} keys in one file; one is expected")
        cert = found[0]
        if call(lambda: cert.has_secret_keys) or _holds_secret(material):
            raise _Refusal("secret", "holds a private key; export the public one")
        return _checked(bytes(cert), address, now)
    except OpenPgpError as error:
        code: RefusalCode = "unavailable" if error.is_missing else "malformed"
        return Refused(code, f"the key for {address} cannot be read: {error}", address)
    except _Refusal as refusal:
        return Refused(refusal.code, f"the key for {address} {refusal}", address)


def _holds_secret(material: bytes) -> bool:
    return any(_tag(packet) in ("SecretKey", "SecretSubkey") for packet in packets_of(material))


def _checked(octets: bytes, address: str, now: datetime) -> RecipientKey:
    components = components_of(octets)
    primary, others = components[0], components[1:]
    subkeys = [each for each in others if _tag(each.packet) == "PublicSubkey"]
    _check_strength(primary.packet)
    if _is_revoked(octets, primary):
        raise _Refusal("revoked", "was revoked by its owner")
    user_ids = _user_ids_for(address, octets, primary, others)
    head = [primary.packet, *_own(primary.signatures, primary.packet)]
    for user_id in user_ids:
        head += [user_id.packet, *_own(user_id.signatures, primary.packet)]
    usable: list[Packet] = []
    ends: list[datetime | None] = []
    algorithm, fault = "", _Refusal("no_encryption", "has no part that mail can be encrypted to")
    for subkey in subkeys:
        try:
            binding, end = _encryption_binding(head, subkey, primary.packet, now)
        except _Refusal as refusal:
            fault = refusal if fault.code == "no_encryption" else fault
            continue
        usable += [subkey.packet, binding]
        ends.append(end)
        algorithm = algorithm or _algorithm(subkey.packet)
    if not usable:
        raise fault
    signing = [packet for subkey in subkeys for packet in _signing(subkey, primary.packet)]
    sound = call(library().Cert.from_packets, [*head, *usable, *signing])
    end = call(lambda: sound.expiration)
    if end is not None and end <= now:
        raise _Refusal("expired", f"expired {end:%Y-%m-%d}; its owner has to prolong it")
    all_end = min([*([end] if end else []), *([max(each or now + _FAR for each in ends)] if None not in ends else [])],
                  default=None)  # fmt: skip
    return RecipientKey(
        kind="openpgp", address=address, fingerprint=sound.fingerprint.lower(), material=bytes(sound),
        valid_until=all_end, algorithm=algorithm, user_id=str(user_ids[0].packet.user_id),
    )  # fmt: skip


def packets_of(octets: bytes) -> Iterator[Packet]:
    """The packets of a key, in armour or not. Raises OpenPgpError."""
    return iter(call(lambda: list(library().packet.PacketPile.from_bytes(octets))))


def components_of(octets: bytes) -> list[Component]:
    """The primary key first, then user IDs and subkeys, each with its signatures. Raises OpenPgpError."""
    components: list[tuple[Packet, list[Packet]]] = []
    for packet in packets_of(octets):
        if _tag(packet) != "Signature":
            components.append((packet, []))
        elif components:
            components[-1][1].append(packet)
    if not components or _tag(components[0][0]) not in ("PublicKey", "SecretKey"):
        raise OpenPgpError("it does not begin with a key")
    return [Component(packet, tuple(signatures)) for packet, signatures in components]


def split(material: bytes) -> tuple[bytes, ...]:
    """Each certificate in `material`, binary. Raises OpenPgpError, also where a private key is among them."""
    if _holds_secret(material):
        raise OpenPgpError("it holds a private key")
    return tuple(bytes(each) for each in call(library().Cert.split_bytes, material))


def fingerprint(material: bytes) -> str:
    """Of the primary key, lower-case hex. Raises OpenPgpError."""
    return (components_of(material)[0].packet.fingerprint or "").lower()


def addresses_of(octets: bytes) -> tuple[str, ...]:
    """The addresses that a certificate carries soundly. Raises OpenPgpError."""
    cert = call(library().Cert.from_bytes, octets)
    texts = [str(each) for each in call(lambda: cert.user_ids)]
    emails = [_email(packet) for packet in packets_of(octets) if packet.user_id in texts]
    return tuple(dict.fromkeys(email for email in emails if email))


def _email(packet: Packet) -> str:
    return address_key(packet.user_id_email or packet.user_id or "")


def _tag(packet: Packet) -> str:
    return str(packet.tag).rpartition(".")[2]


def _name(value: object) -> str:
    return str(value).rpartition(".")[2]


def _is_strong(signature: Packet) -> bool:
    return _name(signature.hash_algorithm) in _STRONG


def _own(signatures: Sequence[Packet], primary: Packet) -> list[Packet]:
    """Those that the key itself made, and that rest on a digest that holds."""
    return [each for each in signatures if _is_strong(each) and _is_by(each, primary)]


def _is_by(signature: Packet, primary: Packet) -> bool:
    if signature.issuer_fingerprint:
        return signature.issuer_fingerprint.lower() == (primary.fingerprint or "").lower()
    return (signature.issuer_key_id or "").lower() == (primary.key_id or "").lower()


def _is_revoked(octets: bytes, primary: Component) -> bool:
    cert = call(library().Cert.from_bytes, octets)
    try:
        if call(lambda: cert.is_revoked):
            return True
    except OpenPgpError:
        pass  # nothing binds it; what is missing is told later
    # One that rests on SHA-1 is not looked at by the library. Its owner meant it, and nobody is harmed by a key less.
    return any(
        _name(each.signature_type) == "KeyRevocation" and _is_by(each, primary.packet) and not _is_strong(each)
        for each in primary.signatures
    )


def _check_strength(packet: Packet) -> None:
    body = packet.body
    if len(body) < 12 or body[0] not in (4, 6):
        raise _Refusal("algorithm", "is of a version that is not safe any more; its owner needs a new one")
    number = body[5]
    if number in (_RSA, _RSA_ENCRYPT, _RSA_SIGN):
        if (bits := _rsa_bits(body)) < MIN_RSA_BITS:
            raise _Refusal("short", f"has {bits} bits; {MIN_RSA_BITS} are needed")
    elif number in _DSA_AND_ELGAMAL:
        raise _Refusal("algorithm", "is of DSA or ElGamal, which are not safe any more; its owner needs a new one")


def _rsa_bits(body: bytes) -> int:
    at = 6 if body[0] == 4 else 10
    return int.from_bytes(body[at : at + 2], "big")


def _algorithm(packet: Packet) -> str:
    body = packet.body
    number = body[5]
    return f"rsa{_rsa_bits(body)}" if number in (_RSA, _RSA_ENCRYPT, _RSA_SIGN) else _ALGORITHMS.get(
        number, _name(packet.key_algorithm).lower()
    )  # fmt: skip


def _user_ids_for(address: str, octets: bytes, primary: Component, others: Sequence[Component]) -> list[Component]:
    named = [each for each in others if _tag(each.packet) == "UserID"]
    ours = [each for each in named if _email(each.packet) == address]
    if not ours:
        carried = ", ".join(email for each in named if (email := _email(each.packet))) or "none"
        raise _Refusal("no_address", f"does not carry this address; it carries {carried}")
    strong = [each for each in ours if _own(each.signatures, primary.packet)]
    if not strong:
        raise _Refusal(
            "weak_hash",
            "is bound to the address by SHA-1 or MD5, which can be forged, or by nothing; its owner must sign it anew",
        )
    # Sequoia says which are bound and not revoked; the weak signatures are gone, so it cannot rest on them.
    kept = [primary.packet, *_own(primary.signatures, primary.packet)]
    for each in strong:
        kept += [each.packet, *_own(each.signatures, primary.packet)]
    cert = call(library().Cert.from_packets, kept)
    try:
        sound = {str(each) for each in call(lambda: cert.user_ids)}
    except OpenPgpError:
        raise _Refusal("malformed", "is bound to the address by no signature that holds") from None
    found = [each for each in strong if each.packet.user_id in sound]
    if not found:
        raise _Refusal("revoked", "does not carry this address any more: its owner revoked that")
    return found


def _encryption_binding(
    head: list[Packet], subkey: Component, primary: Packet, now: datetime
) -> tuple[Packet, datetime | None]:
    """The newest signature that makes `subkey` one to encrypt to, and the end of it."""
    of_type: dict[str, list[Packet]] = {}
    for each in subkey.signatures:
        if _is_by(each, primary):
            of_type.setdefault(_name(each.signature_type), []).append(each)
    bindings = [
        each for each in of_type.get("SubkeyBinding", ())
        if (flags := each.key_flags) and (flags.transport_encryption or flags.storage_encryption)
    ]  # fmt: skip
    if not bindings:
        raise _Refusal("no_encryption", "has no part that mail can be encrypted to")
    if of_type.get("SubkeyRevocation"):
        raise _Refusal("revoked", "has a part for encryption that was revoked, and no other")
    strong = [each for each in bindings if _is_strong(each)]
    if not strong:
        raise _Refusal("weak_hash", "is bound by SHA-1 or MD5, which can be forged; its owner has to sign it anew")
    _check_strength(subkey.packet)
    for binding in sorted(strong, key=lambda each: each.signature_created or now - _FAR, reverse=True):
        if not _encrypts([*head, subkey.packet, binding]):
            continue
        created, validity = subkey.packet.key_created, binding.key_validity_period
        end = created + validity if created and validity else None
        if end is not None and end <= now:
            raise _Refusal("expired", f"expired {end:%Y-%m-%d}; its owner has to prolong it")
        if created is not None and created > now + timedelta(days=1):
            raise _Refusal("not_yet_valid", f"is not valid before {created:%Y-%m-%d}")
        return binding, end
    raise _Refusal("no_encryption", "has no part that mail can be encrypted to: no signature on it holds")


def _signing(subkey: Component, primary: Packet) -> list[Packet]:
    """A part that signs, kept so that the reduced key verifies too; nothing when it is another part or revoked."""
    own = [each for each in subkey.signatures if _is_by(each, primary)]
    if any(_name(each.signature_type) == "SubkeyRevocation" for each in own):
        return []
    strong = [each for each in own if _is_strong(each) and (flags := each.key_flags) and flags.signing]
    return [subkey.packet, *strong] if strong else []


def _encrypts(packets: list[Packet]) -> bool:
    """Whether the library takes it as a key to encrypt to, which has it check the signatures."""
    try:
        cert = call(library().Cert.from_packets, packets)
        call(lambda: library().encrypt(b"", recipients=[cert], armor=False))
    except OpenPgpError:
        return False
    return True
