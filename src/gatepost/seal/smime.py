"""S/MIME 4 (RFC 8551): sign as multipart/signed, then envelop; open and verify. The syntax below is in `cms`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gatepost.seal.cms import ber
from gatepost.seal.cms import identifiers as ids
from gatepost.seal.cms.chain import leads_to
from gatepost.seal.cms.enveloped import CannotOpen, OpenedContent, Opener, envelop, open_envelope
from gatepost.seal.cms.names import addresses, fingerprint
from gatepost.seal.cms.signed import BadSignature, SignedContent, read_signed, sign_detached
from gatepost.seal.mime import base64_pieces, canonical, to_base64
from gatepost.seal.model import Cipher, KnownKey, RecipientKey, Secret, SignatureState, Signer, SigningKey
from gatepost.seal.payload import Framed, Payload, Pieces, multipart_signed
from gatepost.seal.smime_keys import KeyLocked, load_certificate, load_private

_SMIME_TYPE = {"aes-256-gcm": b"authEnveloped-data", "aes-256-cbc": b"enveloped-data"}


class SignedText(msgspec.Struct, frozen=True):
    """What was verified, and by whom it is signed. text: None where the signature does not hold."""

    text: bytes | None
    signature: SignatureState
    signer: Signer | None = None
    reason: str = ""


def encrypt_mime(payload: Pieces, keys: Sequence[RecipientKey], cipher: Cipher) -> Iterator[bytes]:
    """The fields of MIME and the body of a message that holds `payload` for `keys`. Raises ValueError."""
    data = envelop(payload, [load_certificate(key.material) for key in keys], cipher)
    head = (
        b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=" + _SMIME_TYPE[cipher] +
        b';\r\n name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n'
        b'Content-Disposition: attachment; filename="smime.p7m"\r\n\r\n'
    )  # fmt: skip
    return chain((head,), base64_pieces(data))


def sign_mime(payload: Payload, key: SigningKey, now: datetime) -> Framed:
    """A multipart/signed entity around `payload`, which is canonical (CRLF). Raises KeyLocked."""
    private = load_private(key.material, key.passphrase, key.certificates)
    if not isinstance(private.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise KeyLocked("the private key of S/MIME is of a kind that cannot sign here; use RSA, ECDSA or Ed25519")
    signature = sign_detached(payload, private.key, private.certificates, now)
    digest = b"sha-512" if isinstance(private.key, ed25519.Ed25519PrivateKey) else b"sha-256"
    part = (
        b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="smime.p7s"\r\n\r\n' + to_base64(signature).removesuffix(b"\r\n")
    )
    return multipart_signed(payload, b"application/pkcs7-signature", digest, part)


def decrypt(data: bytes, openers: Sequence[Secret]) -> OpenedContent:
    """What (Auth)EnvelopedData in `data` holds, as an entity with CRLF. Raises CannotOpen and nothing else."""
    keys: list[Opener] = []
    reason = "there is no private key of S/MIME to open it with"
    for secret in openers:
        if secret.kind != "smime":
            continue
        try:
            private = load_private(secret.material, secret.passphrase, secret.certificates)
        except KeyLocked as error:
            reason = str(error)
            continue
        except ValueError:
            reason = "the certificate of a private key cannot be read"
            continue
        if isinstance(private.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            own = private.key.public_key()
            keys += [Opener(each, private.key) for each in private.certificates if each.public_key() == own]
        else:
            reason = "the private key of S/MIME is of a kind that opens nothing here; RSA and P-256 to P-521 do"
    if not keys:
        raise CannotOpen(reason)
    try:
        info = ber.read(data).expect(ber.SEQUENCE, 2)
        content_type, body = info.children[0].oid(), info.children[1].expect(0xA0).only()
        opened = open_envelope(content_type, body, keys)
    except CannotOpen:
        raise
    except (ValueError, IndexError) as error:  # of strangers' octets; BerError is one
        raise CannotOpen(f"it is malformed: {error}") from None
    return msgspec.structs.replace(opened, content=canonical(opened.content))


def verify(data: bytes, detached: bytes | None, known: Sequence[KnownKey], now: datetime) -> SignedText:
    """Who signed `detached`, or what `data` itself holds. Raises nothing."""
    keys = [key for key in known if key.kind == "smime"]
    certificates: list[tuple[KnownKey, x509.Certificate]] = []
    for key in keys:
        try:
            certificates.append((key, load_certificate(key.material)))
        except ValueError:
            continue  # a certificate that cannot be read vouches for nobody
    try:
        info = ber.read(data).expect(ber.SEQUENCE, 2)
        if info.children[0].oid() != ids.SIGNED_DATA:
            return SignedText(None, "bad", reason="the signature is malformed: it is another kind of data")
        found = read_signed(info.children[1].expect(0xA0).only(), detached, [each for _, each in certificates])
        return _vouched(found, certificates, now)
    except BadSignature as error:
        return SignedText(None, "bad", reason=str(error))
    except (ValueError, IndexError, TypeError) as error:
        return SignedText(None, "bad", reason=f"the signature is malformed: {error}")


def _vouched(found: SignedContent, known: Sequence[tuple[KnownKey, x509.Certificate]], now: datetime) -> SignedText:
    text = canonical(found.content)
    certificate = found.signer
    if certificate is None:
        return SignedText(text, "unknown")
    signer = Signer(fingerprint=fingerprint(certificate), addresses=addresses(certificate), signed_at=found.signed_at)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return SignedText(text, "untrusted", signer)
    for key, each in known:
        if each == certificate and not key.is_anchor:
            vouched = msgspec.structs.replace(signer, source=key.source, trusted_because=key.trusted_because)
            if key.trusted_because:
                return SignedText(text, "good", vouched)
            signer = vouched
    anchors = [(key, each) for key, each in known if key.is_anchor and key.trusted_because]
    between = [*found.others, *(each for key, each in known if not key.is_anchor)]
    if leads_to(certificate, between, [each for _, each in anchors], now):
        names = ", ".join(dict.fromkeys(key.trusted_because for key, _ in anchors))
        return SignedText(text, "good", msgspec.structs.replace(signer, trusted_because=names))
    return SignedText(text, "untrusted", signer)
