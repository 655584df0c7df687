"""What commands print: tables and sentences for people, JSON for programs (`--json`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gatepost.cli.options import given


def rows(found: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """A list: as a table of `columns`, or as an array of the objects whole. nothing: said when there is none."""
    if given.as_json:
        _json(list(found))
    elif not found:
        print(nothing, file=sys.stderr)  # so that a script that counts lines counts none
    else:
        _table([[_cell(row.get(column)) for column in columns] for row in found], [name.upper() for name in columns])


def thing(found: Mapping[str, Any], text: str = "") -> None:
    """One thing: as an object, or as `text`, or as lines "name: value"."""
    if given.as_json:
        _json(dict(found))
    elif text:
        print(printable(text, lines=True))
    else:
        width = max((len(name) for name in found), default=0)
        for name, value in found.items():
            print(f"{name.replace('_', ' ') + ':':<{width + 1}} {_cell(value)}")


def done(text: str, **facts: Any) -> None:
    """What was done: a sentence, or an object of `facts`."""
    if given.as_json:
        _json({"ok": True, **facts})
    else:
        print(printable(text, lines=True))


def note(text: str) -> None:
    """Something worth knowing beside the result; it never mixes with what a program reads."""
    print(f"gatepost: {printable(text, lines=True)}", file=sys.stderr)


def printable(text: str, *, lines: bool = False) -> str:
    """`text` without anything that moves a terminal's cursor: much of what is shown was written by strangers."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else "\N{REPLACEMENT CHARACTER}" for c in text)


def _table(body: list[list[str]], head: list[str]) -> None:
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
    for row in [head, *body]:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == () or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return printable(", ".join(str(item) for item in value))
    return printable(str(value))


def _json(value: Any) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
