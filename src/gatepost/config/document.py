"""The file as a document: octets to TOML, and where each key stands. Not here: what the keys mean."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gatepost.config.files import read_file
from gatepost.config.positions import positions
from gatepost.config.problem import ConfigError, Location, Problem, Wrong

MAX_FILE_OCTETS: Final = 16 * 2**20
MAX_DEPTH: Final = 16  # of tables and lists in each other; nothing of ours needs more than five
_AT_LINE = re.compile(r" ?\(at line ([0-9]+), column ([0-9]+)\)")
_UNQUOTED = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=\s*([A-Za-z/][^#\n]*)")
_ADVICE: Final = (
    ("Cannot overwrite a value", "the same key is set twice in this table; keep one of the two lines"),
    ("Cannot declare", "a table has one header; join the two, or use [[...]] where a list of tables is meant"),
    ("Cannot mutate immutable", "a table written in { } cannot be continued elsewhere; write all of its keys inside"),
    ("Unescaped '\\'", "write backslashes twice, or use single quotes"),
    ("Illegal character", "a text ends on its line: see whether its closing quotation mark is missing"),
    ("Expected '='", "write key = value, and put quotes around a key that has other characters than A-Z a-z 0-9 _ -"),
    ("Expected ']'", "close the bracket; names that have a dot inside stand in quotes, as in [domain.\"example.org\"]"),
)  # fmt: skip


def read_document(file: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """The document and the lines of its keys. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        octets = read_file(file, 'give the right one with --config, or write one with "gatepost init"', MAX_FILE_OCTETS)
    except Wrong as wrong:
        raise ConfigError((Problem(file, 0, "", wrong.found, wrong.allowed),)) from None
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError((Problem(file, line, "", "the text is not UTF-8", "save the file as UTF-8"),)) from None
    return _parsed(text, file)


def _parsed(text: str, file: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    document: dict[str, Any] = {}
    try:
        document = tomllib.loads(text)
        is_deep = any(depth > MAX_DEPTH for depth, _ in _walk(document))
    except ValueError as error:  # TOMLDecodeError is one; so is what int() says to 5000 digits
        raise ConfigError((_syntax(str(error), text, file),)) from None
    except RecursionError:
        is_deep = True
    if is_deep:
        found = f"tables or lists stand in each other more than {MAX_DEPTH} deep"
        raise ConfigError((Problem(file, 0, "", found, "see whether brackets are left open"),))
    return document, positions(text)


def _walk(document: dict[str, Any]) -> Iterator[tuple[int, object]]:
    waiting: list[tuple[int, object]] = [(0, document)]
    while waiting:
        depth, value = waiting.pop()
        yield depth, value
        if depth > MAX_DEPTH:
            return
        if isinstance(value, dict):
            waiting += [(depth + 1, inner) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(depth + 1, inner) for inner in value]


def _syntax(message: str, text: str, file: Path) -> Problem:
    """What tomllib says, with its line, and what most often leads to it."""
    at = _AT_LINE.search(message)
    lines = text.replace("\r\n", "\n").split("\n")
    number = int(at[1]) if at else (len(lines) if "end of document" in message else 0)
    line = lines[number - 1] if number else ""
    what = _AT_LINE.sub("", message).replace(" (at end of document)", "")
    found = f"this is not TOML: {what}" + (f" in column {at[2]}" if at else "")
    if (unquoted := _UNQUOTED.match(line)) and what.startswith("Invalid value"):
        return Problem(file, number, unquoted[1].strip(), "the text has no quotes",
                       f'write {unquoted[1]} = "{unquoted[2].strip()}"')  # fmt: skip
    advice = next(
        (text for start, text in _ADVICE if start in what), "compare the line with the examples of the manual"
    )
    return Problem(file, number, "", found, advice)
