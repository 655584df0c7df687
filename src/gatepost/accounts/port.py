"""Accounts, aliases and lists, as a port. An engine at hand (SQLite) answers at once, a server with an awaitable."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from gatepost.accounts.model import Account, Alias, Found, MailingList


class AccountsError(Exception):
    """Accounts cannot be read or written; the message says why. A peer hears 4yz or 454 4.7.0."""


class AccountStore(Protocol):
    """Reads on the path of a message, writes from commands. Addresses are lower case with A-labels."""

    def find(self, address: str) -> Found | None | Awaitable[Found | None]:
        """What `address` is, exactly (no detail, no catch-all: `accounts.directory` knows those)."""
        ...

    def naming(self, address: str) -> list[str] | Awaitable[list[str]]:
        """The aliases that have `address` among their targets: addresses that its owner may use as a sender."""
        ...

    def accounts(self, domain: str = "") -> list[Account]: ...
    def aliases(self, domain: str = "") -> list[Alias]: ...
    def lists(self, domain: str = "") -> list[MailingList]: ...

    def put(self, item: Found) -> None:
        """Add or replace, durably. Raises AccountsError when the address is taken by another kind."""
        ...

    def remove(self, address: str) -> bool:
        """Whether there was such an account, alias or list; it is gone, durably."""
        ...

    def close(self) -> None: ...
