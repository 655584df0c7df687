"""Where each key of a TOML document stands. tomllib gives no positions, and an error without a line is half an error.

The document is one that tomllib has read: nothing is checked here, and what is not understood is passed over.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from gatepost.config.problem import Location

_BLANKS = re.compile(r"[ \t]*")
_NOTHING = re.compile(r"(?:[ \t\n]|#[^\n]*)*")  # blanks, line ends and comments
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# A date and its time may be separated by a blank (TOML 1.0, Offset Date-Time).
_SCALAR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[^,\]}\s#]+|[^,\]}\s#]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
# Up to two quotation marks may stand right before the closing three.
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)


def positions(text: str) -> dict[Location, int]:
    """The line, from 1 on, of every key, table and list item of a valid document.

    A table that several headers build stands where its own header is, else where it is first named.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.found


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[Location, int] = {}
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._last_of: dict[Location, int] = {}  # arrays of tables: the place of the last one

    def document(self) -> None:
        table: Location = ()
        self._skip(_NOTHING)
        while self._at < len(self._text):
            start = self._at
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_NOTHING)
            if self._at == start:
                self._at += 1

    def _header(self) -> Location:
        """The table that a header opens."""
        line = self._line()
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        *parents, last = self._key() or [""]
        self._skip(_BLANKS)
        self._at += 2 if is_array else 1
        table: Location = ()
        for part in parents:
            table = (*table, part)
            self.found.setdefault(table, line)
            if table in self._last_of:
                table = (*table, self._last_of[table])
        table = (*table, last)
        if is_array:
            self.found.setdefault(table, line)
            self._last_of[table] = self._last_of.get(table, -1) + 1
            table = (*table, self._last_of[table])
        self.found[table] = line
        return table

    def _pair(self, table: Location) -> None:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self.found.setdefault(path, line)
        self._skip(_BLANKS)
        self._at += 1  # the equals sign
        self._skip(_BLANKS)
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_BLANKS)
            for pattern in (_BARE_KEY, _BASIC, _LITERAL):
                if match := pattern.match(self._text, self._at):
                    parts.append(_plain(match.group()))
                    self._at = match.end()
                    break
            self._skip(_BLANKS)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _value(self, path: Location) -> None:
        if self._text.startswith("[", self._at):
            self._list(path)
        elif self._text.startswith("{", self._at):
            self._inline_table(path)
        else:
            for pattern in (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL, _SCALAR):
                if match := pattern.match(self._text, self._at):
                    self._at = match.end()
                    return
            self._at += 1

    def _list(self, path: Location) -> None:
        self._at += 1
        number = 0
        while self._goes_on("]"):
            self.found[(*path, number)] = self._line()
            self._value((*path, number))
            number += 1

    def _inline_table(self, path: Location) -> None:
        self._at += 1
        while self._goes_on("}"):
            self._pair(path)

    def _goes_on(self, closing: str) -> bool:
        """Whether another item follows; steps over the comma before it, or over the closing bracket."""
        self._skip(_NOTHING)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_NOTHING)
        if self._at >= len(self._text):
            return False
        if self._text.startswith(closing, self._at):
            self._at += 1
            return False
        return True

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _line(self) -> int:
        return bisect_right(self._line_ends, self._at - 1) + 1


def _plain(key: str) -> str:
    """The key without quotation marks and escapes."""
    if key[0] not in "\"'":
        return key
    return next(iter(tomllib.loads(f"{key} = 0")))
