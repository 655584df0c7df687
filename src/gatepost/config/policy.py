"""The tables of checks: `[policy."client.connections"]`, with the keys that the check's own settings declare."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gatepost.config.declared import model_of, struct_of
from gatepost.config.problem import Location, Problems, Wrong, show
from gatepost.config.schema import POLICY
from gatepost.config.tables import read_table
from gatepost.policy.check import Check, CheckSettings
from gatepost.policy.facts import Stage
from gatepost.policy.registry import CHECKS

BY_NAME: Final[Mapping[str, Check]] = {check.name: check for check in CHECKS}
LATER: Final = frozenset({
    "client.access", "client.banned", "client.rate", "client.pregreet", "client.dnsbl", "client.reverse",
    "client.network", "command.budget", "expn.scope", "sender.domain", "sender.callout", "sender.local", "sender.spf",
    "sender.rate", "recipient.domain", "recipient.harvest", "recipient.quota", "recipient.list", "greylist",
    "recipient.rate", "content.dkim", "content.arc", "content.dmarc", "content.from", "content.attachments",
    "content.scan", "content.sealed",
}) - BY_NAME.keys()  # fmt: skip
"""Checks that the manual of a later version describes."""
_SEEN_BY_POP3: Final = frozenset({Stage.CONNECT, Stage.AUTH})


def read_policy(document: object, problems: Problems) -> dict[str, CheckSettings]:
    """The settings of every check that has a table. Both `[policy."a.b"]` and `[policy.a.b]` are taken."""
    if not isinstance(document, dict):
        problems.error(
            (POLICY,), f"{show(document)} is not a table", 'write [policy."CHECK"], and the settings below it'
        )
        return {}
    found: dict[str, CheckSettings] = {}
    for name, at, value in _tables(document):
        check = BY_NAME.get(name)
        if check is None:
            problems.wrong(at, _unknown(name))
        elif name in found:
            problems.error(at, "this check has two tables", "put its settings into one of them")
        elif (settings := _settings(check, value, at, problems)) is not None:
            found[name] = settings
    return found


def _tables(document: dict[str, Any]) -> Iterator[tuple[str, Location, object]]:
    """Each check's table: its name, where it stands, and what it holds."""
    for name, value in document.items():
        inner = [f"{name}.{key}" for key in value] if isinstance(value, dict) else []
        if name not in BY_NAME and name not in LATER and _is_group(name) and inner:
            for dotted, key in zip(inner, value, strict=True):
                yield dotted, (POLICY, name, key), value[key]
        else:
            yield name, (POLICY, name), value


def _is_group(name: str) -> bool:
    return any(check.startswith(f"{name}.") for check in (*BY_NAME, *LATER))


def _unknown(name: str) -> Wrong:
    if name in LATER:
        return Wrong("this check is not available in this version", "remove the table")
    close = difflib.get_close_matches(name, BY_NAME, 1)
    hint = f'did you mean [policy."{close[0]}"]?' if close else '"gatepost policy list" shows those that there are'
    return Wrong("there is no such check", hint)


def _settings(check: Check, value: object, at: Location, problems: Problems) -> CheckSettings | None:
    table = read_table(model_of(type(check.settings)), value, at, problems)
    if table is None:
        return None
    settings = struct_of(table, check.settings)
    given = {name: getattr(settings, name) for name in table.model_fields_set}
    before = len(problems.errors)
    if not check.optional:
        for key in ("mode", "services"):
            if key in given and given[key] != "enforce":
                problems.error((*at, key), f"{check.name} cannot be switched off or narrowed", f"remove {key}")
    elif given.get("services") == ():
        problems.error(
            (*at, "services"), "the list is empty, so the check would run nowhere", 'write mode = "off" instead'
        )
    elif not any(step.stage in _SEEN_BY_POP3 for step in check.steps):
        for place, service in enumerate(given.get("services", ())):
            if service in ("pop3", "pop3s"):
                problems.error(
                    (*at, "services", place), f"{check.name} has nothing to decide on {service}", "remove it"
                )
    return settings if len(problems.errors) == before else None
