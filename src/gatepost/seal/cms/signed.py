"""SignedData (RFC 5652 §5), written detached for multipart/signed and read in both forms; trust is `chain`'s.

Digests are SHA-2 only: a signature that rests on SHA-1 or MD5 counts as none that holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from gatepost.seal.cms import ber
from gatepost.seal.cms import identifiers as ids
from gatepost.seal.cms.ber import BerError, Node
from gatepost.seal.cms.certificates import read_certificate
from gatepost.seal.cms.names import issuer_and_serial, key_identifier

SigningPrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
MAX_CERTIFICATES = 50


class BadSignature(ValueError):
    """The signature does not hold; the message says why."""


class SignedContent(msgspec.Struct, frozen=True):
    """A signature that holds. content: what was signed. signer: its certificate, None when nobody has it (and the
    signature could not be checked). others: certificates that came along. signed_at: as the signer claims."""

    content: bytes
    signer: x509.Certificate | None
    others: tuple[x509.Certificate, ...] = ()
    signed_at: datetime | None = None


def sign_detached(
    content: Iterable[bytes], key: SigningPrivateKey, certificates: Sequence[x509.Certificate], now: datetime
) -> bytes:
    """A ContentInfo in DER that signs `content` without holding it. certificates: the signer's own first."""
    is_ed25519 = isinstance(key, ed25519.Ed25519PrivateKey)  # SHA-512 goes with it (RFC 8419 §3.1)
    digest_name, digest = (ids.SHA512, hashes.SHA512()) if is_ed25519 else (ids.SHA256, hashes.SHA256())
    hasher = hashes.Hash(digest)
    for piece in content:
        hasher.update(piece)
    capabilities = ber.sequence(ber.algorithm(ids.AES256_GCM), ber.algorithm(ids.AES256_CBC))
    attributes = [
        _attribute(ids.CONTENT_TYPE, ber.oid(ids.DATA)),
        _attribute(ids.SIGNING_TIME, ber.tlv(ber.UTC_TIME, now.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())),
        _attribute(ids.MESSAGE_DIGEST, ber.octet_string(hasher.finalize())),
        _attribute(ids.SMIME_CAPABILITIES, capabilities),
    ]
    signed = ber.set_of(attributes)
    match key:
        case rsa.RSAPrivateKey():
            signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
            algorithm = ber.algorithm(ids.SHA256_WITH_RSA, ber.NULL_VALUE)
        case ec.EllipticCurvePrivateKey():
            signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
            algorithm = ber.algorithm(ids.ECDSA_WITH_SHA256)
        case _:
            signature, algorithm = key.sign(signed), ber.algorithm(ids.ED25519)
    signer_info = ber.sequence(
        ber.integer(1), issuer_and_serial(certificates[0]), ber.algorithm(digest_name),
        bytes((0xA0,)) + signed[1:], algorithm, ber.octet_string(signature),
    )  # fmt: skip
    body = ber.sequence(
        ber.integer(1), ber.set_of([ber.algorithm(digest_name)]), ber.sequence(ber.oid(ids.DATA)),
        ber.set_of((_der(certificate) for certificate in certificates), tag=0xA0), ber.set_of([signer_info]),
    )  # fmt: skip
    return ber.sequence(ber.oid(ids.SIGNED_DATA), ber.tlv(0xA0, body))


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _attribute(name: str, value: bytes) -> bytes:
    return ber.sequence(ber.oid(name), ber.set_of([value]))


def read_signed(data: Node, detached: bytes | None, known: Sequence[x509.Certificate]) -> SignedContent:
    """What SignedData `data` signs. detached: the content, where it does not hold it. known: certificates at hand.

    Raises BadSignature where no signer's signature holds, BerError for what is no SignedData.
    """
    data.expect(ber.SEQUENCE, 4)
    inner = data.children[2].expect(ber.SEQUENCE, 1)
    content_type = inner.children[0].oid()
    if len(inner.children) > 1:
        held = inner.children[1].expect(0xA0).only().octets()
        if detached is not None and detached != held:
            raise BadSignature("it signs another content than the one beside it")
        content = held
    elif detached is not None:
        content = detached
    else:
        raise BerError("there is no content")
    others = _certificates(data)
    reason = "nobody signed it"
    unknown = False
    for info in data.children[-1].expect(ber.SET).children[:20]:
        signer = _signer(info.expect(ber.SEQUENCE, 5), [*known, *others])
        if signer is None:
            unknown = True
            continue
        try:
            signed_at = _checked(info, signer, content, content_type)
        except (BadSignature, InvalidSignature, UnsupportedAlgorithm) as error:
            reason = str(error) or "the signature does not fit the content: one of them was changed"
            continue
        return SignedContent(content, signer, others, signed_at)
    if unknown:
        return SignedContent(content, None, others)
    raise BadSignature(reason)


