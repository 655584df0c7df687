"""What the commands about accounts share: naming one, finding it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gatepost.cli.errors import CommandError
from gatepost.cli.moments import shown_time
from gatepost.cli.session import key_of_any

if TYPE_CHECKING:
    from gatepost.accounts.model import Account
    from gatepost.store.sqlite.accounts import SqliteAccounts

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The address; it is the login name too.")]


def existing(store: SqliteAccounts, address: str) -> Account:
    """The account of that address. Raises CommandError where there is none."""
    from gatepost.accounts.model import Account

    key = key_of_any(address)
    found = store.find(key)
    if not isinstance(found, Account):
        what = "is no account" if found is None else "is an alias or a list, not an account"
        raise CommandError(f'{key} {what}; "gatepost account list" shows all')
    return found


def time_or_none(unix: float | None) -> str | None:
    """A time as commands show it."""
    return None if unix is None else shown_time(unix)
