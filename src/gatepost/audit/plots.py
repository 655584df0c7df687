"""Small plots: a row of numbers as characters, or as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 5  # of a column, in the drawing's units
HEIGHT: Final = 40


def sparkline(numbers: Sequence[int]) -> str:
    """One character for each number, the highest for the largest one; a space for none. "" for nothing at all."""
    most = max(numbers, default=0)
    if most <= 0:
        return ""
    top = len(BARS) - 1
    return "".join(BARS[-(-number * top // most)] if number > 0 else " " for number in numbers)


def drawing(numbers: Sequence[int], label: str, height: int = HEIGHT) -> str:
    """The same as inline SVG, a column for each number. label: of the picture, plain text without markup."""
    most = max([*numbers, 1])
    columns = []
    for place, number in enumerate(numbers):
        tall = -(-number * height // most) if number > 0 else 0
        if tall:
            columns.append(f"M{place * WIDTH},{height}v-{tall}h{WIDTH - 1}v{tall}z")
    width = max(len(numbers), 1) * WIDTH
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" preserveAspectRatio="none">'
        f'<path d="{"".join(columns)}"/></svg>'
    )
