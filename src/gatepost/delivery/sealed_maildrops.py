"""Maildrops in which the mail of accounts that want it so is encrypted to their own key.

What came for the account itself was encrypted when it was accepted (`intake.sealing`). What reaches it over an alias, a
list or as a notice of ours is encrypted here, so that no clear text of theirs stays behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from inspect import isawaitable
from typing import Final, Protocol

import msgspec

from gatepost.accounts.model import Account
from gatepost.accounts.port import AccountsError
from gatepost.gate.sealing import FOR_STORAGE, Sealer
from gatepost.mail.address import Path
from gatepost.maildrop.port import Arrival, Maildrop, MaildropError, MaildropStore
from gatepost.seal.model import Refused, SealOptions
from gatepost.seal.process import SealProcessError

SMALL: Final = 256 * 1024  # octets that one read of the spool brings


class Accounts(Protocol):
    """What is asked of `accounts.directory.Directory`."""

    def account(self, address: str) -> object: ...


class SealedMaildrops:
    """`maildrop.port.MaildropStore` over another one, for what is delivered."""

    def __init__(self, inner: MaildropStore, accounts: Accounts, sealer: Sealer) -> None:
        self._inner = inner
        self._accounts = accounts
        self._sealer = sealer

    async def deliver(self, account: str, delivery_id: str, prefix: bytes, content: AsyncIterator[bytes]) -> str:
        found = await self._wanting(account)
        if found is None:
            return await self._inner.deliver(account, delivery_id, prefix, content)
        sealed = await self._sealed(found, b"".join([piece async for piece in content]))
        return await self._inner.deliver(account, delivery_id, prefix, _pieces(sealed))

    async def deliver_all(self, arrivals: Sequence[Arrival]) -> list[str | MaildropError]:
        ready: list[Arrival | MaildropError] = []
        for arrival in arrivals:
            try:
                found = await self._wanting(arrival.account)
                if found is not None:
                    arrival = msgspec.structs.replace(arrival, content=await self._sealed(found, arrival.content))
                ready.append(arrival)
            except MaildropError as error:
                ready.append(error)
        kept = iter(await self._inner.deliver_all([each for each in ready if isinstance(each, Arrival)]))
        return [next(kept) if isinstance(each, Arrival) else each for each in ready]

    async def open(self, account: str) -> Maildrop:
        return await self._inner.open(account)

    async def used(self, account: str) -> int:
        return await self._inner.used(account)

    async def _wanting(self, address: str) -> Account | None:
        """The account, where it wants its mail encrypted. Raises MaildropError."""
        try:
            found = self._accounts.account(address)
            found = await found if isawaitable(found) else found
        except AccountsError as error:
            raise MaildropError(f"whether {address} wants its mail encrypted is not known: {error}") from error
        return found if isinstance(found, Account) and found.seal is not None else None

    async def _sealed(self, account: Account, message: bytes) -> bytes:
        """`message`, encrypted once. Raises MaildropError: then it waits where it is."""
        assert account.seal is not None
        work = self._sealer.work
        try:
            if await work.kind_of(message) is not None:
                return message
        except SealProcessError as error:
            raise MaildropError(f"the mail of {account.address} cannot be encrypted now: {error}") from error
        local_part, _, domain = account.address.rpartition("@")
        need, key = self._sealer.own(Path(local_part, domain), account.address, account.seal.material)
        if key is None:
            raise MaildropError(f"the mail of {account.address} cannot be encrypted: {'; '.join(need.why)}")
        options = SealOptions(now=self._sealer.now(), hide_subject=FOR_STORAGE.hide_subject)
        done = await work.seal(message, {key.address: key}, (), options)
        if isinstance(done, Refused):
            raise MaildropError(f"the mail of {account.address} cannot be encrypted: {done.reason}")
        return done.messages[0].octets


async def _pieces(octets: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(octets), SMALL):
        yield octets[at : at + SMALL]