def _certificates(data: Node) -> tuple[x509.Certificate, ...]:
    found = []
    place = next((child for child in data.children[3:] if child.tag == 0xA0), None)
    for child in place.children[:MAX_CERTIFICATES] if place else ():
        if child.tag == ber.SEQUENCE:
            try:
                found.append(read_certificate(child.raw))
            except ValueError:
                continue  # one that nobody can read proves nothing
    return tuple(found)


def _signer(info: Node, certificates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    identifier = info.children[1]
    for certificate in certificates:
        if identifier.tag == ber.SEQUENCE and identifier.raw == issuer_and_serial(certificate):
            return certificate
        if identifier.tag == 0x80 and identifier.contents == key_identifier(certificate):
            return certificate
    return None


def _checked(info: Node, signer: x509.Certificate, content: bytes, content_type: str) -> datetime | None:
    """When it was signed, as the signer claims. Raises BadSignature, InvalidSignature or BerError."""
    children = list(info.children[2:])
    digest_class = ids.DIGESTS.get(children.pop(0).expect(ber.SEQUENCE, 1).children[0].oid())
    if digest_class is None:
        raise BadSignature("the signature rests on a digest that is not safe any more, such as SHA-1")
    attributes = children.pop(0) if children and children[0].tag == 0xA0 else None
    if len(children) < 2:
        raise BerError("it ends too early")
    signed, signed_at = content, None
    if attributes is not None:
        values = _attributes(attributes)
        hasher = hashes.Hash(digest_class())
        hasher.update(content)
        if values.get(ids.MESSAGE_DIGEST, _NOTHING).octets() != hasher.finalize():
            raise BadSignature("the content is not the one that was signed: it was changed")
        if ids.CONTENT_TYPE not in values or values[ids.CONTENT_TYPE].oid() != content_type:
            raise BadSignature("the kind of the content is not the one that was signed")
        signed, signed_at = bytes((ber.SET,)) + attributes.raw[1:], _time(values.get(ids.SIGNING_TIME))
    elif content_type != ids.DATA:
        raise BadSignature("a signature of this kind of content needs signed attributes")
    _check(signer, children[0].expect(ber.SEQUENCE, 1), children[1].octets(), signed, digest_class())
    return signed_at


_NOTHING = ber.read(ber.octet_string())


def _attributes(node: Node) -> dict[str, Node]:
    values: dict[str, Node] = {}
    for attribute in node.children[:100]:
        name = attribute.expect(ber.SEQUENCE, 2).children[0].oid()
        if name in values:
            raise BadSignature("an attribute is signed twice")
        if name in (ids.MESSAGE_DIGEST, ids.CONTENT_TYPE, ids.SIGNING_TIME):
            values[name] = attribute.children[1].expect(ber.SET).only()
    return values


def _time(node: Node | None) -> datetime | None:
    if node is None:
        return None
    text = node.contents.decode("ascii", "replace")
    if node.tag == ber.UTC_TIME:  # two digits of a year, up to 2049 (RFC 5652 §11.3)
        text = ("20" if text[:2] < "50" else "19") + text
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _check(
    signer: x509.Certificate, algorithm: Node, signature: bytes, signed: bytes, digest: hashes.HashAlgorithm
) -> None:
    name = algorithm.children[0].oid()
    match signer.public_key():
        case rsa.RSAPublicKey() as public if public.key_size < 2048:
            raise BadSignature(f"the signer's key has {public.key_size} bits, which is too short")
        case rsa.RSAPublicKey() as public if name == ids.RSA_PSS:
            hashed = _pss_digest(algorithm, digest)
            scheme = padding.PSS(padding.MGF1(hashed), padding.PSS.AUTO)
            public.verify(signature, signed, scheme, hashed)
        case rsa.RSAPublicKey() as public if name == ids.RSA or name in ids.RSA_WITH:
            hashed = digest if name == ids.RSA else ids.RSA_WITH[name]()
            public.verify(signature, signed, padding.PKCS1v15(), hashed)
        case ec.EllipticCurvePublicKey() as public if name in ids.ECDSA_WITH:
            public.verify(signature, signed, ec.ECDSA(ids.ECDSA_WITH[name]()))
        case ed25519.Ed25519PublicKey() as public if name == ids.ED25519:
            public.verify(signature, signed)
        case _:
            raise BadSignature("the signature is made with an algorithm that is not understood, or not safe enough")


def _pss_digest(algorithm: Node, digest: hashes.HashAlgorithm) -> hashes.HashAlgorithm:
    parameters = algorithm.children[1].expect(ber.SEQUENCE) if len(algorithm.children) > 1 else None
    stated = parameters.find(0xA0) if parameters else None
    found = ids.DIGESTS.get(stated.only().expect(ber.SEQUENCE, 1).children[0].oid()) if stated else None
    if found is None or not isinstance(digest, found):
        raise BadSignature("the signature rests on a digest that is not safe any more, such as SHA-1")
    return found()
