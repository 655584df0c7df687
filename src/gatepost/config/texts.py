"""Texts of the configuration as typed values: switches, numbers, durations, sizes, rates, words.

Each reader takes what TOML held and returns the value, or raises `Wrong` with what was found and what to write.
Not here: names and addresses (`config.hosts`), files (`config.files`), and which setting has which type
(`config.schema`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Annotated, Final, TypeVar

from pydantic import PlainValidator

from gatepost.config.problem import Wrong, show
from gatepost.mail.units import Quota, parse_duration, parse_octet_quota, parse_quota, parse_size

LONGEST: Final = 3650 * 86400.0  # ten years: what is longer is a typing error, and overflows arithmetic with dates
LARGEST: Final = 2**50  # octets
MAX_COUNT: Final = 10**9

_T = TypeVar("_T")


def read_text(value: object, allowed: str) -> str:
    """`value` if it is a text of printable characters. allowed: what to write instead."""
    if not isinstance(value, str):
        raise Wrong(f"{show(value)} is not a text in quotes", allowed)
    if not value.strip():
        raise Wrong("the text is empty", allowed)
    if not value.isprintable():
        raise Wrong(f"{show(value)} holds a control character", allowed)
    return value


def read_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{show(value)} is neither true nor false", "write true or false, without quotes")
    return value


def counted(least: int, most: int = MAX_COUNT, why: str = "") -> Callable[[object], int]:
    """A reader of whole numbers from `least` to `most`. why: said when one is too small."""
    allowed = (
        f"write a whole number from {least} to {most}"
        if most < MAX_COUNT
        else f"write a whole number, at least {least}"
    )

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"{show(value)} is not a whole number", allowed + ", without quotes")
        if not least <= value <= most:
            raise Wrong(f"{show(value)} is too {'small' if value < least else 'large'}", allowed + why)
        return value

    return read


def parsed(value: object, parse: Callable[[str], _T], what: str, allowed: str) -> _T:
    """What `parse` makes of the text. what: what it should be, with its article, for the complaint."""
    text = read_text(value, allowed)
    try:
        return parse(text)
    except ValueError:
        raise Wrong(f"{show(value)} is not {what}", allowed) from None


def read_duration(value: object) -> float:
    allowed = 'write a number and ms, s, m, h, d or w, as in "30s" or "5d"'
    seconds = parsed(value, parse_duration, "a duration", allowed)
    if not 0 < seconds <= LONGEST:
        raise Wrong(f"{show(value)} is {'longer than ten years' if seconds else 'no time at all'}", allowed)
    return seconds


def read_size(value: object) -> int:
    """Octets; a plain number counts octets."""
    allowed = 'write a number and kB, MB, GB, KiB, MiB or GiB, as in "50MiB"'
    if isinstance(value, int) and not isinstance(value, bool):
        octets = value
    else:
        octets = parsed(value, parse_size, "a size", allowed)
    if not 0 < octets <= LARGEST:
        raise Wrong(f"{show(value)} is {'too large' if octets > 0 else 'too small'}", allowed)
    return octets


def sized(least: str, why: str) -> Callable[[object], int]:
    """A reader of sizes from `least` on. why: said when one is too small."""

    def read(value: object) -> int:
        octets = read_size(value)
        if octets < parse_size(least):
            raise Wrong(f"{show(value)} is too small", f'write at least "{least}"; {why}')
        return octets

    return read


def read_rate(value: object) -> Quota:
    allowed = 'write a whole number, a slash and a duration, as in "100/1h"'
    quota = parsed(value, parse_quota, "a rate", allowed)
    if quota.units > MAX_COUNT or quota.period > LONGEST:
        raise Wrong(f"{show(value)} is out of all proportion", allowed)
    return quota


def read_octet_rate(value: object) -> Quota:
    allowed = 'write a size, a slash and a duration, as in "500MB/1d"'
    quota = parsed(value, parse_octet_quota, "a rate of octets", allowed)
    if not 0 < quota.units <= LARGEST or quota.period > LONGEST:
        raise Wrong(f"{show(value)} is out of all proportion", allowed)
    return quota


def choice(allowed: Collection[str], unbuilt: Collection[str] = ()) -> Callable[[object], str]:
    """A reader of one of the `allowed` words. unbuilt: words that a later version will know."""
    words = ", ".join(allowed)

    def read(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        if isinstance(value, str) and value in unbuilt:
            raise Wrong(f"{show(value)} is not available in this version", f"write one of {words}")
        close = difflib.get_close_matches(value.lower(), list(allowed), 1) if isinstance(value, str) else []
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise Wrong(f"{show(value)} is not one of the words known here", f"write one of {words}{hint}")

    return read


Switch = Annotated[bool, PlainValidator(read_switch)]
Count = Annotated[int, PlainValidator(counted(1))]
DurationText = Annotated[float, PlainValidator(read_duration)]
SizeText = Annotated[int, PlainValidator(read_size)]
RateText = Annotated[Quota, PlainValidator(read_rate)]
