"""AuthEnvelopedData with AES-GCM (RFC 5083, RFC 5084) and EnvelopedData with AES-CBC, written and read.

The key travels by RSA-OAEP (RFC 3560) or ECDH (RFC 5753); PKCS #1 v1.5 is read only. Whether what CBC gave may be shown
is for the caller: it is not authenticated.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.ciphers import AEADEncryptionContext, Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF

from gatepost.seal.cms import ber
from gatepost.seal.cms import identifiers as ids
from gatepost.seal.cms.ber import BerError, Node
from gatepost.seal.cms.names import issuer_and_serial, key_identifier
from gatepost.seal.model import Cipher as CipherName
from gatepost.seal.payload import Pieces

GCM_NONCE_OCTETS, GCM_TAG_OCTETS, BLOCK_BITS = 12, 16, 128

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class CannotOpen(ValueError):
    """It was not opened; the message says why."""


class OpenedContent(msgspec.Struct, frozen=True):
    """content: what was inside. is_authenticated: nobody could have changed it."""

    content: bytes
    is_authenticated: bool


class Opener(msgspec.Struct, frozen=True):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey


def envelop(content: Pieces, certificates: Sequence[x509.Certificate], cipher: CipherName) -> Iterator[bytes]:
    """A ContentInfo in DER that the owners of `certificates` can open, piece by piece. Raises ValueError for a key of
    another kind."""
    key = secrets.token_bytes(32)
    infos = ber.set_of(_recipient_info(key, certificate) for certificate in certificates)
    if cipher == "aes-256-gcm":
        nonce = secrets.token_bytes(GCM_NONCE_OCTETS)
        parameters = ber.sequence(ber.octet_string(nonce), ber.integer(GCM_TAG_OCTETS))
        heads = _heads(
            ids.AUTH_ENVELOPED_DATA, ber.integer(0) + infos, ber.algorithm(ids.AES256_GCM, parameters),
            content.octets, len(ber.octet_string(bytes(GCM_TAG_OCTETS))),
        )  # fmt: skip
        return _by_gcm(heads, content, Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor())
    iv = secrets.token_bytes(16)
    # Version 2 as soon as one recipient agrees on a key (RFC 5652 §6.1).
    version = 0 if all(isinstance(each.public_key(), rsa.RSAPublicKey) for each in certificates) else 2
    padded = content.octets + 16 - content.octets % 16
    algorithm = ber.algorithm(ids.AES256_CBC, ber.octet_string(iv))
    heads = _heads(ids.ENVELOPED_DATA, ber.integer(version) + infos, algorithm, padded, 0)
    return _by_cbc(heads, content, Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor())


def _heads(name: str, before: bytes, algorithm: bytes, octets: int, behind: int) -> bytes:
    """All that stands before the ciphertext of so many octets, which so many others follow."""
    start = ber.oid(ids.DATA) + algorithm + ber.head(0x80, octets)
    encrypted = ber.head(ber.SEQUENCE, len(start) + octets) + start
    inner = before + encrypted
    body = ber.head(ber.SEQUENCE, len(inner) + octets + behind) + inner
    info = ber.oid(name) + ber.head(0xA0, len(body) + octets + behind) + body
    return ber.head(ber.SEQUENCE, len(info) + octets + behind) + info


def _by_gcm(heads: bytes, content: Pieces, encryptor: AEADEncryptionContext) -> Iterator[bytes]:
    yield heads
    for piece in content:
        yield encryptor.update(piece)
    yield encryptor.finalize() + ber.octet_string(encryptor.tag)


def _by_cbc(heads: bytes, content: Pieces, encryptor: CipherContext) -> Iterator[bytes]:
    yield heads
    padder = padding.PKCS7(BLOCK_BITS).padder()
    for piece in content:
        yield encryptor.update(padder.update(piece))
    yield encryptor.update(padder.finalize()) + encryptor.finalize()


def _recipient_info(key: bytes, certificate: x509.Certificate) -> bytes:
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        digest = ber.algorithm(ids.SHA256, ber.NULL_VALUE)
        parameters = ber.sequence(ber.tlv(0xA0, digest), ber.tlv(0xA1, ber.algorithm(ids.MGF1, digest)))
        encrypted = public.encrypt(key, OAEP(MGF1(hashes.SHA256()), hashes.SHA256(), None))
        return ber.sequence(
            ber.integer(0),
            issuer_and_serial(certificate),
            ber.algorithm(ids.RSA_OAEP, parameters),
            ber.octet_string(encrypted),
        )
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("the certificate's key is neither RSA nor of an elliptic curve of NIST")
    ephemeral = ec.generate_private_key(public.curve)
    wrap = ber.algorithm(ids.AES256_WRAP)
    derived = X963KDF(hashes.SHA256(), 32, _shared_info(wrap, None, 256)).derive(ephemeral.exchange(ec.ECDH(), public))
    point = ephemeral.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    originator = ber.tlv(0xA1, ber.algorithm(ids.EC_PUBLIC_KEY), ber.bit_string(point))
    encrypted_key = ber.sequence(issuer_and_serial(certificate), ber.octet_string(keywrap.aes_key_wrap(derived, key)))
    return ber.tlv(
        0xA1,
        ber.integer(3),
        ber.tlv(0xA0, originator),
        ber.algorithm(ids.ECDH_SHA256_KDF, wrap),
        ber.sequence(encrypted_key),
    )


def _shared_info(wrap: bytes, ukm: bytes | None, bits: int) -> bytes:
    """ECC-CMS-SharedInfo (RFC 5753 §7.2). wrap: the AlgorithmIdentifier as it was written."""
    entity = ber.tlv(0xA0, ber.octet_string(ukm)) if ukm is not None else b""
    return ber.sequence(wrap, entity, ber.tlv(0xA2, ber.octet_string(bits.to_bytes(4, "big"))))


def open_envelope(content_type: str, data: Node, openers: Sequence[Opener]) -> OpenedContent:
    """What (Auth)EnvelopedData `data` holds. Raises CannotOpen or BerError."""
    children = list(data.expect(ber.SEQUENCE, 3).children[1:])
    if children[0].tag == 0xA0:  # originatorInfo, which opens nothing
        children.pop(0)
    if len(children) < 2:
        raise BerError("it ends too early")
    infos = children[0].expect(ber.SET)
    content = children[1].expect(ber.SEQUENCE, 3)
    algorithm = content.children[1].expect(ber.SEQUENCE, 2)
    name = algorithm.children[0].oid()
    sizes = ids.AES_GCM if content_type == ids.AUTH_ENVELOPED_DATA else ids.AES_CBC
    if name not in sizes:
        raise CannotOpen(f"it is encrypted with an algorithm ({name}) that is not understood, or not safe enough")
    keys = [key for key in _content_keys(infos, openers) if len(key) == sizes[name]]
    if not keys:
        raise CannotOpen("none of the private keys opens it")
    if content.children[2].tag not in (0x80, 0xA0):
        raise BerError("the content is missing")
    ciphertext = content.children[2].view()
    if content_type != ids.AUTH_ENVELOPED_DATA:
        return OpenedContent(_from_cbc(keys[0], algorithm.children[1].octets(), ciphertext), False)
    attributes = children[2] if len(children) > 2 and children[2].tag == 0xA1 else None
    mac = children[3 if attributes else 2] if len(children) > (3 if attributes else 2) else None
    if mac is None:
        raise BerError("the tag is missing")
    if attributes is None and content.children[0].oid() != ids.DATA:
        raise BerError("its kind of content needs attributes")
    aad = bytes((ber.SET,)) + attributes.raw[1:] if attributes else b""
    return OpenedContent(_from_gcm(keys, algorithm.children[1], ciphertext, mac.octets(), aad), True)


def _from_gcm(keys: Sequence[bytes], parameters: Node, ciphertext: bytes | memoryview, tag: bytes, aad: bytes) -> bytes:
    nonce = parameters.expect(ber.SEQUENCE, 1).children[0].octets()
    length = parameters.children[1].integer() if len(parameters.children) > 1 else 12
    if len(tag) != length or not 12 <= length <= 16 or not 8 <= len(nonce) <= 128:
        raise BerError("the parameters of AES-GCM are not sound")
    for key in keys:
        decryptor = Cipher(algorithms.AES(key), modes.GCM(nonce, tag, min_tag_length=12)).decryptor()
        decryptor.authenticate_additional_data(aad)
        content = decryptor.update(ciphertext)
        try:
            decryptor.finalize()  # gives no octets, and says whether the others may be shown
        except InvalidTag:
            continue
        return content
    raise CannotOpen("it was changed on its way, or damaged: its tag does not fit")


def _from_cbc(key: bytes, iv: bytes, ciphertext: bytes | memoryview) -> bytes:
    if len(iv) != 16 or len(ciphertext) % 16 or not ciphertext:
        raise BerError("the parameters of AES-CBC are not sound")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(BLOCK_BITS).unpadder()
    try:
        return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()
    except ValueError:
        raise CannotOpen("it was changed on its way, or damaged") from None


def _content_keys(infos: Node, openers: Sequence[Opener]) -> list[bytes]:
    found: list[bytes] = []
    for info in infos.children[:1000]:
        for opener in openers:
            try:
                if info.tag == ber.SEQUENCE and isinstance(opener.key, rsa.RSAPrivateKey):
                    found += _transported(info, opener.certificate, opener.key)
                elif info.tag == 0xA1 and isinstance(opener.key, ec.EllipticCurvePrivateKey):
                    found += _agreed(info, opener.certificate, opener.key)
            except (ValueError, keywrap.InvalidUnwrap):
                continue  # it is said at the end that no key fits
    return found


def _is_for(identifier: Node, certificate: x509.Certificate) -> bool:
    if identifier.tag == ber.SEQUENCE:
        return identifier.raw == issuer_and_serial(certificate)
    if identifier.tag == 0x80:
        return identifier.contents == key_identifier(certificate)
    if identifier.tag == 0xA0:  # an identifier with a date behind it, in key agreement
        return bool(identifier.children) and identifier.children[0].octets() == key_identifier(certificate)
    return False


def _transported(info: Node, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> list[bytes]:
    _, identifier, algorithm, encrypted = info.expect(ber.SEQUENCE, 4).children[:4]
    if not _is_for(identifier, certificate):
        return []
    scheme: AsymmetricPadding
    if algorithm.expect(ber.SEQUENCE, 1).children[0].oid() == ids.RSA_OAEP:
        scheme = _oaep(algorithm.children[1] if len(algorithm.children) > 1 else None)
    elif algorithm.children[0].oid() == ids.RSA:
        scheme = PKCS1v15()  # OpenSSL answers with a random key where the padding is wrong
    else:
        return []
    return [key.decrypt(encrypted.octets(), scheme)]


def _oaep(parameters: Node | None) -> OAEP:
    digest: hashes.HashAlgorithm = hashes.SHA1()
    mask: hashes.HashAlgorithm = hashes.SHA1()
    for child in parameters.expect(ber.SEQUENCE).children if parameters else ():
        inner = child.only().expect(ber.SEQUENCE, 1)
        if child.tag == 0xA0:
            digest = _digest(inner)
        elif child.tag == 0xA1 and inner.children[0].oid() == ids.MGF1 and len(inner.children) > 1:
            mask = _digest(inner.children[1])
        elif child.tag == 0xA2 and len(inner.children) > 1 and not inner.children[1].octets():
            continue
        else:
            raise BerError("the parameters of RSA-OAEP are not understood")
    return OAEP(MGF1(mask), digest, None)


def _digest(algorithm: Node) -> hashes.HashAlgorithm:
    found = ids.OAEP_DIGESTS.get(algorithm.expect(ber.SEQUENCE, 1).children[0].oid())
    if found is None:
        raise BerError("a digest is not understood")
    return found()


def _agreed(info: Node, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> list[bytes]:
    children = list(info.expect(0xA1, 4).children[1:])
    originator = children.pop(0).expect(0xA0).only().expect(0xA1, 2)
    ukm = children.pop(0).only().octets() if children[0].tag == 0xA1 else None
    if len(children) < 2:
        raise BerError("it ends too early")
    algorithm, encrypted_keys = children[0].expect(ber.SEQUENCE, 2), children[1].expect(ber.SEQUENCE)
    digest, wrap = ids.ECDH.get(algorithm.children[0].oid()), algorithm.children[1].expect(ber.SEQUENCE, 1)
    size = ids.AES_WRAP.get(wrap.children[0].oid())
    if digest is None or size is None:
        return []
    public = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, originator.children[1].bits())
    secret = key.exchange(ec.ECDH(), public)
    derived = X963KDF(digest(), size, _shared_info(wrap.raw, ukm, size * 8)).derive(secret)
    return [
        keywrap.aes_key_unwrap(derived, pair.children[1].octets())
        for pair in encrypted_keys.children[:1000]
        if len(pair.children) == 2 and _is_for(pair.children[0], certificate)
    ]
