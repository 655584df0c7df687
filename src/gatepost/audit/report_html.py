"""The report as one page that needs nothing else: no script, no font, no picture from anywhere, and it asks for none.

Every text in it is escaped: much of it was written by strangers.
"""

from __future__ import annotations

from html import escape
from typing import Final

from gatepost.audit.plots import drawing
from gatepost.audit.report_rows import Report
from gatepost.audit.report_tables import Cell, Table, heading, overview, slot, tables, totals
from gatepost.audit.timeline import shown

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --ink: #2166ac; }
@media (prefers-color-scheme: dark) { :root { --ink: #6baed6; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .3rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; min-width: 3.5rem; }
th.number, td.number { text-align: right; }
svg { width: 12rem; height: 1.4rem; display: block; } svg path { fill: var(--ink); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; margin: 1rem 0; }
.plots svg { width: 100%; height: 4rem; border-bottom: 1px solid var(--line); }
.plots figure { margin: 0; } figcaption b { font-size: 1.2rem; }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def render_html(report: Report, hostname: str) -> str:
    """The page."""
    title = f"Who used {hostname}, and who abused it"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(heading(report))}; a column of a plot is {_text(slot(report))}.</p>",
        '<div class="plots">',
        *(_plot(*each) for each in overview(report)),
        "</div>",
        f"<p>{_text(', '.join(f'{name} {number}' for name, number in totals(report)))}.</p>",
        *(_table(each) for each in tables(report)),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _plot(name: str, number: int, columns: list[int]) -> str:
    label = _text(f"{name} over time")
    return f"<figure><figcaption><b>{number}</b> {_text(name)}</figcaption>{drawing(columns, label, 100)}</figure>"


def _table(table: Table) -> str:
    numbers = [all(isinstance(row[place], int) for row in table.rows) for place in range(len(table.heads))]
    heads = "".join(
        f"<th{_class(number)}>{_text(head)}</th>" for head, number in zip(table.heads, numbers, strict=True)
    )
    rows = "\n".join(
        f"<tr>{''.join(_cell(*each) for each in zip(row, numbers, table.heads, strict=True))}</tr>"
        for row in table.rows
    )
    note = f"<p>{_text(table.note)}</p>" if table.note else ""
    return (
        f"<h2>{_text(table.title)}</h2>{note}\n"
        f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    )


def _cell(cell: Cell, is_number: bool, head: str) -> str:
    return f"<td{_class(is_number)}>{drawing(cell, _text(head)) if isinstance(cell, list) else _text(str(cell))}</td>"


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _text(text: str) -> str:
    return escape(shown(text))
