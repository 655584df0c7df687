"""`gatepost policy`: what is decided, by which check, in which mode."""

from __future__ import annotations

from typing import Any

from gatepost.cli import output
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.session import configuration

app = noun("Policy: the checks, and what they did.")


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


def _in_short(modes: dict[str, str]) -> str:
    """ "enforce: mx, lmtp; shadow: submission" - services in which it is off are left out."""
    by_mode: dict[str, list[str]] = {}
    for service, mode in modes.items():
        by_mode.setdefault(mode, []).append(service)
    if len(by_mode) == 1:
        return next(iter(by_mode))
    return "; ".join(f"{mode}: {', '.join(services)}" for mode, services in by_mode.items() if mode != "off")
