"""PGP/MIME (RFC 3156): encrypt and sign in one (§6.2), sign (§5), decrypt, verify. Keys are checked in `openpgp_keys`.

Text comes back whole and authenticated or not at all: packets without integrity protection are refused by the library,
and decryption hands nothing out before the end was seen.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from gatepost.seal.mime import base64_pieces, canonical, with_crlf
from gatepost.seal.model import KnownKey, RecipientKey, Secret, SignatureState, Signer, SigningKey
from gatepost.seal.openpgp_keys import addresses_of, components_of, packets_of
from gatepost.seal.openpgp_library import OpenPgpError, call, library
from gatepost.seal.payload import Framed, MemoryFile, Payload, multipart_signed

_NO_KEY: Final = "none of the private keys opens it"
_MARKER: Final = b"\xca\x03PGP"  # a packet that every reader skips (RFC 9580 §5.8)
_COMPRESSED: Final = (
    "the signature lies inside of compressed text, where it cannot be checked here; ask for one that is not compressed"
)


class PgpText(msgspec.Struct, frozen=True):
    """What was decrypted or verified, and by whom it is signed. text: None where the signature does not hold."""

    text: bytes | None
    signature: SignatureState
    signer: Signer | None = None
    remark: str = ""


def encrypt_mime(payload: Payload, keys: Sequence[RecipientKey], signer: SigningKey | None) -> Iterator[bytes]:
    """The fields of MIME and the body of a message that holds `payload` encrypted to `keys`. Raises OpenPgpError."""
    certs = [call(library().Cert.from_bytes, key.material) for key in keys]
    by = _signer(signer) if signer else None
    if payload.file is not None:
        armoured = _armoured(_encrypted_file(payload.file, certs, by))
    else:
        armoured = with_crlf((call(lambda: library().encrypt(payload.whole(), recipients=certs, signer=by)),))
    boundary = b"=_" + secrets.token_hex(16).encode()
    before = b"".join([
        b'MIME-Version: 1.0\r\nContent-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n boundary="',
        boundary, b'"\r\n\r\n--', boundary,
        b"\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--", boundary,
        b'\r\nContent-Type: application/octet-stream; name="encrypted.asc"\r\n'
        b'Content-Disposition: inline; filename="encrypted.asc"\r\n\r\n',
    ])  # fmt: skip
    return chain((before,), armoured, (b"\r\n--" + boundary + b"--\r\n",))


def sign_mime(payload: Payload, key: SigningKey) -> Framed:
    """A multipart/signed entity around `payload`, which is fit to be signed (`seven_bit`). Raises OpenPgpError."""
    by, mode = _signer(key), library().SignatureMode.DETACHED
    if payload.file is not None:
        file, into = payload.file, MemoryFile()
        call(lambda: library().sign_file(by, file.path, into.path, mode=mode))
        armour = b"".join(into.once())
    else:
        armour = call(lambda: library().sign(by, payload.whole(), mode=mode))
    digest = str(call(library().Sig.from_bytes, armour).hash_algorithm).rpartition(".")[2].lower().encode()
    signature = (
        b'Content-Type: application/pgp-signature; name="signature.asc"\r\n'
        b"Content-Description: OpenPGP digital signature\r\n"
        b'Content-Disposition: attachment; filename="signature.asc"\r\n\r\n' + canonical(armour)
    )
    return multipart_signed(payload, b"application/pgp-signature", b'"pgp-' + digest + b'"', signature)


def _encrypted_file(file: MemoryFile, certs: Sequence[Any], by: Any) -> MemoryFile:
    """Of octets the library makes several copies; of a file it holds no more than a piece. Its armour would be written
    line by line, which takes longer than all the rest."""
    into = MemoryFile()
    call(lambda: library().encrypt_file(file.path, into.path, recipients=certs, signer=by, armor=False))
    return into


def _armoured(packets: MemoryFile) -> Iterator[bytes]:
    """Without a checksum (RFC 9580 §6.1), whose lack GnuPG 2.2 takes for the end of the data only behind a "="."""
    marker = _MARKER if packets.octets % 3 == 0 else b""
    yield b"-----BEGIN PGP MESSAGE-----\r\n\r\n"
    yield from base64_pieces(chain((marker,), packets.once()))
    yield b"-----END PGP MESSAGE-----\r\n"


def _signer(key: SigningKey) -> Any:
    return call(lambda: library().Tsk.from_bytes(key.material).signer(key.passphrase))


def decrypt(packets: bytes, openers: Sequence[Secret], known: Sequence[KnownKey]) -> PgpText:
    """The text of an encrypted message. Raises OpenPgpError when none of `openers` opens it whole."""
    decryptors, reasons = _decryptors(openers)
    if not decryptors:
        raise OpenPgpError(reasons[0] if reasons else "there is no private key of OpenPGP to open it with")
    certificates = _Certificates(known)
    failure = OpenPgpError(_NO_KEY)
    for decryptor in decryptors:
        try:
            plain = _decrypted(packets, decryptor)
        except OpenPgpError as error:
            explained = _explained(error)
            failure = failure if str(explained) == _NO_KEY else explained  # of the key that it is for
            continue
        if not _is_signed(packets, decryptor):
            return PgpText(bytes(plain.bytes), "none")
        return _signed(packets, decryptor, bytes(plain.bytes), certificates)
    if str(failure) == _NO_KEY and reasons:
        raise OpenPgpError(f"{_NO_KEY}; {reasons[0]}")
    raise failure


def _decrypted(packets: bytes, decryptor: Any) -> Any:
    return call(lambda: library().decrypt(packets, decryptor=decryptor))


def _explained(error: OpenPgpError) -> OpenPgpError:
    text = str(error)
    if "No key to decrypt" in text:
        return OpenPgpError(_NO_KEY)
    if "Policy rejected packet" in text:
        return OpenPgpError("it is encrypted without protection against changes (no MDC), or in the way of a draft")
    if "Policy rejected symmetric" in text:
        return OpenPgpError("it is encrypted with a cipher that is not safe any more, such as 3DES or CAST5")
    if "Malformed OpenPGP message" in text:
        return OpenPgpError("it was damaged, or is compressed in a way that is not understood (BZip2)")
    return OpenPgpError(f"it was changed on its way, or damaged ({text})")


def _is_signed(packets: bytes, decryptor: Any) -> bool:
    """Whether there is a signature inside: with nobody's certificate at hand, the library says which it misses."""
    asked: list[object] = []

    def none(key_ids: list[str]) -> list[object]:
        asked.extend(key_ids)
        return []

    try:
        call(lambda: library().decrypt(packets, decryptor=decryptor, store=none))
    except OpenPgpError:
        return bool(asked)
    return bool(asked)


