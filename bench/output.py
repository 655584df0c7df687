"""The report as a table for the terminal, and its lines for the manual's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.results import OURS, IdleLine, JobResult, Line, Report

HEAD = ("server", "rate/s", "spread", "ratio", "goal", "CPU s/1000", "CPU ratio", "p50 ms", "p95 ms", "p99 ms",
        "peak MiB", "idle MiB", "syncs/20", "resumed", "load cores", "smtp-source/s")  # fmt: skip


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def goal_text(job: JobResult) -> str:
    """What Gatepost should reach in a job, and whether it did."""
    words = []
    if job.goal is not None:
        words.append(f"{job.goal:g}x")
    if job.goal_cpu is not None:
        words.append(f"CPU {job.goal_cpu:g}")
    if job.goal_memory is not None:
        words.append(f"{job.goal_memory // 2**20} MiB over idle")
    if not words:
        return ""
    met = {True: "met", False: "MISSED", None: "?"}[job.is_met]
    return f"{', '.join(words)}: {met}"


def cells(job: JobResult, line: Line) -> tuple[str, ...]:
    """One row of a job's table."""
    if not line.rounds:
        return (line.server, f"failed: {line.problem}", *[""] * (len(HEAD) - 2))
    low, high = line.spread
    return (
        line.server, f"{line.rate:.0f}", f"{low:.0f}-{high:.0f}", _number(job.ratio(line)),
        goal_text(job) if line.server == job.ours else "", f"{line.cpu_per_1000:.3f}", _number(job.cpu_ratio(line)),
        *(f"{line.middle(name):.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        f"{line.peak_octets / 2**20:.0f}", f"{line.idle_octets / 2**20:.0f}",
        "-" if line.syncs is None else str(line.syncs),
        "-" if line.resumed_share is None else f"{line.resumed_share:.0%}",
        f"{line.middle('load_share'):.2f}", _number(line.smtp_source_rate, 0),
    )  # fmt: skip


def idle_cells(line: IdleLine) -> tuple[str, ...]:
    """One row of the table of idle connections."""
    if line.problem:
        return (line.server, "TLS" if line.tls else "plain", f"failed: {line.problem}", *[""] * (len(IDLE_HEAD) - 3))
    is_served = line.fresh_held_ms > 0
    goal = ""
    if line.server == OURS:
        each, met = (40, line.is_met(40)) if line.tls else (6, line.is_met(6))
        goal = f"{line.wanted} held, {each} KiB, {line.MOST_SLOWER:g}x: {'met' if met else 'MISSED'}"
    return (
        line.server, "TLS" if line.tls else "plain", f"{line.held} of {line.wanted}", f"{line.octets_each / 1024:.1f}",
        f"{line.fresh_before_ms:.2f}", f"{line.fresh_held_ms:.2f}" if is_served else "not served",
        f"{line.fresh_held_ms / line.fresh_before_ms:.2f}" if is_served else "-", goal,
    )  # fmt: skip


IDLE_HEAD = ("server", "TLS", "held", "KiB each", "fresh ms before", "fresh ms beside", "ratio", "goal")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    everything = [head, *rows]
    widths = [max(len(row[at]) for row in everything if not row[1].startswith("failed")) for at in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in everything)  # fmt: skip


def job_text(job: JobResult) -> str:
    """One job, for the terminal."""
    return f"\n{job.title} ({job.unit}s)\n" + table(HEAD, [cells(job, line) for line in job.lines])


def idle_text(lines: Sequence[IdleLine]) -> str:
    """The idle connections, for the terminal."""
    return "\nidle connections\n" + table(IDLE_HEAD, [idle_cells(line) for line in lines])


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)])


def page(report: Report, plot: str) -> str:
    """docs/performance.md. plot: where the plot is, seen from there."""
    summary = [
        (job.title, *(f"{one.rate:.0f}" if (one := job.line(name)) else "-" for name in (job.base, job.ours)),
         _number(job.ratio(ours) if ours else None), _number(job.cpu_ratio(ours) if ours else None),
         _number(job.price, 0), goal_text(job).replace("MISSED", "**missed**") or "-")
        for job in report.jobs for ours in [job.line(job.ours)]
    ]  # fmt: skip
    parts = [
        "# Performance, side by side\n",
        "Rates of Gatepost and of servers that people run, doing the same work on the same machine in the same run. "
        "This page is written by `python -m bench --publish`; do not edit it by hand.\n",
        "!!! note\n    Postfix does more than is measured here (privilege separation, address rewriting). What is "
        "compared is the rate at equal durability, for which the syncs are counted: every server is made to sync each "
        "message before it answers 250.\n",
        f"![Rates relative to Postfix]({plot})\n",
        "## Summary\n",
        _markdown(("job", "Postfix /s", "Gatepost /s", "ratio", "CPU ratio", "checks, us", "goal"), summary),
        "\nThe ratio is the median over the rounds, each of which ran next to one of Postfix. `checks, us` is what the "
        "default checks cost: microseconds of CPU a message beyond those of the server without its optional checks. "
        "SPF and DKIM are not in it, as the load comes from this machine and is not signed: `python -m bench.spf` and "
        "`python -m bench.dkim` tell what they add where they apply. Beside "
        "1,000,000 entries, Gatepost with them is compared with Gatepost without. Trust ratios and CPU, not "
        "single rates: the machine is shared, and drifts.\n",
        "## The run\n",
        _markdown(("", ""), [("when", report.when), *report.machine.items(), ("load generator", report.generator),
                             ("rounds", f"{report.rounds} of about {report.round_seconds:g} s, by turns"),
                             *([("note", report.note)] if report.note else [])]),
        "\n" + _markdown(("server", "version and configuration"), list(report.servers.items())),
        "\nTo repeat it, on a machine that does nothing else (Postfix needs root):\n\n"
        "```\nmake bench                                # all of it\n"
        ".venv/bin/python -m bench --quick --only accept-4k-s50   # one job, fewer rounds\n"
        ".venv/bin/python -m bench --publish       # and write this page\n```\n",
        "## Job by job\n",
        "`spread` is the lowest and the highest round. `CPU s/1000` is that of the whole process tree for 1000 "
        "messages, kernel included. Latency is from the connection (on kept ones: from MAIL) to the last reply. "
        "`peak MiB` and `idle MiB` are PSS of the tree at work and before. `syncs/20` is how often it asked "
        "the system to make something durable in 20 messages, one after the other. `resumed` is the share of "
        "TLS sessions that were. `load cores` is what the load generator took of the machine. "
        "`smtp-source/s` is one run with Postfix's own generator.\n",
    ]  # fmt: skip
    for job in report.jobs:
        parts += [f"### {job.title}\n", _markdown(HEAD, [cells(job, line) for line in job.lines]) + "\n"]
    if report.idle:
        parts += [
            "### Idle connections\n",
            _markdown(IDLE_HEAD, [idle_cells(line) for line in report.idle]),
            "\nGatepost with one worker. `fresh` is how long a new client waits for greeting, EHLO and NOOP.\n",
        ]
    return "\n".join(parts)
