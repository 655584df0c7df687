"""Signing a message that stays readable: multipart/signed (RFC 1847), as PGP/MIME or S/MIME, with its header protected.

Not here: signing what is encrypted too (`sealing`), and which key signs for whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gatepost.seal import openpgp, smime
from gatepost.seal.detect import layer_of
from gatepost.seal.mime import parse, with_crlf
from gatepost.seal.model import Kind, Refused, SealOptions, SignedBy, SigningKey
from gatepost.seal.openpgp_library import OpenPgpError
from gatepost.seal.payload import Payload
from gatepost.seal.protected_headers import wrap
from gatepost.seal.sealing import expired, failed
from gatepost.seal.seven_bit import seven_bit
from gatepost.seal.smime_keys import KeyLocked

# Where both would do: programs that know S/MIME only are more than those that know OpenPGP only.
PREFERRED: Final[tuple[Kind, ...]] = ("smime", "openpgp")


def chosen_signer(signers: Sequence[SigningKey], kinds: Sequence[Kind] = PREFERRED) -> SigningKey | None:
    """The one of `signers` that signs a message which has no key of a recipient to go by; None where none is of
    `kinds`."""
    usable = [each for kind in PREFERRED for each in signers if each.kind == kind and kind in kinds]
    return usable[0] if usable else None


def sign(message: bytes, signer: SigningKey, options: SealOptions) -> bytes | Refused:
    """`message` signed by `signer`, as `sign_pieces` does it. Raises nothing."""
    octets = []
    for each in sign_pieces((message,), signer, options):
        match each:
            case Refused():
                return each
            case bytes():
                octets.append(each)
    return b"".join(octets)


def sign_pieces(
    message: Iterable[bytes], signer: SigningKey, options: SealOptions
) -> Iterator[SignedBy | bytes | Refused]:
    """First who signed, then the pieces of the signed message; a refusal ends it, at any place.

    Parts that are not fit to be signed are encoded before (`seven_bit`). Bcc is removed, and a DKIM signature, which is
    about the body as it was, moves inside. What is encrypted or signed as a whole is refused ("sealed", "signed").
    """
    fault = expired(signer, options)
    if fault is not None:
        yield fault
        return
    entity = parse(b"".join(with_crlf(message)))
    layer = layer_of(entity)
    if layer is not None:
        yield (
            Refused("sealed", "the message is encrypted; it stays as it is")
            if layer.what == "encrypted"
            else Refused("signed", "the message is signed already; it is not signed twice")
        )
        return
    is_ascii = not entity.header.values(b"content-type") and entity.body.isascii()
    wrapped = wrap(entity.header, hide_subject=False, is_ascii=is_ascii, is_encrypted=False)
    octets = b"".join((wrapped.inner, memoryview(entity.octets)[entity.body_at :]))
    del entity, layer  # large messages are held as seldom as can be
    payload = Payload(seven_bit(octets))
    del octets
    try:
        if signer.kind == "openpgp":
            signed = openpgp.sign_mime(payload, signer)
        else:
            signed = smime.sign_mime(payload, signer, options.now)
        yield SignedBy(kind=signer.kind, signer=signer.fingerprint)
        yield wrapped.outer + b"MIME-Version: 1.0\r\n"
        yield from signed
    except (KeyLocked, OpenPgpError, ValueError) as error:
        yield failed(error, "sign", "signer")
    finally:
        payload.close()
