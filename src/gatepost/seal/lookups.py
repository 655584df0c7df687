"""One look-up for a key at one place: the domain's key directory, or its DNS. Over ports; nothing is kept or decided.

What is found is anybody's octets until `keys.check_key` has looked at it. A place that gives no answer is told apart
from one that has no key: the first has to be asked again.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import Final

import msgspec

from gatepost.ports.fetch import Fetcher, FetchError
from gatepost.ports.resolver import Answer, Outcome, Resolver
from gatepost.seal.key_names import KeyPlaces
from gatepost.seal.keys import MAX_KEY_OCTETS
from gatepost.seal.openpgp_keys import split
from gatepost.seal.openpgp_library import OpenPgpError

MAX_REDIRECTS: Final = 3
MAX_CANDIDATES: Final = 8  # of one place; each is checked with public-key operations
_DEFINITE: Final = frozenset({"no_host", "address", "refused", "certificate", "too_long", "url"})
"""Faults of a fetch that are an answer: there is no key directory. All others may be different in a moment."""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What one place said. keys: each one certificate. reason: why there is none. is_failure: it may be different in a
    moment. lifetime: how long the DNS lets it be kept, None where it does not say."""

    keys: tuple[bytes, ...] = ()
    reason: str = ""
    is_failure: bool = False
    lifetime: timedelta | None = None


async def look_in_directory(places: KeyPlaces, fetcher: Fetcher, resolver: Resolver, timeout: float) -> Looked:
    """The keys in the Web Key Directory: by the advanced method, or where its host does not exist, by the direct one.

    timeout: seconds for each request.
    """
    where = await _host(resolver, places.advanced_host)
    url = places.advanced_url
    if where is Outcome.NO_NAME:
        where, url = await _host(resolver, places.domain), places.direct_url
    if where is Outcome.FAILED:
        return Looked(reason="WKD: the host cannot be looked up", is_failure=True)
    if where is Outcome.NO_NAME:
        return Looked(reason="WKD: the domain has no web server")
    try:
        answer = await fetcher.fetch(url, timeout=timeout, max_octets=MAX_KEY_OCTETS, redirects=MAX_REDIRECTS)
    except FetchError as error:
        return Looked(reason=f"WKD: {error}", is_failure=error.code not in _DEFINITE)
    if answer.status != 200:
        is_failure = answer.status >= 500 or answer.status in (408, 425, 429)
        return Looked(reason=f"WKD: the web server answers {answer.status}", is_failure=is_failure)
    try:
        return Looked(keys=split(answer.body)[:MAX_CANDIDATES])
    except OpenPgpError as error:
        return Looked(reason=f"WKD: the web server's answer is no OpenPGP key that can be used: {error}")


async def _host(resolver: Resolver, name: str) -> Outcome:
    """FOUND where it has an address, NO_NAME where it has none, else FAILED."""
    outcomes = []
    for rdtype in ("A", "AAAA"):
        answer = await resolver.query(name, rdtype)
        if answer.outcome is Outcome.FOUND:
            return Outcome.FOUND
        outcomes.append(answer.outcome)
    return Outcome.FAILED if Outcome.FAILED in outcomes else Outcome.NO_NAME


async def look_for_openpgpkey(places: KeyPlaces, resolver: Resolver) -> Looked:
    """The keys in OPENPGPKEY records, where DNSSEC proves them (RFC 7929 §5)."""
    answer = await resolver.query(places.openpgpkey, "OPENPGPKEY")
    if answer.outcome is not Outcome.FOUND or not answer.authenticated:
        return _nothing(answer, "OPENPGPKEY")
    keys: list[bytes] = []
    for record in answer.records:
        try:
            keys += split(base64.b64decode("".join(record.split()), validate=True))
        except (OpenPgpError, binascii.Error):
            continue
    return _of_dns(keys, answer, "OPENPGPKEY: the record holds no key")


async def look_for_smimea(places: KeyPlaces, resolver: Resolver) -> Looked:
    """The certificates in SMIMEA records, where DNSSEC proves them. Only records that hold the whole certificate of the
    address itself (DANE-EE, no digest: "3 0 0") give something to encrypt to; the others say what to compare with."""
    answer = await resolver.query(places.smimea, "SMIMEA")
    if answer.outcome is not Outcome.FOUND or not answer.authenticated:
        return _nothing(answer, "SMIMEA")
    keys: list[bytes] = []
    for record in answer.records:
        words = record.split()
        if words[:3] == ["3", "0", "0"]:
            try:
                keys.append(bytes.fromhex("".join(words[3:])))
            except ValueError:
                continue
    return _of_dns(keys, answer, "SMIMEA: no record holds a whole certificate (3 0 0)")


def _nothing(answer: Answer, rdtype: str) -> Looked:
    if answer.outcome is Outcome.FAILED:
        return Looked(reason=f"{rdtype}: the DNS does not answer ({answer.error})", is_failure=True)
    if answer.outcome is Outcome.FOUND:
        return Looked(reason=f"{rdtype}: DNSSEC does not prove the record (or dns.validating is not set)")
    return Looked(reason=f"{rdtype}: there is no record", lifetime=timedelta(seconds=answer.ttl))


def _of_dns(keys: list[bytes], answer: Answer, otherwise: str) -> Looked:
    lifetime = timedelta(seconds=answer.ttl)
    if not keys:
        return Looked(reason=otherwise, lifetime=lifetime)
    return Looked(keys=tuple(keys[:MAX_CANDIDATES]), lifetime=lifetime)
