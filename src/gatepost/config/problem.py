"""What is wrong with a configuration, as an administrator reads it: file, line, key, what was found, what to write.

Not here: finding the line of a key (`config.positions`) and the checks themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

Location = tuple[str | int, ...]
"""Keys and, for lists, places from 0 on, from the top of the document: ("listen", 0, "service")."""

MAX_SHOWN_CHARACTERS = 60
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Problem(msgspec.Struct, frozen=True):
    """One thing to change. line: 0 when no single line is to blame. key: as written in TOML, list places counted
    from 1. found: what is there. allowed: what to write or do."""

    file: Path
    line: int
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{where}: {self.key + ': ' if self.key else ''}{self.found}; {self.allowed}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all that was found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Wrong(ValueError):
    """A value that a setting cannot take. found: what is there, as half a sentence. allowed: what to write."""

    def __init__(self, found: str, allowed: str) -> None:
        self.found = found
        self.allowed = allowed
        super().__init__(f"{found}; {allowed}")


class Problems:
    """Collects what is wrong while a document is read; nothing stops at the first."""

    def __init__(self, file: Path, lines: Mapping[Location, int]) -> None:
        self.file = file
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self._lines = lines

    def error(self, at: Location, found: str, allowed: str) -> None:
        self.errors.append(self._problem(at, found, allowed))

    def wrong(self, at: Location, wrong: Wrong) -> None:
        self.error(at, wrong.found, wrong.allowed)

    def warn(self, at: Location, found: str, allowed: str) -> None:
        self.warnings.append(self._problem(at, found, allowed))

    def _problem(self, at: Location, found: str, allowed: str) -> Problem:
        line = next((self._lines[at[:end]] for end in range(len(at), 0, -1) if at[:end] in self._lines), 0)
        return Problem(self.file, line, key_text(at), found, allowed)


def key_text(at: Location) -> str:
    """The key as TOML writes it: `policy."client.connections".total`, `listen[2].service` (the second one)."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else show(part))
    return text


def show(value: object) -> str:
    """A value as TOML writes it, for a message: cut, and nothing in it can move a terminal's cursor."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return _cut(str(value) if not isinstance(value, int) or value.bit_length() < 128 else "a very long number")
        case str():
            return json.dumps(_cut("".join(c if c.isprintable() else _escaped(c) for c in value)), ensure_ascii=False)
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:  # dates and times
            return _cut(str(value))


def _escaped(character: str) -> str:
    return "?" if character != "\n" else " "


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."
