"""`gatepost check`: is what was set up right? It looks and changes nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.session import act_as_user

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.config.model import Config
    from gatepost.config.problem import Problem
    from gatepost.verify.own_dns import Finding

app = noun("Check what was set up: the configuration, the certificates, the DNS.")


@app.command("config")
def check_config(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Read the configuration and tell all that is wrong with it. Exits 1 when the server would not start."""
    from gatepost.config.locate import find_config
    from gatepost.config.problem import ConfigError
    from gatepost.config.read import load

    file = find_config(given.config)
    try:
        settings = load(file)
    except ConfigError as error:
        if not given.as_json:
            raise
        output.thing({"file": str(file), "ok": False, "errors": [_shown(item) for item in error.problems]})
        raise typer.Exit(1) from None
    concerns, tables = _concerns(settings), _lines_of_tables(settings)
    if given.as_json:
        warnings = [_shown(item) for item in settings.warnings]
        found = {"warnings": warnings, "accounts": concerns, "tables": tables}
        output.thing({"file": str(file), "ok": True, "errors": [], **found})
        return
    for line in (*map(str, settings.warnings), *concerns, *tables):
        output.note(f"warning: {line}")
    listeners, domains = _counted(len(settings.listeners), "listener"), _counted(len(settings.domains), "domain")
    output.done(f"{file} is in order: {listeners}, {domains}.")


@app.command("tls")
def check_tls(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Load each certificate with its key; names, end, and what is wrong. Exits 1 when one cannot be used."""
    from datetime import UTC, datetime

    from gatepost.cli.session import configuration
    from gatepost.net.tls_certificates import CertificateError, load_pair

    settings = configuration()
    if os.geteuid() == 0:
        act_as_user(settings)  # what root can read and the server cannot is not in order
    found: list[dict[str, Any]] = []
    for certificate, key in settings.tls.certificates:
        row: dict[str, Any] = {"certificate": str(certificate), "names": [], "ends": None, "problem": ""}
        try:
            pair = load_pair(certificate, key, datetime.now(UTC))
            row |= {"names": list(pair.names), "ends": pair.end.isoformat()}
        except CertificateError as error:
            row["problem"] = str(error)
        found.append(row)
    if settings.tls.client_ca is not None:
        row = {"certificate": str(settings.tls.client_ca), "names": ["(authorities of clients)"], "ends": None}
        found.append(row | {"problem": _trouble_with_authorities(settings.tls.client_ca)})
    columns = ("certificate", "names", "ends")
    output.rows(found, columns, "No certificate is configured; the server makes a self-signed one.")
    problems = [row["problem"] for row in found if row["problem"]]
    for problem in problems:
        output.note(problem)
    if problems:
        raise typer.Exit(1)


@app.command("dns")
def check_dns(
    domains: Annotated[
        list[str] | None, typer.Argument(metavar="[DOMAIN]...", help="Of ours; without it all of them.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look up what others see of this host and our domains, beside what they should see. Exits 1 when something keeps
    mail from coming or going, or could not be looked up."""
    import asyncio

    import msgspec

    from gatepost.cli.session import configuration
    from gatepost.verify.own_dns import is_in_order

    settings = configuration()
    findings = asyncio.run(_look_up(settings, [domain_of_ours(settings, text) for text in domains or ()]))
    if given.as_json:
        output.rows([msgspec.structs.asdict(each) for each in findings], (), "")
    else:
        for each in findings:
            print(output.printable(_finding(each), lines=True))
    if not is_in_order(findings):
        raise typer.Exit(1)


async def _look_up(settings: Config, domains: list[str]) -> list[Finding]:
    import asyncio

    from gatepost.net.clock import SystemClock
    from gatepost.net.dns.resolver import DnsResolver
    from gatepost.verify.own_dns import Host, review_domain, review_host

    delivery = settings.delivery
    smarthost = str(delivery.smarthost.to.host) if delivery.smarthost is not None else ""
    resolver = DnsResolver(settings.dns, SystemClock())
    try:
        host = Host(settings.hostname, delivery.source, delivery.ipv6, smarthost)
        host, findings = await review_host(resolver, host)
        chosen = domains or list(settings.domains)
        of_domains = await asyncio.gather(*(review_domain(resolver, domain, host) for domain in chosen))
    finally:
        await resolver.aclose()
    return [*findings, *(each for found in of_domains for each in found)]


def domain_of_ours(settings: Config, text: str) -> str:
    """The A-labels of one of our domains. Raises CommandError."""
    from gatepost.cli.errors import USAGE, CommandError
    from gatepost.config.hosts import read_domain
    from gatepost.config.problem import Wrong

    try:
        domain = read_domain(text)
    except Wrong as wrong:
        raise CommandError(str(wrong), USAGE) from None
    if domain not in settings.domains:
        ours = ", ".join(settings.domains) or "none"
        raise CommandError(f"{text} is not one of our domains ({ours})", USAGE)
    return domain


def _finding(each: Finding) -> str:
    """As found, and as it should be."""
    lines = [f"{each.status:<8}{each.name} {each.type}: {', '.join(each.found) or 'nothing'}"]
    if each.expected:
        lines.append(f"          should be: {each.expected}")
    if each.why:
        lines.append(f"          {each.why}")
    return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _trouble_with_authorities(path: Path) -> str:
    """What is wrong with `tls.client_ca`, "" for nothing."""
    import ssl

    from gatepost.net.tls_certificates import CertificateError
    from gatepost.net.tls_clients import load_authorities, read_authorities

    try:
        read_authorities(path)
        load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), path)
    except CertificateError as error:
        return str(error)
    return ""


def _lines_of_tables(settings: Config) -> list[str]:
    """The lines of the tables of `client.access` that are no entries."""
    from gatepost.gate.access import told_lines
    from gatepost.policy.checks import client_access

    access = settings.policy.get(client_access.NAME)
    return told_lines(access) if isinstance(access, client_access.Settings) else []


def _concerns(settings: Config) -> list[str]:
    """What in the accounts leads nowhere; nothing is made where there is no data folder yet."""
    from gatepost.accounts.port import AccountsError
    from gatepost.cli.errors import CommandError
    from gatepost.net.privileges import PrivilegeError
    from gatepost.store.data_folder import DataError, DataFolder

    try:
        if DataFolder(settings.data).accounts.exists():
            return _reviewed(settings)
    except (AccountsError, CommandError, DataError, PrivilegeError) as error:
        return [f"the accounts were not looked at: {error}"]
    kept = [name for name, domain in settings.domains.items() if not domain.relay_to]
    return [
        f'domain {name}: it has no account, alias or list, so all mail for it is refused; "gatepost account add '
        f'NAME@{name}" adds one' for name in kept
    ]  # fmt: skip


def _reviewed(settings: Config) -> list[str]:
    import asyncio

    from gatepost.accounts.directory import Directory
    from gatepost.accounts.review import review
    from gatepost.cli.session import data_folder
    from gatepost.store.sqlite.accounts import SqliteAccounts

    store = SqliteAccounts(data_folder(settings).accounts)
    try:
        directory = Directory(settings.domains, store, settings.hostname, settings.postmaster)
        concerns = asyncio.run(review(directory, store))
    finally:
        store.close()
    # That nobody is postmaster is said by the configuration already.
    return [line for line in concerns if not line.startswith("postmaster: it is not set")]


def _shown(problem: Problem) -> dict[str, Any]:
    import msgspec

    return {**msgspec.structs.asdict(problem), "file": str(problem.file)}