def _signed(packets: bytes, decryptor: Any, text: bytes, certificates: _Certificates) -> PgpText:
    try:
        plain = call(lambda: library().decrypt(packets, decryptor=decryptor, store=certificates.find))
    except OpenPgpError as error:
        if "message structure" in str(error):
            # The library decrypts what gpg compressed before encrypting, but follows no signature into it. The text is
            # authenticated by the encryption all the same; who wrote it stays open, as if nobody had signed.
            return PgpText(text, "unknown", Signer(fingerprint=certificates.asked), _COMPRESSED)
        if certificates.has_found:
            return PgpText(None, "bad")
        return PgpText(text, "unknown", Signer(fingerprint=certificates.asked))
    return _vouched(text, plain.valid_sigs, certificates)


def _vouched(text: bytes, signatures: Sequence[Any], certificates: _Certificates) -> PgpText:
    for signature in signatures:
        key = certificates.known_as(signature.certificate)
        if key is not None:
            signer = Signer(
                fingerprint=signature.certificate.lower(), addresses=addresses_of(key.material), source=key.source,
                trusted_because=key.trusted_because,
            )  # fmt: skip
            return PgpText(text, "good" if key.trusted_because else "untrusted", signer)
    return PgpText(text, "unknown", Signer(fingerprint=certificates.asked))


def verify_detached(signed: bytes, signature: bytes, known: Sequence[KnownKey]) -> PgpText:
    """Who signed `signed`. Raises OpenPgpError for a signature that is none."""
    certificates = _Certificates(known)
    parsed = call(library().Sig.from_bytes, signature)
    try:
        result = call(lambda: library().verify(bytes=signed, store=certificates.find, signature=parsed))
    except OpenPgpError:
        if certificates.has_found:
            return PgpText(None, "bad")
        return PgpText(signed, "unknown", Signer(fingerprint=certificates.asked or parsed.issuer_fingerprint or ""))
    found = _vouched(signed, result.valid_sigs, certificates)
    if found.signer is None or parsed.created is None:
        return found
    return msgspec.structs.replace(found, signer=msgspec.structs.replace(found.signer, signed_at=parsed.created))


