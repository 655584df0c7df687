"""`gatepost audit`: the record of what happened, read as it comes, searched, and told as stories."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.moments import parse_moment
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.session import configuration, data_folder

if TYPE_CHECKING:
    from pathlib import Path

app = noun("Audit: the record of what happened here.")

POLL_SECONDS = 0.5


@app.command("tail")
def tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new event, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many to begin with.")] = 10,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The latest events, a line each; with --json each event whole, one to a line."""
    import time

    from gatepost.audit.tail import tail as events_of

    with _told():
        for event in events_of(_folder(), follow, last=lines, wait=lambda: time.sleep(POLL_SECONDS)):
            _print_line(event)


Text = typer.Option
Since = Annotated[str, Text("--since", metavar="TIME", help='From then on: a time, or "2h" for so long ago.')]
Until = Annotated[str, Text("--until", metavar="TIME", help="Up to then.")]
Client = Annotated[str, Text("--client", metavar="IP|NETWORK", help="Whose address it is.")]
Login = Annotated[str, Text("--account", metavar="LOGIN", help="Who logged in, or tried to.")]
Sender = Annotated[str, Text("--sender", metavar="ADDRESS|@DOMAIN", help='The reverse-path; "<>" for none.')]
Recipient = Annotated[str, Text("--recipient", metavar="ADDRESS|@DOMAIN", help="One of the recipients.")]
Outcome = Annotated[str, Text("--verdict", metavar="WORD", help="pass, reject, defer, delivered, deferred, failed...")]
CheckName = Annotated[str, Text("--check", metavar="CHECK", help="A check that ran; with --verdict, its verdict.")]
EventKind = Annotated[str, Text("--kind", metavar="KIND", help='Of event, as in "smtp.message".')]
Limit = Annotated[int, Text("--limit", min=1, metavar="N", help="At most so many, the latest.")]


@app.command("search")
def search(
    since: Since = "",
    until: Until = "",
    client: Client = "",
    account: Login = "",
    sender: Sender = "",
    recipient: Recipient = "",
    verdict: Outcome = "",
    check: CheckName = "",
    kind: EventKind = "",
    limit: Limit = 1000,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The events that fit everything that is said, oldest first."""
    from gatepost.audit.criteria import Criteria
    from gatepost.audit.search import latest
    from gatepost.audit.timeline import render_event

    criteria = Criteria(
        since=parse_moment(since, "--since") if since else None,
        until=parse_moment(until, "--until") if until else None,
        client=client,
        account=account,
        sender=sender,
        recipient=recipient,
        verdict=verdict,
        check=check,
        kind=kind,
    )
    with _told():
        found = latest(_folder(), criteria, limit)
    if given.as_json:
        output.rows(found, (), "")
        return
    for event in found:
        print(render_event(event))
    if not found:
        output.note("nothing fits")
    elif len(found) == limit:
        output.note(f"these are the latest {limit}; --limit shows more")


@app.command("show")
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="As the peer was told it, the last word of the reply.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The whole story of a message or session: from connect to the last delivery."""
    from gatepost.audit.story import story
    from gatepost.audit.timeline import render_story

    with _told():
        found = story(_folder(), event_id)
    if not found:
        raise CommandError(
            f'the record knows no {event_id}; days older than audit.keep are gone, "audit search" finds the rest'
        )
    if given.as_json:
        output.rows(found, (), "")
    else:
        print(render_story(found))


@app.command("report")
def report(
    since: Annotated[str, Text("--since", metavar="TIME", help='From then on; else "7d", the last week.')] = "7d",
    until: Until = "",
    html: Annotated[bool, typer.Option("--html", help="Print a page for a browser, which needs nothing else.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Who used the server and who abused it: clients, accounts, refusals, failed logins, harvesters, limits."""
    import time

    import msgspec

    from gatepost.audit.report import report as counted
    from gatepost.audit.report_html import render_html
    from gatepost.audit.report_text import render_text
    from gatepost.cli.allowance import near

    settings = configuration()
    begin = parse_moment(since, "--since")
    end = parse_moment(until, "--until") if until else time.time()
    if begin >= end:
        raise CommandError("--since is not before --until; there is nothing in between", USAGE)
    with _told():
        found, counting = counted(data_folder(settings).audit, begin, end, _progress())
    if not until:
        found.limits = near(settings, [name for name in counting.senders if "@" in name])
    if given.as_json:
        output.thing(msgspec.to_builtins(found))
    else:
        print(render_html(found, settings.hostname) if html else render_text(found))


def _progress() -> Callable[[int], None]:
    """Tells a person at a terminal how far it is."""

    def tell(lines: int) -> None:
        if lines:
            print(f"\r{lines} events ", end="", file=sys.stderr, flush=True)

    return tell if sys.stderr.isatty() else lambda lines: None


@app.command("verify")
def verify(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Whether the record is what was written: every line against its chain. Exits 1 when something does not fit."""
    from gatepost.audit.verify import verify_all

    days = 0
    problems: list[dict[str, Any]] = []
    with _told():
        for day, found in verify_all(_folder()):
            days += 1
            problems += [{"day": day, "file": each.file, "line": each.line, "problem": each.what} for each in found]
    if given.as_json:
        output.thing({"ok": not problems, "days": days, "problems": problems})
    elif problems:
        output.rows(problems, ("file", "line", "problem"), "")
    else:
        whole = "1 day is as it was written" if days == 1 else f"{days} days are as they were written"
        output.done(f"{whole}. That nothing is missing at the end, only a copy elsewhere shows.")
    if problems:
        raise typer.Exit(1)


def _folder() -> Path:
    return data_folder(configuration()).audit


@contextmanager
def _told() -> Iterator[None]:
    """What the record cannot make sense of, or cannot read, as a command's error."""
    from gatepost.audit.files import CannotRead

    try:
        yield
    except CannotRead as error:
        raise CommandError(str(error)) from error
    except ValueError as error:
        raise CommandError(str(error), USAGE) from error


def _print_line(event: dict[str, Any]) -> None:
    import msgspec

    from gatepost.audit.timeline import render_event

    print(msgspec.json.encode(event).decode() if given.as_json else render_event(event))
    sys.stdout.flush()
