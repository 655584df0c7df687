"""The document, table by table, as typed values. A table with a mistake is None, and the others are read all the same.

Not here: what settings of several tables mean together (`config.assemble`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec

from gatepost.config.hosts import read_domain
from gatepost.config.policy import read_policy
from gatepost.config.problem import Location, Problems, Wrong, show
from gatepost.config.schema import (
    ARRAYS,
    POLICY,
    TABLES,
    UNBUILT,
    Admin,
    Alerts,
    Audit,
    Delivery,
    Dns,
    DomainTable,
    Limits,
    Listen,
    Relay,
    RouteTable,
    Seal,
    Spool,
    Submission,
    Tls,
    Top,
)
from gatepost.config.table import Table
from gatepost.config.tables import TOP_LEVEL, read_table, unknown_key
from gatepost.policy.check import CheckSettings

T = TypeVar("T", bound=Table)


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """Every table as it was read; None where it has a mistake. listen: by place. domain, route: by A-label name, with
    the key as it was written."""

    top: Top | None
    listen: Mapping[int, Listen]
    tls: Tls | None
    domain: Mapping[str, tuple[str, DomainTable]]
    relay: Relay | None
    route: Mapping[str, tuple[str, RouteTable]]
    limits: Limits | None
    delivery: Delivery | None
    dns: Dns | None
    audit: Audit | None
    alerts: Alerts | None
    detectors: Table | None
    admin: Admin | None
    submission: Submission | None
    seal: Seal | None
    spool: Spool | None
    policy: Mapping[str, CheckSettings]


def read_sections(document: Mapping[str, Any], problems: Problems) -> Sections:
    """Every table of `document`; what is wrong goes to `problems`."""
    document = _without_unbuilt(document, problems)
    for key in document:
        if key not in TOP_LEVEL:
            problems.wrong((key,), unknown_key(key, TOP_LEVEL, ()))
    top = {key: value for key, value in document.items() if key in Top.model_fields}
    tables = {name: read_table(model, document.get(name, {}), (name,), problems) for name, model in TABLES.items()}
    return Sections(
        top=read_table(Top, top, (), problems),
        listen=_listen(document.get("listen", []), problems),
        domain=_by_domain("domain", DomainTable, document, problems),
        route=_by_domain("route", RouteTable, document, problems),
        policy=read_policy(document.get(POLICY, {}), problems),
        **cast(Any, tables),
    )


def _without_unbuilt(document: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """`document` without what this version does not do yet, each of which is told in words of its own."""
    left = dict(document)
    for *parents, key in UNBUILT:
        table = left
        for parent in parents:
            table[parent] = dict(table[parent]) if isinstance(table.get(parent), dict) else table.get(parent, {})
            table = table[parent]
        if isinstance(table, dict) and key in table:
            del table[key]
            problems.error((*parents, key), "this is not available in this version", "remove it")
    return left


def _listen(value: object, problems: Problems) -> dict[int, Listen]:
    if not isinstance(value, list):
        problems.error(
            ("listen",), "there is one table where a list of tables is meant", "write [[listen]] in two brackets"
        )
        return {}
    read = {
        place: read_table(ARRAYS["listen"], table, ("listen", place), problems) for place, table in enumerate(value)
    }
    return {place: table for place, table in read.items() if isinstance(table, Listen)}


def _by_domain(name: str, model: type[T], document: Mapping[str, Any], problems: Problems) -> dict[str, tuple[str, T]]:
    """The tables below `name`, by domain."""
    value = document.get(name, {})
    found: dict[str, tuple[str, T]] = {}
    if not isinstance(value, dict):
        problems.error((name,), f"{show(value)} is not a table", f'write [{name}."example.org"]')
        return found
    for key, inner in value.items():
        at: Location = (name, key)
        if (dotted := _dotted(inner, model)) is not None:
            problems.error(
                at, "a domain has dots, which separate tables in TOML", f'put it in quotes: [{name}."{key}.{dotted}"]'
            )
            continue
        try:
            domain = read_domain(key)
        except Wrong as wrong:
            problems.wrong(at, wrong)
            continue
        table = read_table(model, inner, at, problems)
        if domain in found:
            problems.error(at, f"this is the same domain as {show(found[domain][0])}", "keep one of the two tables")
        elif table is not None:
            found[domain] = (key, table)
    return found


def _dotted(value: object, model: type[Table]) -> str | None:
    """The rest of a domain that was written without quotes: `[domain.example.org]` is a table `org` in `example`."""
    if not isinstance(value, dict):
        return None
    for key, inner in value.items():
        if isinstance(inner, dict) and key not in model.model_fields:
            rest = _dotted(inner, model)
            return f"{key}.{rest}" if rest else key
    return None
