"""`gatepost list`: addresses whose mail goes to members, and whose bounces go to owners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gatepost.cli import output
from gatepost.cli.errors import CommandError
from gatepost.cli.lookup import note_unknown
from gatepost.cli.options import AsJson, ConfigFile, noun
from gatepost.cli.record import recording
from gatepost.cli.session import accounts, key_of_any, key_of_ours

if TYPE_CHECKING:
    from gatepost.accounts.model import MailingList
    from gatepost.store.sqlite.accounts import SqliteAccounts

app = noun("Lists: addresses whose mail goes to their members, and its bounces to their owners.")

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The address of the list.")]
Members = Annotated[list[str], typer.Argument(metavar="MEMBER...", help="Who gets the mail, here or elsewhere.")]
Owners = Annotated[
    list[str] | None, typer.Option("--owner", metavar="ADDRESS", help="Who gets what bounces; repeatable.")
]


@app.command("add")
def add(
    address: Address,
    members: Members,
    owner: Owners = None,
    post: Annotated[
        Literal["members", "anyone", "owners"] | None,
        typer.Option("--post", help='Who may post; a new list has "members".'),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a list, or further members and owners to one that there is."""
    import msgspec

    from gatepost.accounts.model import MailingList

    with accounts() as (settings, store, directory):
        key = key_of_ours(settings, address)
        found = store.find(key)
        if found is not None and not isinstance(found, MailingList):
            raise CommandError(f"{key} is an account or an alias already; a list needs an address of its own")
        new_members = tuple(dict.fromkeys(key_of_any(member) for member in members))
        new_owners = tuple(dict.fromkeys(key_of_any(text) for text in owner or ()))
        if key in (*new_members, *new_owners):
            raise CommandError(f"{key} cannot be its own member or owner; name the other addresses only")
        before = found or MailingList(key, (), ())
        after = msgspec.structs.replace(
            before,
            members=tuple(dict.fromkeys((*before.members, *new_members))),
            owners=tuple(dict.fromkeys((*before.owners, *new_owners))),
            post=post or before.post,
        )
        with recording(settings, "list add", list=key, members=new_members, owners=new_owners, post=post):
            store.put(after)
        note_unknown(directory, (*new_members, *new_owners))
        if not after.owners:
            output.note(f"{key} has no owner, so its bounces go to the postmaster; --owner names one")
        output.done(f"{key} has {len(after.members)} members.", **_shown(after))


@app.command("list")
def list_lists(
    domain: Annotated[str, typer.Option("--domain", metavar="DOMAIN", help="Only those of one domain.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """All lists."""
    with accounts() as (_, store, _directory):
        found = [_shown(item) for item in store.lists(domain.lower())]
        output.rows([{**item, "count": len(item["members"])} for item in found], ("address", "count", "post", "owners"),
                    "There are no lists.")  # fmt: skip


@app.command("show")
def show(address: Address, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One list with its members."""
    with accounts() as (_, store, _directory):
        output.thing(_shown(_existing(store, address)))


@app.command("remove")
def remove(
    address: Address,
    members: Annotated[
        list[str] | None, typer.Argument(metavar="[MEMBER]...", help="Only these; without any, the whole list.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove a list, or some of its members."""
    import msgspec

    with accounts() as (settings, store, _):
        found = _existing(store, address)
        unwanted = {key_of_any(member) for member in members or ()}
        if missing := unwanted.difference(found.members, found.owners):
            raise CommandError(f"{', '.join(sorted(missing))}: no member of {found.address}; \"gatepost list show "
                               f"{found.address}\" names those that there are")  # fmt: skip
        with recording(settings, "list remove", list=found.address, members=tuple(sorted(unwanted))):
            if unwanted:
                store.put(msgspec.structs.replace(
                    found,
                    members=tuple(member for member in found.members if member not in unwanted),
                    owners=tuple(owner for owner in found.owners if owner not in unwanted),
                ))  # fmt: skip
            else:
                store.remove(found.address)
        what = f"{', '.join(sorted(unwanted))} left {found.address}." if unwanted else f"{found.address} is removed."
        output.done(what, address=found.address, members=sorted(unwanted))


def _existing(store: SqliteAccounts, address: str) -> MailingList:
    from gatepost.accounts.model import MailingList

    key = key_of_any(address)
    found = store.find(key)
    if not isinstance(found, MailingList):
        what = "is no list" if found is None else "is an account or an alias, not a list"
        raise CommandError(f'{key} {what}; "gatepost list list" shows all')
    return found


def _shown(item: MailingList) -> dict[str, Any]:
    return {"address": item.address, "post": item.post, "owners": list(item.owners), "members": list(item.members)}
