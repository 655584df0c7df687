"""An SPF record as a value: its terms, read and checked as a whole before any of them counts (RFC 7208 §4.6, §12).

Not here: what its terms mean for a peer (`verify.spf`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

import msgspec

from gatepost.verify.spf_macro import MacroError, MacroString, parse, parse_domain

VERSION: Final = "v=spf1"
MAX_RECORD: Final = 8192  # characters. RFC 7208 §3.4 advises 512 octets at most
MAX_CACHED: Final = 2048  # characters of a record that is kept read, so that hostile ones fill no memory

Kind = Literal["all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"]
Qualified = Literal["pass", "fail", "softfail", "neutral"]
QUALIFIERS: Final[dict[str, Qualified]] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}

_TERM = re.compile(r"([+\-~?]?)([A-Za-z][A-Za-z0-9_.\-]*)(?:([:=/])(.*))?\Z", re.ASCII | re.DOTALL)
_NUMBER = r"(0|[1-9][0-9]{0,2})"
# What follows the name of `a` and `mx`: a domain, the length of a prefix for IPv4, and behind "//" that for IPv6.
_DUAL = re.compile(rf"(?::(.*?))?(?:/{_NUMBER})?(?://{_NUMBER})?\Z", re.ASCII | re.DOTALL)
_NETWORK = re.compile(rf"(.*?)(?:/{_NUMBER})?\Z", re.ASCII | re.DOTALL)


class SpfSyntaxError(ValueError):
    """The record cannot be read; the message says which term and why, for the operator."""


class Term(msgspec.Struct, frozen=True):
    """One mechanism. text: as it is written. target: None for the domain of the record itself. first, last: the range
    of an `ip4` or `ip6` network. bits4, bits6: of the network around each address that `a` and `mx` find."""

    kind: Kind
    result: Qualified
    text: str
    target: MacroString | None = None
    first: int = 0
    last: int = 0
    bits4: int = 32
    bits6: int = 128


class Record(msgspec.Struct, frozen=True):
    """terms: mechanisms in their order. redirect, exp: the modifiers, None where there is none."""

    terms: tuple[Term, ...]
    redirect: MacroString | None = None
    exp: MacroString | None = None


def records_among(texts: Iterable[str]) -> list[str]:
    """The SPF records among TXT records (§4.5): the version, and then a space or nothing."""
    return [text for text in texts if text[:6].lower() == VERSION and (len(text) == 6 or text[6] == " ")]


def parse_record(text: str) -> Record:
    """The record. Raises SpfSyntaxError for any mistake anywhere in it (§4.6): then no part of it counts."""
    return _parse_once(text) if len(text) <= MAX_CACHED else _parse(text)


def _parse(text: str) -> Record:
    if len(text) > MAX_RECORD:
        raise SpfSyntaxError(f"the record is longer than {MAX_RECORD} characters")
    if not text.isascii() or not text.isprintable():
        raise SpfSyntaxError("the record has characters that are not printable ASCII")
    terms: list[Term] = []
    modifiers: dict[str, MacroString] = {}
    for word in text[len(VERSION) :].split(" "):
        if not word:
            continue
        try:
            _read(word, terms, modifiers)
        except (MacroError, ValueError) as error:
            raise SpfSyntaxError(f"{word[:100]!r}: {error}") from error
    # `all` always matches: a redirect beside it is not looked at (§6.1).
    redirect = None if any(term.kind == "all" for term in terms) else modifiers.get("redirect")
    return Record(tuple(terms), redirect, modifiers.get("exp"))


_parse_once = lru_cache(maxsize=2048)(_parse)


def _read(word: str, terms: list[Term], modifiers: dict[str, MacroString]) -> None:
    found = _TERM.match(word)
    if found is None:
        raise SpfSyntaxError("it is neither a mechanism nor a modifier")
    qualifier, name, separator, rest = found.groups()
    name = name.lower()
    if separator == "=" and not qualifier:
        _modifier(name, rest, modifiers)
    else:
        terms.append(_mechanism(word, QUALIFIERS[qualifier or "+"], name, (separator or "") + (rest or "")))


def _modifier(name: str, value: str, modifiers: dict[str, MacroString]) -> None:
    if name not in ("redirect", "exp"):
        parse(value)  # one that nobody knows is passed over, but must be well formed (§6)
        return
    if name in modifiers:
        raise SpfSyntaxError("it stands twice")
    modifiers[name] = parse_domain(value)


def _mechanism(word: str, result: Qualified, name: str, rest: str) -> Term:
    match name:
        case "all":
            if rest:
                raise SpfSyntaxError("nothing may follow `all`")
            return Term("all", result, word)
        case "include" | "exists":
            if not rest.startswith(":"):
                raise SpfSyntaxError("the domain is missing")
            return Term("include" if name == "include" else "exists", result, word, parse_domain(rest[1:]))
        case "ptr":
            if rest and not rest.startswith(":"):
                raise SpfSyntaxError("only a domain may follow `ptr`")
            return Term("ptr", result, word, parse_domain(rest[1:]) if rest else None)
        case "a" | "mx":
            return _hosts("a" if name == "a" else "mx", word, result, rest)
        case "ip4" | "ip6":
            if not rest.startswith(":"):
                raise SpfSyntaxError("the address is missing")
            return _network("ip4" if name == "ip4" else "ip6", word, result, rest[1:])
    raise SpfSyntaxError("there is no such mechanism")


def _hosts(kind: Literal["a", "mx"], word: str, result: Qualified, rest: str) -> Term:
    found = _DUAL.match(rest)
    if found is None:
        raise SpfSyntaxError("what follows the name is no domain and no length of a prefix")
    domain, bits4, bits6 = found.groups()
    target = None if domain is None else parse_domain(domain)
    return Term(kind, result, word, target, bits4=_bits(bits4, 32), bits6=_bits(bits6, 128))


def _network(kind: Literal["ip4", "ip6"], word: str, result: Qualified, rest: str) -> Term:
    found = _NETWORK.match(rest)
    assert found is not None  # its first group takes anything
    text, written = found.groups()
    if "%" in text:
        raise SpfSyntaxError("an address has no zone here")
    address = IPv4Address(text) if kind == "ip4" else IPv6Address(text)
    size = address.max_prefixlen
    hosts = (1 << (size - _bits(written, size))) - 1
    first = int(address) & ~hosts
    return Term(kind, result, word, first=first, last=first | hosts)


def _bits(text: str | None, most: int) -> int:
    bits = most if text is None else int(text)
    if bits > most:
        raise SpfSyntaxError(f"a prefix has at most {most} bits")
    return bits
