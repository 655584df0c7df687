"""An AccountStore in a dict, and the same behind awaitables: what a store on another machine looks like."""

from __future__ import annotations

from collections.abc import Awaitable

from gatepost.accounts.addresses import domain_of, parse_key
from gatepost.accounts.model import Account, Alias, Found, MailingList
from gatepost.accounts.port import AccountsError


class MemoryAccounts:
    """Keeps what it is given; `broken` makes every look-up fail."""

    def __init__(self, *items: Found) -> None:
        self.items = {item.address: item for item in items}
        self.broken = False

    def find(self, address: str) -> Found | None | Awaitable[Found | None]:
        if self.broken:
            raise AccountsError("the disk is gone")
        return self.items.get(address)

    def naming(self, address: str) -> list[str] | Awaitable[list[str]]:
        return [a.address for a in self.aliases() if address in [parse_key(target) for target in a.targets]]

    def accounts(self, domain: str = "") -> list[Account]:
        return [item for item in self._in(domain) if isinstance(item, Account)]

    def aliases(self, domain: str = "") -> list[Alias]:
        return [item for item in self._in(domain) if isinstance(item, Alias)]

    def lists(self, domain: str = "") -> list[MailingList]:
        return [item for item in self._in(domain) if isinstance(item, MailingList)]

    def put(self, item: Found) -> None:
        if type(self.items.get(item.address, item)) is not type(item):
            raise AccountsError(f"{item.address} is taken")
        self.items[item.address] = item

    def remove(self, address: str) -> bool:
        return self.items.pop(address, None) is not None

    def close(self) -> None:
        pass

    def _in(self, domain: str) -> list[Found]:
        return [item for key, item in sorted(self.items.items()) if domain in ("", domain_of(key))]


class RemoteAccounts(MemoryAccounts):
    """Every answer comes later."""

    async def find(self, address: str) -> Found | None:
        return self.items.get(address)

    async def naming(self, address: str) -> list[str]:
        found = super().naming(address)
        assert isinstance(found, list)
        return found
