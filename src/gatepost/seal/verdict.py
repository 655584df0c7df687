"""The verdict of `open` in words for people: who signed, with which key, found where, trusted why, what was unsafe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatepost.seal.model import Kind, Signer, Source, Verdict

_KIND: Final[Mapping[Kind, str]] = {"openpgp": "OpenPGP", "smime": "S/MIME"}
_SOURCE: Final[Mapping[Source, str]] = {
    "pinned": "pinned by you", "imported": "imported by you", "wkd": "found in the key directory of its domain (WKD)",
    "autocrypt": "seen in earlier mail (Autocrypt)", "openpgpkey": "found in DNS (OPENPGPKEY)",
    "smimea": "found in DNS (SMIMEA)", "local": "your own",
}  # fmt: skip


def in_words(verdict: Verdict) -> str:
    """Lines, the most important one first; the last one without a line end."""
    kind = _KIND[verdict.kind]
    if verdict.reason:
        lines = [f"Nothing is shown: {verdict.reason}."]
        if verdict.signature != "none":
            lines.append(_signature(verdict))
        return "\n".join(lines)
    if verdict.is_encrypted:
        lines = [f"Encrypted ({kind}), and not changed on its way."]
    else:
        lines = [f"Not encrypted: others could read it on its way ({kind} signature only)."]
    lines.append(_signature(verdict))
    if verdict.unprotected:
        lines.append(f"Not protected, anybody could have written or changed: {', '.join(verdict.unprotected)}.")
    if verdict.hidden:
        lines.append(f"Hidden on its way: {', '.join(verdict.hidden)}.")
    if verdict.remark:
        lines.append(f"Note: {verdict.remark}.")
    return "\n".join(lines)


def _signature(verdict: Verdict) -> str:
    match verdict.signature:
        case "none":
            return "Not signed: nothing proves who wrote it."
        case "bad":
            return "The signature does not hold."
        case "unknown":
            key = f" ({verdict.signer.fingerprint})" if verdict.signer and verdict.signer.fingerprint else ""
            return f"Signed with a key that is not known here{key}: nothing proves who wrote it."
        case "untrusted":
            return f"Signed, but nothing proves who wrote it: {_key(verdict.signer)}."
        case "good":
            return f"Signed by {_who(verdict.signer)}: {_key(verdict.signer)}."


def _who(signer: Signer | None) -> str:
    return ", ".join(signer.addresses) if signer and signer.addresses else "somebody without an address"


def _key(signer: Signer | None) -> str:
    if signer is None:
        return "key unknown"
    words = [f"key {signer.fingerprint} of {_who(signer)}"]
    if signer.source:
        words.append(_SOURCE[signer.source])
    words.append(f"trusted because {signer.trusted_because}" if signer.trusted_because else "nobody vouches for it")
    if signer.signed_at:
        words.append(f"dated {signer.signed_at:%Y-%m-%d %H:%M} UTC by the signer")
    return ", ".join(words)
