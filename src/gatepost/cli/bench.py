"""`gatepost bench`: what this installation can do, what limits it, and which setting would help."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gatepost.cli import output
from gatepost.cli.errors import CommandError
from gatepost.cli.options import AsJson, ConfigFile, given, single

if TYPE_CHECKING:
    from gatepost.app.benchmark.measured import Finding, Measured

app = single()


@app.command()
def bench(
    sessions: Annotated[int, typer.Option(min=1, max=1000, help="Connections at once that bring mail.")] = 50,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="How long mail is brought.")] = 5.0,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure this installation: its disk, a private server on it, passwords and the DNS. It says what limits it.

    It takes the CPU and the disk for that time: run it when little mail comes. The server that serves is not touched.
    """
    from gatepost.app.benchmark.run import bench as measure
    from gatepost.app.benchmark.server import BenchError
    from gatepost.app.benchmark.verdict import verdict
    from gatepost.cli.session import configuration, data_folder

    settings = configuration()
    data_folder(settings)
    try:
        found = measure(settings, sessions, seconds, _progress)
    except (BenchError, OSError) as error:
        raise CommandError(f"not measured: {error}") from error
    findings = verdict(found)
    output.thing(_facts(found, findings), "\n".join([*_lines(found), "", *_said(findings)]))


def _progress(what: str) -> None:
    if sys.stderr.isatty() and not given.as_json:
        print(f"measuring: {what}", file=sys.stderr)


def _facts(found: Measured, findings: list[Finding]) -> dict[str, object]:
    import msgspec

    facts: dict[str, object] = msgspec.to_builtins(found)
    return {**facts, "limited_by": findings[0].limit, "findings": msgspec.to_builtins(findings)}


def _lines(found: Measured) -> list[str]:
    disk, accept, login = found.disk, found.accept, found.login
    lines = [
        f"machine   {found.cores} cores, {found.workers} workers, {found.files} open files",
        f"disk      {disk.append_per_second:.0f} appends of 4 KiB a second, {disk.append_ms:.2f} ms each; "
        f"{disk.file_per_second:.0f} files, {disk.file_ms:.2f} ms each",
        f"accept    {accept.per_second:.0f} messages a second over {accept.sessions} connections at once; "
        f"p50 {accept.p50_ms:.1f} ms, p95 {accept.p95_ms:.1f} ms, CPU {accept.cpu_ms:.2f} ms a message",
        f"login     {login.hash_ms:.0f} ms a password, {login.per_second:.0f} new ones a second",
    ]
    for one in found.dns:
        took = f"{one.median_ms:.0f} ms a new name, {one.worst_ms:.0f} at worst" if one.asked > one.failed else "silent"
        lines.append(f"dns       {one.resolver}: {took}")
    return lines


def _said(findings: list[Finding]) -> list[str]:
    lines = []
    for place, one in enumerate(findings):
        lines.append(f"{'limit' if place == 0 else 'also':<9} {one.what}")
        lines.append(f"          {one.advice}")
    return lines