class _Certificates:
    """Certificates by the key IDs of their parts, as the library asks for them, and what it asked for."""

    def __init__(self, known: Sequence[KnownKey]) -> None:
        self._by_fingerprint: dict[str, tuple[KnownKey, Any]] = {}
        self._parts: dict[str, list[str]] = {}
        self.asked = ""
        self.has_found = False
        for key in known:
            if key.kind == "openpgp":
                self._add(key)

    def _add(self, key: KnownKey) -> None:
        try:
            cert = call(library().Cert.from_bytes, key.material)
            for packet in packets_of(bytes(cert)):
                for name in (packet.fingerprint, packet.key_id):
                    if name:
                        self._parts.setdefault(name.lower(), []).append(cert.fingerprint.lower())
        except OpenPgpError:
            return  # a key that cannot be read vouches for nobody
        before = self._by_fingerprint.get(cert.fingerprint.lower())
        if before is None or not before[0].trusted_because:
            self._by_fingerprint[cert.fingerprint.lower()] = (key, cert)

    def find(self, key_ids: list[str]) -> list[Any]:
        """The certificates that hold any of `key_ids`."""
        self.asked = self.asked or (key_ids[0].lower() if key_ids else "")
        names = {name for each in key_ids for name in self._parts.get(each.lower(), ())}
        self.has_found = self.has_found or bool(names)
        return [self._by_fingerprint[name][1] for name in sorted(names)]

    def known_as(self, fingerprint: str) -> KnownKey | None:
        """The key that has this certificate."""
        found = self._by_fingerprint.get(fingerprint.lower())
        return found[0] if found else None


def _decryptors(openers: Sequence[Secret]) -> tuple[list[Any], list[str]]:
    """One for each part of each key: the library looks for one part alone. Raises nothing."""
    found, reasons = [], []
    for secret in openers:
        if secret.kind != "openpgp":
            continue
        try:
            for material in _by_subkey(secret.material):
                try:
                    found.append(_decryptor(material, secret.passphrase))
                except OpenPgpError as error:
                    reasons.append(_locked(str(error), secret.passphrase, material))
        except OpenPgpError as error:
            reasons.append(f"the private key of OpenPGP cannot be read: {error}")
    return found, reasons


def _decryptor(packets: list[Any], passphrase: str | None) -> Any:
    return call(lambda: library().Tsk.from_packets(packets).decryptor(passphrase))


def _locked(text: str, passphrase: str | None, packets: list[Any]) -> str:
    if "No suitable decryption subkey" in text:
        names = [packet.fingerprint for packet in packets if str(packet.tag).endswith(("SecretKey", "SecretSubkey"))]
        prolong = f'"gpg --quick-set-expire {names[0]} 1y"'
        if names[1:]:
            prolong += f' and "gpg --quick-set-expire {names[0]} 1y {names[1]}"'
        # The library has no way to decrypt with one that expired, nor to look at it as of another day.
        return f"the private key {names[0]} of OpenPGP expired, or has no part that decrypts; {prolong} prolong it"
    return f"the private key of OpenPGP is locked: {'the passphrase is wrong' if passphrase else 'it has a passphrase'}"


def _by_subkey(material: bytes) -> list[list[Any]]:
    """The key once for each of its secret subkeys, with that one alone; the whole where it has none."""
    components = components_of(material)
    head: list[Any] = []
    subkeys: list[list[Any]] = []
    for component in components:
        packets = [component.packet, *component.signatures]
        if str(component.packet.tag).endswith("SecretSubkey"):
            subkeys.append(packets)
        elif not str(component.packet.tag).endswith("PublicSubkey"):
            head += packets
    usable = [packets for packets in subkeys if any(_is_to_encrypt(each) for each in packets[1:])]
    return [[*head, *packets] for packets in usable] or [head]


def _is_to_encrypt(signature: Any) -> bool:
    flags = signature.key_flags
    return flags is not None and bool(flags.transport_encryption or flags.storage_encryption)


def is_locked(material: bytes) -> bool:
    """Whether the private key in `material` needs a passphrase; one that cannot be read needs none. Raises nothing."""
    try:
        tsk = call(library().Tsk.from_bytes, material)
        call(tsk.signer)
    except OpenPgpError as error:
        return "is encrypted" in str(error)
    return False
