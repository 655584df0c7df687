"""Sealing a message for its recipients: one sealed message for each set of them.

Keys are checked once more at the moment of use. Which key belongs to whom, and whether one has to be found, is decided
elsewhere; so is what becomes of recipients without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatepost.mail.header_address import HeaderAddressError, parse_address_list
from gatepost.seal import openpgp, smime
from gatepost.seal.cms.names import address_key
from gatepost.seal.detect import is_sealed
from gatepost.seal.keys import check_key
from gatepost.seal.mime import Entity, canonical, parse
from gatepost.seal.model import Kind, RecipientKey, Refused, Sealed, SealedMessage, SealOptions, SigningKey
from gatepost.seal.openpgp_library import OpenPgpError
from gatepost.seal.protected_headers import Wrapped, wrap
from gatepost.seal.smime_keys import KeyLocked

KINDS: tuple[Kind, ...] = ("openpgp", "smime")
Signers = SigningKey | Sequence[SigningKey] | None


def seal(message: bytes, keys: Mapping[str, RecipientKey], signer: Signers, options: SealOptions) -> Sealed | Refused:
    """`message` encrypted for everybody in `keys`, all of them or nobody.

    keys: by address of the envelope (any letter case); each recipient has to be in it. signer: the author's key, or
    one of each kind; of a kind that has none, messages are not signed. Recipients that neither To nor Cc name get a
    message of their own. Bcc is removed, the line ends become CRLF, all other octets stay. Raises nothing.
    """
    if not keys:
        return Refused("no_key", "there is nobody to encrypt to: give a key for each recipient")
    message = canonical(message)
    if is_sealed(message):
        return Refused("sealed", "the message is encrypted already; it is not encrypted twice")
    signers = _by_kind(signer)
    if options.cipher == "aes-256-cbc" and "smime" not in signers and any(key.kind == "smime" for key in keys.values()):
        return Refused("cipher", "AES-CBC does not protect against changes, so it is used with a signature only")
    for each in signers.values():
        if each.valid_until is not None and each.valid_until <= options.now:
            return Refused("signer", f"the key that signs for {each.address} expired {each.valid_until:%Y-%m-%d}")
    for address, key in keys.items():
        fault = _fault(address, key, options)
        if fault is not None:
            return fault
    entity = parse(message)
    wrapped = wrap(entity, hide_subject=options.hide_subject)
    try:
        return Sealed(tuple(
            _sealed(wrapped, kind, group, signers.get(kind), options) for kind, group in _groups(entity, keys)
        ))  # fmt: skip
    except KeyLocked as error:
        return Refused("signer", str(error))
    except OpenPgpError as error:
        return Refused("unavailable" if error.is_missing else "signer", f"OpenPGP could not seal it: {error}")
    except ValueError as error:
        return Refused("algorithm", f"S/MIME could not seal it: {error}")


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


def _groups(entity: Entity, keys: Mapping[str, RecipientKey]) -> list[tuple[Kind, dict[str, RecipientKey]]]:
    """Those whom the header names together, by kind; all others one by one."""
    named = _named(entity)
    groups: list[tuple[Kind, dict[str, RecipientKey]]] = []
    for kind in KINDS:
        of_kind = {address: key for address, key in keys.items() if key.kind == kind}
        together = {address: key for address, key in of_kind.items() if key.address in named}
        if together:
            groups.append((kind, together))
        groups += [(kind, {address: key}) for address, key in of_kind.items() if address not in together]
    return groups


def _named(entity: Entity) -> set[str]:
    """Whom To and Cc name. A field that cannot be understood names nobody, which hides too much and not too little."""
    found: set[str] = set()
    for name in (b"to", b"cc"):
        for value in entity.header.values(name):
            try:
                found |= {address_key(str(mailbox.path)) for mailbox in parse_address_list(value).mailboxes}
            except HeaderAddressError:
                continue
    return found


def _sealed(
    wrapped: Wrapped, kind: Kind, group: Mapping[str, RecipientKey], signer: SigningKey | None, options: SealOptions
) -> SealedMessage:
    # Two addresses may share a key, which is named once.
    distinct = list({key.fingerprint: key for key in group.values()}.values())
    if kind == "openpgp":
        body = openpgp.encrypt_mime(wrapped.payload, distinct, signer)
    else:
        payload = smime.sign_mime(wrapped.payload, signer, options.now) if signer else wrapped.payload
        body = smime.encrypt_mime(payload, distinct, options.cipher)
    return SealedMessage(
        kind=kind,
        recipients=tuple(group),
        keys=tuple(key.fingerprint for key in distinct),
        octets=wrapped.outer + body,
        is_signed=signer is not None,
    )
