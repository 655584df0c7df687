"""Macro strings of SPF (RFC 7208 §7): read once, expanded for each peer. Pure text; no DNS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

MAX_NAME: Final = 253  # RFC 7208 §7.3: of a name that a macro string makes; RFC 1035 §3.1 without the final dot
_MOST_PARTS: Final = 999  # a name has at most 127 labels; past that a number means all of them

_EXPAND = re.compile(r"%\{([A-Za-z])([0-9]*)([rR]?)([.\-+,/_=]*)\}")
_ESCAPES: Final = {"%%": "%", "%_": " ", "%-": "%20"}
IN_NAMES: Final = frozenset("slodiphv")
IN_EXPLANATIONS: Final = IN_NAMES | frozenset("crt")
NEEDS_PTR: Final = "p"
OF_SENDER: Final = frozenset("sl")


class MacroError(ValueError):
    """The text is no macro string; the message says what is wrong."""


class Macro(msgspec.Struct, frozen=True):
    """letter: lower case. keep: how many parts from the right, 0 for all. escaped: a capital was written (§7.3)."""

    letter: str
    keep: int = 0
    is_reversed: bool = False
    delimiters: str = "."
    escaped: bool = False


class MacroString(msgspec.Struct, frozen=True):
    """pieces: literal text and macros. letters: of its macros. plain: the text where there is no macro, else None."""

    pieces: tuple[str | Macro, ...]
    letters: frozenset[str] = frozenset()
    plain: str | None = None


def parse(text: str, letters: frozenset[str] = IN_NAMES) -> MacroString:
    """The macro string (§7.1). letters: the macros that may stand in it. Raises MacroError."""
    pieces: list[str | Macro] = []
    at = 0
    while at < len(text):
        if text[at] != "%":
            end = text.find("%", at)
            end = len(text) if end < 0 else end
            pieces.append(text[at:end])
            at = end
        elif (found := _EXPAND.match(text, at)) is not None:
            pieces.append(_macro(found, letters))
            at = found.end()
        elif (escape := _ESCAPES.get(text[at : at + 2])) is not None:
            pieces.append(escape)
            at += 2
        else:
            raise MacroError(f"{text[at : at + 8]!r} is no macro")
    used = frozenset(piece.letter for piece in pieces if isinstance(piece, Macro))
    plain = None if used else "".join(piece for piece in pieces if isinstance(piece, str))
    return MacroString(tuple(pieces), used, plain)


def parse_domain(text: str) -> MacroString:
    """The domain-spec: a macro string that ends in a top-level label or in a macro (§7.1). Raises MacroError."""
    parsed = parse(text)
    if not text:
        raise MacroError("the domain is missing")
    if not text.endswith(("}", "%%", "%_", "%-")) and not _ends_in_toplabel(text):
        raise MacroError(f"{text[:80]!r} is no domain")
    return parsed


def _ends_in_toplabel(text: str) -> bool:
    """Whether a dot and a top-level label end it: letters, digits and inner hyphens, not digits alone."""
    _, dot, label = text.removesuffix(".").rpartition(".")
    if not dot or not label.replace("-", "").isalnum() or not label.isascii():
        return False
    return not (label.startswith("-") or label.endswith("-") or label.isdigit())


def _macro(found: re.Match[str], letters: frozenset[str]) -> Macro:
    letter, digits, reverse, delimiters = found.groups()
    if letter.lower() not in letters:
        raise MacroError(f"the macro %{{{letter}}} is not known here")
    significant = digits.lstrip("0")
    if digits and not significant:
        raise MacroError("a macro keeps at least one part")
    keep = _MOST_PARTS if len(significant) > 3 else int(significant or 0)
    return Macro(letter.lower(), keep, bool(reverse), delimiters or ".", letter.isupper())


def expand(string: MacroString, values: Mapping[str, str]) -> str:
    """The text with each macro replaced by `values` of its letter, transformed (§7.3)."""
    if string.plain is not None:
        return string.plain
    return "".join(piece if isinstance(piece, str) else _transformed(piece, values) for piece in string.pieces)


def expand_domain(string: MacroString, values: Mapping[str, str]) -> str:
    """The same as a name: lower case, without the final dot, cut from the left to what a name may have (§7.3)."""
    name = expand(string, values).removesuffix(".").lower()
    if len(name) <= MAX_NAME:
        return name
    kept = name[-MAX_NAME:]
    return kept if name[-MAX_NAME - 1] == "." else kept.partition(".")[2]


def _transformed(macro: Macro, values: Mapping[str, str]) -> str:
    value = values[macro.letter]
    if macro.keep or macro.is_reversed or macro.delimiters != ".":
        parts = re.split(f"[{re.escape(macro.delimiters)}]", value)
        if macro.is_reversed:
            parts.reverse()
        value = ".".join(parts[-macro.keep :] if macro.keep else parts)
    return quote(value, safe="-._~") if macro.escaped else value
