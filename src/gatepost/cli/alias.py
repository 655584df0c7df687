"""`gatepost alias`: addresses that stand for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatepost.cli import output
from gatepost.cli.errors import CommandError
from gatepost.cli.lookup import note_unknown
from gatepost.cli.options import AsJson, ConfigFile, noun
from gatepost.cli.record import recording
from gatepost.cli.session import accounts, key_of_any, key_of_ours

if TYPE_CHECKING:
    from gatepost.accounts.model import Alias
    from gatepost.store.sqlite.accounts import SqliteAccounts

app = noun("Aliases: addresses that stand for others. @DOMAIN is what nobody else in the domain has.")

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The address, or @DOMAIN for the catch-all.")]


@app.command("add")
def add(
    address: Address,
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="Whom it stands for, here or elsewhere.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add an alias, or further targets to one that there is."""
    from gatepost.accounts.model import Alias

    with accounts() as (settings, store, directory):
        key = key_of_ours(settings, address, catch_all=True)
        found = store.find(key)
        if found is not None and not isinstance(found, Alias):
            raise CommandError(f"{key} is an account or a list already; an alias needs an address of its own")
        wanted = tuple(dict.fromkeys(key_of_any(target) for target in targets))
        if key in wanted:
            raise CommandError(f"{key} cannot stand for itself; name the other addresses only")
        alias = Alias(key, tuple(dict.fromkeys((*(found.targets if found else ()), *wanted))))
        with recording(settings, "alias add", alias=key, targets=wanted):
            store.put(alias)
        note_unknown(directory, wanted)
        output.done(f"{key} stands for {', '.join(alias.targets)}.", **_shown(alias))


@app.command("list")
def list_aliases(
    domain: Annotated[str, typer.Option("--domain", metavar="DOMAIN", help="Only those of one domain.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """All aliases."""
    with accounts() as (_, store, _directory):
        found = [_shown(alias) for alias in store.aliases(domain.lower())]
        output.rows(found, ("address", "targets"), "There are no aliases.")


@app.command("remove")
def remove(
    address: Address,
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[TARGET]...", help="Only these; without any, the whole alias.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove an alias, or some of its targets."""
    with accounts() as (settings, store, _):
        alias = _existing(store, address)
        unwanted = {key_of_any(target) for target in targets or ()}
        if missing := unwanted.difference(alias.targets):
            raise CommandError(f"{alias.address} does not stand for {', '.join(sorted(missing))}; "
                               f"it stands for {', '.join(alias.targets)}")  # fmt: skip
        left = tuple(target for target in alias.targets if target not in unwanted) if unwanted else ()
        with recording(settings, "alias remove", alias=alias.address, targets=tuple(sorted(unwanted)), left=left):
            if left:
                store.put(type(alias)(alias.address, left))
            else:
                store.remove(alias.address)
        now = f"stands for {', '.join(left)}" if left else "is removed"
        output.done(f"{alias.address} {now}.", address=alias.address, targets=list(left))


def _existing(store: SqliteAccounts, address: str) -> Alias:
    from gatepost.accounts.model import Alias

    key = key_of_any(address, catch_all=True)
    found = store.find(key)
    if not isinstance(found, Alias):
        what = "is no alias" if found is None else "is an account or a list, not an alias"
        raise CommandError(f'{key} {what}; "gatepost alias list" shows all')
    return found


def _shown(alias: Alias) -> dict[str, Any]:
    return {"address": alias.address, "targets": list(alias.targets)}
