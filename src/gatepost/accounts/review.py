"""What in accounts, aliases and lists leads nowhere: said before mail bounces because of it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence

from gatepost.accounts.addresses import domain_of, path_of
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Found, Resolution
from gatepost.accounts.port import AccountStore
from gatepost.mail.address import AddressError


async def review(directory: Directory, store: AccountStore) -> list[str]:
    """Concerns of an operator, one line each: what was found, and what to do. Empty: there is nothing to say.

    Raises AccountsError when the store cannot be read.
    """
    kinds: list[tuple[str, Sequence[Found]]] = [
        ("account", store.accounts()),
        ("alias", store.aliases()),
        ("list", store.lists()),
    ]
    concerns = [*_empty_domains(directory, kinds), *await _postmaster(directory)]
    for kind, items in kinds:
        for item in items:
            if directory.domain(domain := domain_of(item.address)) is None:
                concerns.append(
                    f'{kind} {item.address}: {domain} is none of our domains; add [domain."{domain}"], '
                    f'or "gatepost {kind} remove {item.address}"'
                )
    for alias in store.aliases():
        concerns += [
            f"alias {alias.address}: its target {target} does not exist; correct the alias, or add {target}"
            for target in await _dead(directory, alias.targets)
        ]
    for mailing_list in store.lists():
        address = mailing_list.address
        concerns += [
            f"list {address}: {member} does not exist; correct the list, or add {member}"
            for member in await _dead(directory, (*mailing_list.members, *mailing_list.owners))
        ]
        if not mailing_list.owners:
            concerns.append(f"list {address}: it has no owner, so its bounces go to the postmaster; give it one")
    return concerns


def _empty_domains(directory: Directory, kinds: Sequence[tuple[str, Sequence[Found]]]) -> Iterator[str]:
    used = {domain_of(item.address) for _, items in kinds for item in items}
    for name, domain in directory.domains.items():
        if name not in used and not domain.relay_to:
            yield (
                f"domain {name}: it has no account, alias or list, so all mail for it is refused; "
                f'"gatepost account add NAME@{name}" adds one, relay_to sends its mail to another server'
            )


async def _postmaster(directory: Directory) -> list[str]:
    postmaster = directory.postmaster
    if postmaster is None:
        return ["postmaster: it is not set, so mail for postmaster, abuse, hostmaster and root is kept aside; set it"]
    kind = (await _resolved(directory.resolve(postmaster))).kind
    if kind in ("unknown", "role"):
        return [f"postmaster = {postmaster}: nobody has that address, so its mail is kept aside; add it or set another"]
    return []


async def _dead(directory: Directory, addresses: Sequence[str]) -> list[str]:
    """Those that are ours and lead nowhere, or are no address at all."""
    dead = []
    for address in dict.fromkeys(addresses):
        try:
            path = path_of(address)
        except AddressError:
            dead.append(address)
            continue
        if (await _resolved(directory.resolve(path))).kind == "unknown":
            dead.append(address)
    return dead


async def _resolved(answer: Resolution | Awaitable[Resolution]) -> Resolution:
    return answer if isinstance(answer, Resolution) else await answer
