"""`gatepost policy`: what is decided, by which check, in which mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.session import configuration, data_folder

if TYPE_CHECKING:
    from gatepost.audit.explain import Explanation

app = noun("Policy: the checks, and what they did.")

MOST_EVENTS = 10_000


@app.command("list")
def list_checks(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every check with its mode in each service, as this configuration sets it."""
    import msgspec

    from gatepost.policy.engine import Policy
    from gatepost.policy.facts import SERVICES
    from gatepost.policy.registry import CHECKS

    policy = Policy(CHECKS, configuration().policy)
    found: list[dict[str, Any]] = []
    for check in policy.checks:
        settings = msgspec.to_builtins(policy.settings_of(check))
        modes = {service: policy.mode(check.name, service) for service in SERVICES}
        found.append({
            "name": check.name,
            "summary": check.summary,
            "optional": check.optional,
            "strangers_only": check.strangers_only,
            "modes": modes,
            "settings": {name: value for name, value in settings.items() if name not in ("mode", "services")},
        })  # fmt: skip
    rows = found if given.as_json else [{**check, "modes": _in_short(check["modes"])} for check in found]
    output.rows(rows, ("name", "modes", "summary"), "There are no checks.")


@app.command("explain")
def explain(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="As the peer was told it, the last word of the reply.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Why a message or session was treated so: each check, its verdict, and the facts that it read."""
    import msgspec

    from gatepost.audit.criteria import Criteria
    from gatepost.audit.explain import explain as explained
    from gatepost.audit.files import CannotRead
    from gatepost.audit.search import latest
    from gatepost.mail.ids import is_id

    wanted = event_id.strip("() ").upper()
    if not is_id(wanted):
        raise CommandError(
            f"{event_id!r} is not an ID: 26 letters and digits, as in the last brackets of a reply", USAGE
        )
    try:
        events = latest(data_folder(configuration()).audit, Criteria(id=wanted), MOST_EVENTS)
    except CannotRead as error:
        raise CommandError(str(error)) from error
    own = [event for event in events if event.get("id") == wanted]
    if not own:
        raise CommandError(f"the record knows no {wanted}; days older than audit.keep are gone")
    found = explained(own[-1])
    output.thing(msgspec.to_builtins(found), _as_text(found))


def _as_text(found: Explanation) -> str:
    lines = [found.words, ""]
    for check in found.checks:
        mark = "=>" if check.decided else "  "
        lines.append(
            f"{mark} {check.verdict:<10} {check.check} ({check.mode}){': ' + check.reason if check.reason else ''}"
        )
        if check.verdict != "pass":
            lines += [f"     {name}: {value}" for name, value in check.facts.items()]
    return "\n".join(lines).rstrip()


def _in_short(modes: dict[str, str]) -> str:
    """ "enforce: mx, lmtp; shadow: submission" - services in which it is off are left out."""
    by_mode: dict[str, list[str]] = {}
    for service, mode in modes.items():
        by_mode.setdefault(mode, []).append(service)
    if len(by_mode) == 1:
        return next(iter(by_mode))
    return "; ".join(f"{mode}: {', '.join(services)}" for mode, services in by_mode.items() if mode != "off")
