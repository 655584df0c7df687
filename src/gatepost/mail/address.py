"""Mailboxes and paths of the envelope (RFC 5321 §4.1.2, RFC 6531 §3.3) as values, and their parser.

Not here: addresses in header fields, which RFC 5322 writes with comments and phrases (`mail.header_address`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna
import msgspec

MAX_LOCAL_PART_OCTETS: Final = 64  # RFC 5321 §4.5.3.1.1
MAX_DOMAIN_OCTETS: Final = 255  # RFC 5321 §4.5.3.1.2
MAX_PATH_OCTETS: Final = 256  # RFC 5321 §4.5.3.1.3, angle brackets included

# RFC 6531 §3.3 adds all of UTF-8; without U+0080-U+009F, which are control characters on many a terminal.
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u00a0-\U0010ffff-]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u00a0-\U0010ffff]|\\[\x20-\x7e])*"')
# Underscores are no RFC 5321 domain, but hosts that have them send honest mail; they pass (a check may tell).
_LABEL = r"[A-Za-z0-9_\u00a0-\U0010ffff](?:[A-Za-z0-9_\u00a0-\U0010ffff-]*[A-Za-z0-9_\u00a0-\U0010ffff])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[[\x21-\x5a\x5e-\x7e]{1,64}\]")
_SOURCE_ROUTE = re.compile(rf"@{_DOMAIN.pattern}(?:,@{_DOMAIN.pattern})*:")  # §4.1.2 A-d-l; accepted and ignored

# What nearly every path is: ASCII, unquoted, within all limits but that of the whole.
_ASCII_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ASCII_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_COMMON_PATH = re.compile(
    rf"<(?=[^@]{{1,64}}@)({_ASCII_ATEXT}+(?:\.{_ASCII_ATEXT}+)*)@({_ASCII_LABEL}(?:\.{_ASCII_LABEL})*)>(?= |\Z)"
)


class AddressError(ValueError):
    """The text is no path; the message says what is wrong, without quoting the text."""


class Path(msgspec.Struct, frozen=True):
    """A reverse-path or forward-path: a mailbox, `<>` (both parts empty) or `<postmaster>` (no domain).

    local_part: without quotes and backslashes, letter case kept. domain: lower case, as an address literal
    ("[192.0.2.1]", "[IPv6:2001:db8::1]", in the shortest form), A-labels or U-labels, as the peer wrote it.
    """

    local_part: str
    domain: str

    @property
    def is_null(self) -> bool:
        """The null reverse-path `<>` of notifications (RFC 5321 §4.5.5)."""
        return not self.local_part and not self.domain

    @property
    def is_ascii(self) -> bool:
        """Whether the path needs no SMTPUTF8."""
        return self.local_part.isascii() and self.domain.isascii()

    @property
    def ascii_domain(self) -> str:
        """The domain with A-labels: the form for DNS, comparison and configuration."""
        return to_ascii_domain(self.domain)

    def __str__(self) -> str:
        """As it stands in the envelope, without angle brackets; quoted where the grammar needs it."""
        local_part, domain = self.local_part, self.domain
        if not _DOT_STRING.fullmatch(local_part) and (local_part or domain):  # both are empty: the null path
            local_part = '"' + local_part.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{local_part}@{domain}" if domain else local_part


NULL_PATH: Final = Path("", "")


def parse_path(text: str, *, null_allowed: bool, strict: bool = True) -> tuple[Path, str]:
    """The path at the start of `text`, and what follows it (the parameters, leading blanks kept).

    null_allowed: True for a reverse-path, where `<>` is the null path; False for a forward-path, where
    `<postmaster>` alone stands without a domain (§4.1.1.3). strict: False takes a path without angle brackets and a
    local part of over 64 octets too (for peers that are known to be old, not hostile). A source route is accepted
    and dropped (§3.3, appendix F.2). Raises AddressError.
    """
    common = _COMMON_PATH.match(text)
    if common is not None and common.end() <= MAX_PATH_OCTETS:
        return Path(common.group(1), common.group(2).lower()), text[common.end() :]
    if text.startswith("<"):
        path, rest = _parse_mailbox(text, _route_end(text), null_allowed, strict)
        if not rest.startswith(">"):
            raise AddressError("the closing angle bracket is missing or misplaced")
        rest = rest[1:]
    elif strict:
        raise AddressError("the path is not in angle brackets")
    else:
        path, rest = _parse_mailbox(text, 0, null_allowed, strict=False)
    if rest and rest[0] != " ":
        raise AddressError("there is something behind the path")
    if len(text.encode()) - len(rest.encode()) > MAX_PATH_OCTETS:
        raise AddressError(f"the path is longer than {MAX_PATH_OCTETS} octets")
    return path, rest


def parse_mailbox(text: str) -> Path:
    """The mailbox `local@domain` that is the whole of `text` (no angle brackets). Raises AddressError."""
    path, rest = _parse_mailbox(text, 0, null_allowed=False)
    if rest or not path.domain:
        raise AddressError("an address is written local-part@domain")
    return path


def _route_end(text: str) -> int:
    if not text.startswith("<@"):
        return 1
    route = _SOURCE_ROUTE.match(text, 1)
    if route is None:
        raise AddressError("the source route is malformed")
    return route.end()


def _parse_mailbox(text: str, at: int, null_allowed: bool, strict: bool = True) -> tuple[Path, str]:
    if null_allowed and text.startswith(">", at) and at == 1:
        return NULL_PATH, text[at:]
    local_part, at = _local_part(text, at, MAX_LOCAL_PART_OCTETS if strict else MAX_PATH_OCTETS)
    if not text.startswith("@", at):
        if local_part.lower() == "postmaster" and not null_allowed:
            return Path(local_part, ""), text[at:]
        raise AddressError("the address has no domain")
    domain, at = _domain(text, at + 1)
    return Path(local_part, domain), text[at:]


def _local_part(text: str, at: int, limit_octets: int) -> tuple[str, int]:
    if match := _DOT_STRING.match(text, at):
        local_part = match.group()
    elif match := _QUOTED_STRING.match(text, at):
        local_part = re.sub(r"\\(.)", r"\1", match.group()[1:-1])
    else:
        raise AddressError("the local part is malformed")
    if len(match.group().encode()) > limit_octets:
        raise AddressError(f"the local part is longer than {limit_octets} octets")
    if not local_part.isascii():
        local_part = unicodedata.normalize("NFC", local_part)  # RFC 6532 §3.1: or one name has two keys
    return local_part, match.end()


def _domain(text: str, at: int) -> tuple[str, int]:
    if match := _LITERAL.match(text, at):
        address = parse_literal(match.group())
        if address is None:
            raise AddressError("the address literal is malformed")
        return f"[{'IPv6:' if address.version == 6 else ''}{address}]", match.end()
    match = _DOMAIN.match(text, at)
    if match is None:
        raise AddressError("the domain is malformed")
    domain = match.group()
    if len(domain.encode()) > MAX_DOMAIN_OCTETS or any(len(label.encode()) > 63 for label in domain.split(".")):
        raise AddressError("the domain is longer than RFC 5321 and DNS allow")
    domain = domain.lower() if domain.isascii() else unicodedata.normalize("NFC", domain.lower())
    if not domain.isascii():
        to_ascii_domain(domain)
    return domain, match.end()


def parse_literal(domain: str) -> IPv4Address | IPv6Address | None:
    """The address that the literal `[192.0.2.1]` or `[IPv6:2001:db8::1]` names (§4.1.3), None for anything else."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    inner = domain[1:-1]
    try:
        if inner[:5].lower() != "ipv6:":
            return IPv4Address(inner)
        return None if "%" in inner else IPv6Address(inner[5:])  # a zone means nothing to another host
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def to_ascii_domain(domain: str) -> str:
    """`domain` in lower case with A-labels (IDNA 2008). Raises AddressError for what is no domain."""
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain.lower(), uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise AddressError("the domain is not a valid internationalised name") from error
