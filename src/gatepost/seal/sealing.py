"""Sealing a message for its recipients: one sealed message for each set of them.

Keys are checked once more at the moment of use. Which key belongs to whom, and whether one has to be found, is decided
elsewhere; so is what becomes of recipients without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from gatepost.mail.header import HeaderSection, section_end
from gatepost.mail.header_address import HeaderAddressError, parse_address_list
from gatepost.seal import openpgp, smime
from gatepost.seal.cms.names import address_key
from gatepost.seal.detect import is_sealed, may_be_sealed
from gatepost.seal.keys import check_key
from gatepost.seal.mime import parse, with_crlf
from gatepost.seal.model import (
    Kind,
    RecipientKey,
    RefusalCode,
    Refused,
    Sealed,
    SealedFor,
    SealedMessage,
    SealOptions,
    SigningKey,
)
from gatepost.seal.openpgp_library import OpenPgpError
from gatepost.seal.payload import Payload
from gatepost.seal.protected_headers import wrap
from gatepost.seal.smime_keys import KeyLocked

KINDS: tuple[Kind, ...] = ("openpgp", "smime")
Signers = SigningKey | Sequence[SigningKey] | None


def seal(message: bytes, keys: Mapping[str, RecipientKey], signer: Signers, options: SealOptions) -> Sealed | Refused:
    """`message` encrypted for everybody in `keys`, all of them or nobody.

    keys: by address of the envelope (any letter case); each recipient has to be in it. signer: the author's key, or
    one of each kind; of a kind that has none, messages are not signed. Recipients that neither To nor Cc name get a
    message of their own. Bcc is removed, the line ends become CRLF, all other octets stay. Raises nothing.
    """
    found: list[tuple[SealedFor, list[bytes]]] = []
    for each in seal_pieces((message,), keys, signer, options):
        match each:
            case Refused():
                return each
            case SealedFor():
                found.append((each, []))
            case _:
                found[-1][1].append(each)
    return Sealed(tuple(
        SealedMessage(
            kind=of.kind, recipients=of.recipients, keys=of.keys, is_signed=of.is_signed, signer=of.signer,
            octets=b"".join(pieces),
        )
        for of, pieces in found
    ))  # fmt: skip


def seal_pieces(
    message: Iterable[bytes], keys: Mapping[str, RecipientKey], signer: Signers, options: SealOptions
) -> Iterator[SealedFor | bytes | Refused]:
    """As `seal`, with little more memory than `message` needs: each message is told, then come its pieces.

    A refusal ends it, at any place: what came before is worth nothing then.
    """
    signers = _by_kind(signer)
    fault = _refusal(keys, signers, options)
    if fault is not None:
        yield fault
        return
    header, body = _arrived(message)
    if header is None:
        yield Refused("sealed", "the message is encrypted already; it is not encrypted twice")
        return
    is_ascii = False
    if not header.values(b"content-type"):  # the type that it gets is told by all of it
        body = (b"".join(body),)
        is_ascii = body[0].isascii()
    wrapped = wrap(header, hide_subject=options.hide_subject, is_ascii=is_ascii)
    payload = Payload(chain((wrapped.inner,), body))
    try:
        for kind, group in _groups(header, keys, is_shared=options.is_shared):
            signing = signers.get(kind)
            # Two addresses may share a key, which is named once.
            distinct = list({key.fingerprint: key for key in group.values()}.values())
            pieces = _encrypted(payload, kind, distinct, signing, options)
            yield SealedFor(
                kind=kind, recipients=tuple(group), keys=tuple(key.fingerprint for key in distinct),
                is_signed=signing is not None, signer=signing.fingerprint if signing else "",
            )  # fmt: skip
            yield wrapped.outer
            yield from pieces
    except (KeyLocked, OpenPgpError, ValueError) as error:
        yield failed(error, "seal", "algorithm")
    finally:
        payload.close()  # somebody's traceback may keep it for a while


def failed(error: Exception, what: str, of_smime: RefusalCode) -> Refused:
    """The refusal for what a library raised. what: was to be done ("seal"). of_smime: what is at fault where S/MIME
    does not say."""
    if isinstance(error, KeyLocked):
        return Refused("signer", str(error))
    if isinstance(error, OpenPgpError):
        return Refused("unavailable" if error.is_missing else "signer", f"OpenPGP could not {what} it: {error}")
    return Refused(of_smime, f"S/MIME could not {what} it: {error}")


def _refusal(
    keys: Mapping[str, RecipientKey], signers: Mapping[Kind, SigningKey], options: SealOptions
) -> Refused | None:
    """What forbids it before the message is looked at."""
    if not keys:
        return Refused("no_key", "there is nobody to encrypt to: give a key for each recipient")
    if options.cipher == "aes-256-cbc" and "smime" not in signers and any(key.kind == "smime" for key in keys.values()):
        return Refused("cipher", "AES-CBC does not protect against changes, so it is used with a signature only")
    for each in signers.values():
        if (fault := expired(each, options)) is not None:
            return fault
    for address, key in keys.items():
        fault = _fault(address, key, options)
        if fault is not None:
            return fault
    return None


def expired(signer: SigningKey, options: SealOptions) -> Refused | None:
    """Why it signs nothing any more, None while it does."""
    if signer.valid_until is None or signer.valid_until > options.now:
        return None
    return Refused("signer", f"the key that signs for {signer.address} expired {signer.valid_until:%Y-%m-%d}")


def _arrived(message: Iterable[bytes]) -> tuple[HeaderSection | None, Iterable[bytes]]:
    """The header and the pieces of the body, all with CRLF; no header where it is encrypted already."""
    pieces = with_crlf(message)
    head = b""
    for piece in pieces:
        head, searched = head + piece, len(head)
        if section_end(head, searched) >= 0:
            break
    entity = parse(head)
    if may_be_sealed(entity):
        head = b"".join((head, *pieces))
        entity = parse(head)
        if is_sealed(head):
            return None, ()
    return entity.header, chain((entity.body,), pieces)


def _by_kind(signer: Signers) -> dict[Kind, SigningKey]:
    if signer is None:
        return {}
    signers = (signer,) if isinstance(signer, SigningKey) else signer
    return {each.kind: each for each in signers}


def _fault(address: str, key: RecipientKey, options: SealOptions) -> Refused | None:
    if address_key(address) != key.address:
        return Refused("no_address", f"the key for {address} is one of {key.address}", address)
    checked = check_key(key.material, key.address, options.now)
    if isinstance(checked, Refused):
        return checked
    if checked.fingerprint != key.fingerprint or checked.kind != key.kind:
        return Refused("malformed", f"the key for {address} is not the one it is said to be", address)
    return None


def _groups(
    header: HeaderSection, keys: Mapping[str, RecipientKey], *, is_shared: bool
) -> list[tuple[Kind, dict[str, RecipientKey]]]:
    """Those whom the header names together, by kind; all others one by one, or together too."""
    named = _named(header)
    groups: list[tuple[Kind, dict[str, RecipientKey]]] = []
    for kind in KINDS:
        of_kind = {address: key for address, key in keys.items() if key.kind == kind}
        together = {address: key for address, key in of_kind.items() if key.address in named}
        if together:
            groups.append((kind, together))
        alone = [{address: key} for address, key in of_kind.items() if address not in together]
        if is_shared and alone:
            alone = [dict(pair for each in alone for pair in each.items())]
        groups += [(kind, each) for each in alone]
    return groups


def _named(header: HeaderSection) -> set[str]:
    """Whom To and Cc name. A field that cannot be understood names nobody, which hides too much and not too little."""
    found: set[str] = set()
    for name in (b"to", b"cc"):
        for value in header.values(name):
            try:
                found |= {address_key(str(mailbox.path)) for mailbox in parse_address_list(value).mailboxes}
            except HeaderAddressError:
                continue
    return found


def _encrypted(
    payload: Payload, kind: Kind, keys: Sequence[RecipientKey], signer: SigningKey | None, options: SealOptions
) -> Iterator[bytes]:
    if kind == "openpgp":
        return openpgp.encrypt_mime(payload, keys, signer)
    signed = smime.sign_mime(payload, signer, options.now) if signer else payload
    return smime.encrypt_mime(signed, keys, options.cipher)
