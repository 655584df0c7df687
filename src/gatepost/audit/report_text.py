"""The report for a terminal: tables, and plots of block characters. Nothing in it moves a cursor."""

from __future__ import annotations

from gatepost.audit.plots import sparkline
from gatepost.audit.report_rows import Report
from gatepost.audit.report_tables import Cell, Table, heading, overview, slot, tables, totals
from gatepost.audit.timeline import shown

MAX_CELL = 60  # characters


def render_text(report: Report) -> str:
    """Everything, one table after the other."""
    width = max(len(name) for name, _, _ in overview(report))
    numbers = max(len(str(number)) for _, number, _ in overview(report))
    lines = [heading(report), f"a column of a plot is {slot(report)}", ""]
    lines += [f"{name:<{width}}  {number:>{numbers}}  {sparkline(columns)}".rstrip()
              for name, number, columns in overview(report)]  # fmt: skip
    lines += ["", ", ".join(f"{name} {number}" for name, number in totals(report))]
    for table in tables(report):
        lines += ["", *_drawn(table)]
    return "\n".join(lines)


def _drawn(table: Table) -> list[str]:
    body = [[_cell(cell) for cell in row] for row in table.rows]
    heads = [head.upper() for head in table.heads]
    widths = [max(len(row[place]) for row in [heads, *body]) for place in range(len(heads))]
    is_number = [all(isinstance(row[place], int) for row in table.rows) for place in range(len(heads))]
    lines = [table.title + (f" ({table.note})" if table.note else "")]
    for row in [heads, *body]:
        aligned = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, is_number, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    return lines


def _cell(cell: Cell) -> str:
    if isinstance(cell, list):
        return sparkline(cell)
    text = shown(str(cell))
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 3] + "..."
