"""The plot of the report: for each job how many times Postfix's rate each server has, as SVG."""

from __future__ import annotations

from math import log10
from typing import Final
from xml.sax.saxutils import escape

from bench.results import BASE, JobResult, Report

COLOURS: Final = ("#00796b", "#80cbc4", "#5c6bc0", "#ef6c00", "#8d6e63", "#c2185b")
WIDTH, LABELS, BAR, GAP, TOP, FIGURE = 900, 330, 14, 12, 40, 32
LEAST, MOST = 0.1, 30.0


def _x(ratio: float) -> float:
    """A logarithmic scale: twice as fast is as far from one as half as fast."""
    share = (log10(min(max(ratio, LEAST), MOST)) - log10(LEAST)) / (log10(MOST) - log10(LEAST))
    return LABELS + share * (WIDTH - LABELS - 50)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def svg(report: Report) -> str:
    """The drawing. A goal is a short black line across Gatepost's bar."""
    jobs = [job for job in report.jobs if job.base == BASE]
    names = list(dict.fromkeys(line.server for job in jobs for line in job.lines if line.server != BASE))
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}
    parts, y = [], TOP + GAP
    for job in jobs:
        bars, y = _bars(job, colours, y)
        parts += bars
    grid = [
        f'<line x1="{_x(at):.0f}" x2="{_x(at):.0f}" y1="{TOP}" y2="{y}" stroke="{"#000" if at == 1 else "#ccc"}"/>'
        + _text(_x(at), TOP - 6, f"{at:g}x", "middle")
        for at in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
    ]
    legend = []
    for at, name in enumerate(names):
        x = 10 + at * 140
        legend.append(f'<rect x="{x}" y="{y + 14}" width="12" height="12" fill="{colours[name]}"/>')
        legend.append(_text(x + 18, y + 25, name))
    title = _text(10, 16, "Rate relative to Postfix in the same run (logarithmic; black line: the goal)")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 40}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join([title, *grid, *parts, *legend])
        + "\n</svg>\n"
    )


def _beside(bar: float, mark: float) -> float:
    """Where the figure of a bar stands so that the mark of the goal does not cross it."""
    return mark + 6 if bar - 2 < mark < bar + 4 + FIGURE else bar + 4


def _bars(job: JobResult, colours: dict[str, str], y: int) -> tuple[list[str], int]:
    """A job's bars, and where the next job begins."""
    shown = [(line.server, ratio) for line in job.lines
             if line.server != BASE and (ratio := job.ratio(line)) is not None]  # fmt: skip
    if not shown:
        return [], y
    parts = [_text(LABELS - 8, y + BAR * len(shown) / 2 + 4, job.title, "end")]
    for at, (server, ratio) in enumerate(shown):
        top, left, right = y + at * BAR, min(_x(1), _x(ratio)), max(_x(1), _x(ratio))
        parts.append(f'<rect x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="{BAR - 2}" '
                     f'fill="{colours[server]}"/>')  # fmt: skip
        beside = right + 4
        if at == 0 and job.goal is not None:
            beside = _beside(right, _x(job.goal))
            parts.append(f'<rect x="{_x(job.goal) - 1:.1f}" y="{top - 2}" width="2" height="{BAR + 2}" fill="#000"/>')
        parts.append(_text(beside, top + BAR - 3, f"{ratio:.2f}"))
    return parts, y + BAR * len(shown) + GAP
