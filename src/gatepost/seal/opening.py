"""Opening a message: layer by layer, all of it or nothing, with a verdict.

What cannot be authenticated is not released: CMS with CBC only under a signature that holds over the whole of it,
OpenPGP without MDC never, a message that is only signed not under a signature that does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gatepost.mail.header_address import HeaderAddressError, parse_address_list
from gatepost.seal import openpgp, smime
from gatepost.seal.cms.enveloped import CannotOpen
from gatepost.seal.cms.names import address_key
from gatepost.seal.detect import Layer, layer_of
from gatepost.seal.mime import Entity, canonical, parse
from gatepost.seal.model import Kind, KnownKey, Opened, Secret, SignatureState, Signer, Verdict
from gatepost.seal.openpgp_library import OpenPgpError
from gatepost.seal.protected_headers import protection, unwrap

MAX_LAYERS = 4  # signed, encrypted, signed (RFC 2634 §1.1), and one for a list


class _Shut(Exception):
    """Nothing is released; says why."""


class _Opening:
    """One message on its way to its text. Invariant: `entity` is what the layers so far have given."""

    def __init__(self, message: Entity, secrets: Sequence[Secret], known: Sequence[KnownKey], now: datetime) -> None:
        self.entity = message
        self.kind: Kind = "openpgp"
        self.is_encrypted = False
        self.is_authenticated = True
        self.signature: SignatureState = "none"
        self.signer: Signer | None = None
        self.layers = 0
        self.remark = ""
        self._secrets, self._known, self._now = secrets, known, now

    def take_off(self, layer: Layer) -> None:
        """Raises _Shut."""
        self.kind = layer.kind
        self.layers += 1
        if layer.what == "encrypted":
            # What was signed outside of the encryption is the ciphertext, which anybody can sign.
            self.signature, self.signer = "none", None
            self.is_encrypted = True
            text = self._decrypted(layer)
        else:
            text = self._verified(layer)
        self.entity = parse(canonical(text))

    def _decrypted(self, layer: Layer) -> bytes:
        try:
            if layer.kind == "openpgp":
                found = openpgp.decrypt(layer.data, self._secrets, self._known)
                self.signature, self.signer = found.signature, found.signer
                self.is_authenticated, self.remark = True, found.remark
                if found.text is None:
                    raise _Shut("it holds a signature that does not fit its text or its key")
                return found.text
            opened = smime.decrypt(layer.data, self._secrets)
        except (OpenPgpError, CannotOpen) as error:
            raise _Shut(str(error)) from None
        self.is_authenticated = opened.is_authenticated
        return opened.content

    def _verified(self, layer: Layer) -> bytes:
        if layer.kind == "openpgp":
            try:
                found = openpgp.verify_detached(layer.signed, layer.data, self._known)
            except OpenPgpError as error:
                self.signature = "bad"
                raise _Shut(f"the signature is malformed ({error})") from None
            self.signature, self.signer, text = found.signature, found.signer, found.text
            reason = "the signature does not fit the text, or its key"
        else:
            checked = smime.verify(layer.data, layer.signed or None, self._known, self._now)
            self.signature, self.signer, text = checked.signature, checked.signer, checked.text
            reason = checked.reason
        if text is None:
            raise _Shut(reason or "the signature does not hold")
        if self.signature in ("good", "untrusted"):
            self.is_authenticated = True
        return text

    def check(self) -> None:
        """Raises _Shut where the text is not authenticated."""
        if not self.layers:
            raise _Shut("it is neither encrypted nor signed by its structure")
        if layer_of(self.entity) is not None:
            raise _Shut(f"it has more than {MAX_LAYERS} layers")
        if not self.is_authenticated:
            raise _Shut("it is encrypted with AES-CBC, which does not protect against changes, and no signature does")
        if not self.is_encrypted and self.signature == "unknown":
            raise _Shut("it is signed with a key that is not known here, so nobody can tell whether it was changed")


def open_(message: bytes, secrets: Sequence[Secret], certificates: Sequence[KnownKey], now: datetime) -> Opened:
    """The text of `message` and a verdict; the text is None when anything is in doubt, never a part. Raises nothing.

    secrets: private keys that may open it, of either kind. certificates: keys that signatures are checked with.
    now: aware, UTC.
    """
    outer = parse(canonical(message))
    opening = _Opening(outer, secrets, certificates, now)
    try:
        while opening.layers < MAX_LAYERS and (layer := layer_of(opening.entity)) is not None:
            opening.take_off(layer)
        opening.check()
    except _Shut as reason:
        return Opened(None, _verdict(opening, reason=str(reason)))
    if opening.signature == "good" and not _is_author(opening, outer):
        opening.signature = "untrusted"
    found = unwrap(outer, opening.entity.octets, is_author_proven=opening.signature == "good")
    verdict = _verdict(
        opening, unprotected=found.unprotected, hidden=found.hidden, remark=found.remark or opening.remark
    )
    return Opened(found.text, verdict)


def _verdict(
    opening: _Opening,
    *,
    reason: str = "",
    unprotected: tuple[str, ...] = (),
    hidden: tuple[str, ...] = (),
    remark: str = "",
) -> Verdict:
    if opening.signature == "untrusted" and not reason and not remark and opening.signer:
        if opening.signer.trusted_because:
            remark = "the signature belongs to another address than the one in From"
    return Verdict(
        kind=opening.kind, is_encrypted=opening.is_encrypted and not reason, signature=opening.signature,
        signer=opening.signer, unprotected=unprotected, hidden=hidden, reason=reason, remark=remark,
    )  # fmt: skip


def _is_author(opening: _Opening, outer: Entity) -> bool:
    """Whether the signer's key carries the address in From, the protected one where there is one."""
    header = outer.header if protection(opening.entity) == "none" else opening.entity.header
    values = header.values(b"from")
    if len(values) != 1 or opening.signer is None:
        return False
    try:
        authors = [address_key(str(mailbox.path)) for mailbox in parse_address_list(values[0]).mailboxes]
    except HeaderAddressError:
        return False
    return bool(authors) and all(author in opening.signer.addresses for author in authors)
