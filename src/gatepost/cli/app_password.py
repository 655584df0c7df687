"""`gatepost account app-password`: passwords for single programs and devices."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gatepost.cli import output
from gatepost.cli.account_parts import Address, existing, time_or_none
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.options import AsJson, ConfigFile, noun
from gatepost.cli.record import recording
from gatepost.cli.session import accounts

app = noun("Passwords for single programs and devices, each with a name and, if you like, an end.")


@app.command("add")
def add(
    address: Address,
    name: Annotated[str, typer.Argument(metavar="NAME", help='What it is for, as in "phone".')],
    ends_in: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help='How long it is good, as in "365d"; else for ever.')
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a password for one program, and show it this once."""
    from gatepost.accounts.credentials import with_app_password

    with accounts() as (settings, store, _):
        account = existing(store, address)
        now = time.time()
        ends = now + _seconds(ends_in) if ends_in is not None else None
        changed, password = with_app_password(account, name, now, ends)
        with recording(settings, "account app-password add", account=account.address, name=name, ends=ends):
            store.put(changed)
        output.note("the password is shown this once; copy it now")
        output.done(password, address=account.address, name=name, password=password, ends=time_or_none(ends))


@app.command("list")
def list_app_passwords(address: Address, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The app passwords of an account, by name; the passwords themselves are not kept."""
    with accounts() as (_, store, _directory):
        account = existing(store, address)
        found = [
            {"name": item.name, "created": time_or_none(item.created), "ends": time_or_none(item.ends)}
            for item in account.credentials
            if item.name
        ]
        output.rows(found, ("name", "created", "ends"), f"{account.address} has no app passwords.")


@app.command("remove")
def remove(
    address: Address,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove an app password; whoever uses it cannot log in any more."""
    from gatepost.accounts.credentials import without_app_password

    with accounts() as (settings, store, _):
        account = existing(store, address)
        changed = without_app_password(account, name)
        if changed is None:
            names = ", ".join(item.name for item in account.credentials if item.name) or "none"
            raise CommandError(f"{account.address} has no app password {name!r}; there are: {names}")
        with recording(settings, "account app-password remove", account=account.address, name=name):
            store.put(changed)
        output.done(f"{name} is removed from {account.address}.", address=account.address, name=name)


def _seconds(text: str) -> float:
    from gatepost.mail.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--for: {error}", USAGE) from None
