"""DKIM signatures of one message, evaluated (RFC 6376 §6, RFC 8301, RFC 8463).

In three steps, so that whoever has the message decides when: `Verification` reads the header section and says which
keys it wants; the body passes through `feed`; `results` judges with the answers of the DNS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gatepost.mail.dkim import DkimResult
from gatepost.mail.header import HeaderSection
from gatepost.mail.text import printable
from gatepost.ports.resolver import Answer, Outcome
from gatepost.verify.dkim_body import BodyHash
from gatepost.verify.dkim_fields import SignedFields
from gatepost.verify.dkim_key import LEAST_RSA_BITS, MOST_RSA_BITS, Key, KeyRecordError, key_among
from gatepost.verify.dkim_signature import Signature, SignatureError, domain_in, parse_signature, tags_of

MAX_SIGNATURES: Final = 10  # ours: honest mail has one to three; each costs a look-up and a check
MAX_TOLD: Final = 100  # signed fields that a result names


class Limits(msgspec.Struct, frozen=True):
    """key_bits: shorter RSA keys prove nothing, at least 1024. signatures: how many are looked at, from the top."""

    key_bits: int = LEAST_RSA_BITS
    signatures: int = MAX_SIGNATURES


class Verification:
    """The signatures of one message. key_names: where their keys are, each once; asked for as TXT."""

    def __init__(self, section: HeaderSection, now: float, limits: Limits = Limits()) -> None:  # noqa: B008  a frozen value
        """now: seconds since 1970."""
        self._fields = SignedFields(section)
        self._limits = limits
        self._read: list[tuple[int, Signature] | DkimResult] = []
        places = self._fields.signatures
        for at in places[: limits.signatures]:
            self._read.append(self._first_look(at, now))
        self._unread = len(places) - len(self._read)
        readable = [each[1] for each in self._read if isinstance(each, tuple)]
        self.key_names = tuple(dict.fromkeys(signature.key_name for signature in readable))
        self._body = BodyHash((signature.body, signature.length) for signature in readable)
        self._is_whole = False

    def feed(self, piece: bytes) -> None:
        """The next octets of the body, behind the blank line, however they are cut."""
        self._body.feed(piece)

    def results(self, answers: Mapping[str, Answer]) -> tuple[DkimResult, ...]:
        """A result for each signature, from the top, and one for those that were too many. The body has passed.

        answers: what the DNS said of `key_names`; what is missing could not be had.
        """
        if not self._is_whole:
            self._body.finish()
            self._is_whole = True
        found = [each if isinstance(each, DkimResult) else self._judged(*each, answers) for each in self._read]
        if self._unread:
            found.append(DkimResult("neutral", reason=f"{self._unread} more signatures were not looked at"))
        return tuple(found)

    def unread(self, reason: str) -> tuple[DkimResult, ...]:
        """The results where the message itself cannot be read now."""
        return tuple(
            each if isinstance(each, DkimResult) else self._result(*each, DkimResult("temperror", reason=reason))
            for each in self._read
        )

    def _first_look(self, at: int, now: float) -> tuple[int, Signature] | DkimResult:
        """The signature, or what can be said without its key."""
        tags: dict[str, str] = {}
        try:
            tags = tags_of(self._fields.raw(at))
            signature = parse_signature(tags)
        except SignatureError as error:
            return DkimResult(error.result, *_named(tags), reason=str(error))
        try:
            signature.check_time(now)
        except SignatureError as error:
            return self._result(at, signature, DkimResult(error.result, reason=str(error)))
        return at, signature

    def _judged(self, at: int, signature: Signature, answers: Mapping[str, Answer]) -> DkimResult:
        key = _key(signature, answers.get(signature.key_name))
        if isinstance(key, DkimResult):
            return self._result(at, signature, key)
        return self._result(at, signature, self._with_key(at, signature, key), key)

    def _with_key(self, at: int, signature: Signature, key: Key) -> DkimResult:
        if fault := self._fault_of_key(signature, key):
            return DkimResult("permerror", reason=fault)
        octets = self._body.octets(signature.body)
        if signature.length is not None and signature.length > octets:
            reason = f"it signs {signature.length} octets of the body, which has {octets} (l=)"
            return DkimResult("fail", reason=reason)
        if self._body.digest(signature.body, signature.length) != signature.body_hash:
            return DkimResult("fail", reason="the body is not the one that was signed")
        chosen = self._fields.chosen(at, signature.fields)
        if not key.has_made(signature.octets, self._fields.digest(at, chosen, signature.header)):
            reason = "the header fields are not those that were signed, or another key has signed them"
            return DkimResult("fail", reason=reason)
        unsigned = 0 if signature.length is None else octets - signature.length
        reason = f"the last {unsigned} octets of the body are not signed (l=)" if unsigned else ""
        return DkimResult("pass", unsigned_octets=unsigned, reason=reason)

    def _fault_of_key(self, signature: Signature, key: Key) -> str:
        """Why the key is not for this signature, "" where it is."""
        if key.algorithm != signature.algorithm:
            return f"the key is not for {signature.algorithm} (k=, a=)"
        if key.algorithm == "rsa-sha256" and not self._limits.key_bits <= key.bits <= MOST_RSA_BITS:
            return f"the key has {key.bits} bits; {self._limits.key_bits} to {MOST_RSA_BITS} are accepted"
        if key.is_strict and signature.identity_domain != signature.domain:
            return "the key is for addresses of its own domain only, not of those below (t=s, i=)"
        return ""

    def _result(self, at: int, signature: Signature, found: DkimResult, key: Key | None = None) -> DkimResult:
        """`found`, with what there is to tell of the signature and its key."""
        return DkimResult(
            found.result,
            unsigned_octets=found.unsigned_octets,
            reason=found.reason,
            key_bits=key.bits if key is not None else 0,
            is_testing=key is not None and key.is_testing,
            domain=signature.domain,
            selector=signature.selector,
            identity=signature.identity,
            algorithm=signature.algorithm,
            canonicalization=f"{signature.header}/{signature.body}",
            signed=self._fields.names(self._fields.chosen(at, signature.fields)[:MAX_TOLD]),
            mark=signature.mark,
        )


def _key(signature: Signature, answer: Answer | None) -> Key | DkimResult:
    where = signature.key_name
    if answer is None or answer.outcome is Outcome.FAILED:
        error = printable(answer.error, 120) if answer is not None and answer.error else "no answer in time"
        return DkimResult("temperror", reason=f"the key {where} cannot be had ({error})")
    if answer.outcome is not Outcome.FOUND:
        return DkimResult("permerror", reason=f"there is no key {where}")
    try:
        return key_among(answer.records)
    except KeyRecordError as error:
        return DkimResult("permerror", reason=f"{where}: {error}")


def _named(tags: dict[str, str]) -> tuple[str, str]:
    """Domain and selector of a signature that cannot be read otherwise, "" for what is none."""
    named = []
    for tag in ("d", "s"):
        try:
            named.append(domain_in(tags.get(tag, ""), tag))
        except SignatureError:
            named.append("")
    return named[0], named[1]
