"""A DKIM-Signature field as a value, checked (RFC 6376 §3.5, §6.1.1; RFC 8301, RFC 8463).

Not here: whether the signature is right (`verify.dkim`).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, Literal, cast

import msgspec

from gatepost.mail.address import AddressError, to_ascii_domain
from gatepost.mail.dkim import DkimWord
from gatepost.mail.text import printable
from gatepost.verify.dkim_tags import TagError, listed, parse_tags, squeezed

Canonicalization = Literal["simple", "relaxed"]

ALGORITHMS: Final = frozenset({"rsa-sha256", "ed25519-sha256"})
REQUIRED: Final = ("v", "a", "b", "bh", "d", "h", "s")  # "b" and the others of §3.5, each without a default
MAX_SIGNED: Final = 500  # ours: names in "h="; honest signatures have some dozens
MAX_OCTETS: Final = 64 * 1024  # ours, of the field; the largest honest ones have 3 KiB
FUTURE_SECONDS: Final = 3600  # ours: how far the clock of the signer may be ahead
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,76}", re.ASCII)
_MOMENT: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_FIELD_NAMES: Final = re.compile(r"[!-9;-~]+(?::[!-9;-~]+)*", re.ASCII)


class SignatureError(ValueError):
    """It is not evaluated; the message says why, for the operator. result: what that makes of it."""

    def __init__(self, reason: str, result: DkimWord = "neutral") -> None:
        super().__init__(reason)
        self.result: DkimWord = result


class Signature(msgspec.Struct, frozen=True):
    """domain, selector: A-labels, lower case. identity: "i=" as it is written, "" for none; identity_domain: of it, or
    `domain`. fields: the names in "h=", lower case. length: "l=", None for the whole body. made, expires: seconds since
    1970, None where they are not told."""

    domain: str
    selector: str
    identity: str
    identity_domain: str
    algorithm: str
    header: Canonicalization
    body: Canonicalization
    body_hash: bytes
    octets: bytes
    mark: str
    fields: tuple[str, ...]
    length: int | None = None
    made: int | None = None
    expires: int | None = None

    @property
    def key_name(self) -> str:
        """Where its key is (§3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    def check_time(self, now: float) -> None:
        """Raises SignatureError where it has expired or is not made yet."""
        if self.expires is not None and now >= self.expires:
            raise SignatureError(f"it expired {_span(now - self.expires)} ago (x=)", "fail")
        if self.made is not None and self.made > now + FUTURE_SECONDS:
            raise SignatureError(f"it was made {_span(self.made - now)} in the future (t=)", "fail")


def tags_of(field: bytes) -> dict[str, str]:
    """The tags of a whole DKIM-Signature field. Raises SignatureError."""
    if len(field) > MAX_OCTETS:
        raise SignatureError(f"the field has {len(field)} octets; at most {MAX_OCTETS} are read")
    try:
        return parse_tags(field.partition(b":")[2].decode("utf-8", "replace"))
    except TagError as error:
        raise SignatureError(f"it cannot be read: {error}") from error


def parse_signature(tags: dict[str, str]) -> Signature:
    """The signature that the tags tell. Raises SignatureError."""
    for name in REQUIRED:
        if name not in tags:
            raise SignatureError(f"the tag {name}= is missing")
    if tags["v"] != "1":
        raise SignatureError("its version is not 1 (v=)")
    algorithm = tags["a"].lower()
    if algorithm == "rsa-sha1":
        raise SignatureError("rsa-sha1 proves nothing any more (RFC 8301)", "permerror")
    if algorithm not in ALGORITHMS:
        raise SignatureError(f"the algorithm {printable(algorithm, 40)} is not known (a=)")
    if "q" in tags and "dns/txt" not in listed(tags["q"]):
        raise SignatureError("its key is not where we can look (q=)")
    header, body = _canonicalization(tags.get("c", "simple/simple"))
    domain = domain_in(tags["d"], "d=")
    identity = squeezed(tags.get("i", ""))
    made, expires = _moment(tags, "t"), _moment(tags, "x")
    if made is not None and expires is not None and expires <= made:
        raise SignatureError("it expires before it was made (x=, t=)")
    octets = _base64(tags["b"], "b=")
    return Signature(
        domain=domain,
        selector=domain_in(tags["s"], "s="),
        identity=printable(identity, 320) if identity else "",
        identity_domain=_identity_domain(identity, domain) if identity else domain,
        algorithm=algorithm,
        header=header,
        body=body,
        body_hash=_base64(tags["bh"], "bh="),
        octets=octets,
        mark=squeezed(tags["b"])[:8],
        fields=_fields(tags["h"]),
        length=_length(tags),
        made=made,
        expires=expires,
    )


def domain_in(value: str, tag: str) -> str:
    """A domain of the tag, or a selector, as A-labels in lower case (RFC 8616). Raises SignatureError."""
    domain = value.lower()
    try:
        domain = domain if domain.isascii() else to_ascii_domain(domain)
    except AddressError as error:
        raise SignatureError(f"{printable(value, 80)} is no domain ({tag})") from error
    if len(domain) > 253 or _DOMAIN.fullmatch(domain) is None:
        raise SignatureError(f"{printable(value, 80)!r} is no domain ({tag})")
    return domain


def _canonicalization(value: str) -> tuple[Canonicalization, Canonicalization]:
    header, _, body = squeezed(value).lower().partition("/")
    body = body or "simple"  # §3.5: what is not named is simple
    if header not in ("simple", "relaxed") or body not in ("simple", "relaxed"):
        raise SignatureError(f"the canonicalization {printable(value, 40)} is not known (c=)")
    return cast(Canonicalization, header), cast(Canonicalization, body)


def _identity_domain(identity: str, domain: str) -> str:
    _, at, below = identity.rpartition("@")
    if not at:
        raise SignatureError("its identity is no address (i=)")
    below = domain_in(below, "i=")
    if below != domain and not below.endswith(f".{domain}"):
        raise SignatureError(f"its identity is of {below}, which is not below {domain} (i=, d=)")
    return below


def _fields(value: str) -> tuple[str, ...]:
    text = squeezed(value).lower()
    if text.count(":") >= MAX_SIGNED:
        raise SignatureError(f"it names more than {MAX_SIGNED} fields (h=)")
    if _FIELD_NAMES.fullmatch(text) is None:
        raise SignatureError("what it signs is no list of field names (h=)")
    names = tuple(text.split(":"))
    if "from" not in names:
        raise SignatureError("it does not sign From (h=)", "permerror")
    return names


def _length(tags: dict[str, str]) -> int | None:
    value = tags.get("l")
    if value is None:
        return None
    if _DIGITS.fullmatch(value) is None:
        raise SignatureError("the length of the body is no number (l=)")
    return int(value)


def _moment(tags: dict[str, str], name: str) -> int | None:
    value = tags.get(name)
    if value is None:
        return None
    if _MOMENT.fullmatch(value) is None:
        raise SignatureError(f"the time is no number of seconds ({name}=)")
    return int(value)


def _base64(value: str, tag: str) -> bytes:
    try:
        octets = base64.b64decode(squeezed(value), validate=True)
    except (ValueError, binascii.Error) as error:
        raise SignatureError(f"the value is not base64 ({tag})") from error
    if not octets:
        raise SignatureError(f"the value is empty ({tag})")
    return octets


def _span(seconds: float) -> str:
    """About how long, in words."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
