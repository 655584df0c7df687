"""Reading the manual: its pages, their sections, tables and fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", re.M | re.S)


class Block(msgspec.Struct, frozen=True):
    """A fenced block. language: the first word behind the fence. line: where it opens."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def text_of(name: str) -> str:
    """A page by its name below docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str, level: int = 2) -> dict[str, str]:
    """The sections of a page by their headings, in order; what stands before the first is left out."""
    found: dict[str, str] = {}
    heading = None
    for line in _without_blocks(text):
        if line.startswith("#" * level + " "):
            heading = line.lstrip("# ").strip()
            found[heading] = ""
        elif heading is not None:
            found[heading] += line + "\n"
    return found


def _without_blocks(text: str) -> list[str]:
    """The lines; those inside fences lose a leading `#`, which is a comment there and no heading."""
    return _FENCE.sub(lambda match: re.sub(r"^#", " #", match[0], flags=re.M), text).splitlines()


def rows(section: str) -> list[list[str]]:
    """The cells of every table's rows, without heads and rules; `\\|` is a bar inside a cell."""
    found: list[list[str]] = []
    lines = section.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|") or set(line) <= set("|-: "):
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if below.startswith("|") and set(below) <= set("|-: "):
            continue
        found.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


def codes(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def blocks(page: Path, language: str) -> Iterator[Block]:
    """The fenced blocks of a language on a page."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        words = match[3].split()
        if words and words[0] == language:
            indent = len(match[1])
            body = "\n".join(line[indent:] for line in match[4].splitlines())
            line = text.count("\n", 0, match.start()) + 1
            yield Block(page, line, words[0], tuple(words[1:]), body + "\n")
