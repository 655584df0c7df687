"""Durations, sizes and rates as an operator writes them: "30s", "50MiB", "100/1h".

A part's settings name these types; `config` reads the text into them.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

Duration = Annotated[float, "duration"]
"""Seconds; written "30s", "5m", "2h", "7d"."""
DurationOrNone = Annotated[float, "duration or none"]
"""Seconds; written as above, or "0s" for none."""
Octets = Annotated[int, "size"]
"""Octets; written "50MB" (10^6), "50MiB", or a plain number."""
NetworkText = Annotated[str, "network"]
"""A network in its normal form; written "10.1.0.0/16", "192.0.2.7" or "2001:db8::/32"."""
AddressText = Annotated[str, "address"]
"""An address as a key (`accounts.addresses`); written "Ada@Example.org"."""
WhoText = Annotated[str, "who"]
"""Where or who: a service, `login`, `certificate`, `grant`, `network`, `trusted`, `anyone`, or a network."""
AccessText = Annotated[str, "access"]
"""An address, a network, a host name (".example.net" for all below it), or "file:/PATH" for a table of them."""

_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FACTORS: Final = {
    "": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")


class Quota(msgspec.Struct, frozen=True):
    """`units` in any `period` seconds; written "100/1h"."""

    units: int
    period: float


OctetQuota = Annotated[Quota, "octet rate"]
"""A rate of octets; written "500MB/1d"."""
DomainText = Annotated[str, "domain"]
"""A domain in lower case with A-labels; written "Example.org"."""
AddressPatternText = Annotated[str, "address pattern"]
"""Whom a rule means (`mail.address_pattern`); written "ada@example.org", "*@example.org", "*@*.example.org", "*"."""


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError that says what is allowed."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f'{text!r} is not a duration: write a number and ms, s, m, h, d or w, as in "30s" or "5d"')
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Octets. Raises ValueError that says what is allowed."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f'{text!r} is not a size: write a number and kB, MB, GB, KiB, MiB or GiB, as in "50MiB"')
    return round(float(match[1]) * _FACTORS[match[2]])


def parse_quota(text: str) -> Quota:
    """Raises ValueError that says what is allowed."""
    units, slash, period = text.partition("/")
    if not slash or not units.isascii() or not units.isdigit() or int(units) < 1:
        raise ValueError(f'{text!r} is not a rate: write a whole number, a slash and a duration, as in "100/1h"')
    seconds = parse_duration(period)
    if seconds <= 0:
        raise ValueError(f"{text!r} is not a rate: its period is zero")
    return Quota(int(units), seconds)


def parse_octet_quota(text: str) -> Quota:
    """Raises ValueError that says what is allowed."""
    size, slash, period = text.partition("/")
    try:
        octets, seconds = parse_size(size), parse_duration(period)
    except ValueError:
        octets = seconds = 0
    if not slash or octets < 1 or seconds <= 0:
        raise ValueError(f'{text!r} is not a rate: write a size, a slash and a duration, as in "500MB/1d"')
    return Quota(octets, seconds)


def show_duration(seconds: float) -> str:
    """`seconds` for a person: the largest unit that divides them ("90m", "2h", "45s")."""
    whole = round(seconds)
    for unit in ("d", "h", "m"):
        if whole and whole % _SECONDS[unit] == 0:
            return f"{round(whole / _SECONDS[unit])}{unit}"
    return f"{whole}s"


def show_quota(quota: Quota) -> str:
    """`quota` as it is written: "100/1h"."""
    return f"{quota.units}/{show_duration(quota.period)}"


def show_size(octets: int) -> str:
    """`octets` for a person: "50 MiB", "1.5 KiB", "12 B"."""
    for unit in ("GiB", "MiB", "KiB"):
        if octets >= _FACTORS[unit]:
            return f"{octets / _FACTORS[unit]:.1f}".removesuffix(".0") + f" {unit}"
    return f"{octets} B"
