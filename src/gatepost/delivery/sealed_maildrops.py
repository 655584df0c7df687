"""Maildrops in which the mail of accounts that want it so is encrypted to their own key.

What came for the account alone was encrypted when it was accepted (`intake.sealing`). What reaches it with others, over
an alias or a list, or as a notice of ours, is encrypted here, so that no clear text of theirs stays behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from inspect import isawaitable
from typing import Protocol

import msgspec

from gatepost.accounts.model import Account
from gatepost.accounts.port import AccountsError
from gatepost.gate.sealing import FOR_STORAGE, Sealer
from gatepost.mail.address import Path
from gatepost.maildrop.port import Arrival, Maildrop, MaildropError, MaildropStore
from gatepost.seal.model import Kind, RecipientKey, Refused, SealedFor, SealOptions
from gatepost.seal.payload import Payload
from gatepost.seal.process import SealProcessError
from gatepost.seal.work import LARGE_OCTETS


class Accounts(Protocol):
    """What is asked of `accounts.directory.Directory`."""

    def account(self, address: str) -> object: ...


class SealedMaildrops:
    """`maildrop.port.MaildropStore` over another one, for what is delivered."""

    def __init__(self, inner: MaildropStore, accounts: Accounts, sealer: Sealer) -> None:
        self._inner = inner
        self._accounts = accounts
        self._sealer = sealer
        self._large = asyncio.Lock()  # the spool gives them once, so each is held while it is sealed

    async def deliver(self, account: str, delivery_id: str, prefix: bytes, content: AsyncIterator[bytes]) -> str:
        found = await self._wanting(account)
        if found is None:
            return await self._inner.deliver(account, delivery_id, prefix, content)
        head, octets = [], 0
        async for piece in content:
            head.append(piece)
            octets += len(piece)
            if octets > LARGE_OCTETS:
                async with self._large:
                    return await self._deliver_large(found, delivery_id, prefix, head, content)
        sealed = await self._sealed(found, b"".join(head))
        return await self._inner.deliver(account, delivery_id, prefix, _pieces((sealed,)))

    async def _deliver_large(
        self, account: Account, delivery_id: str, prefix: bytes, head: list[bytes], content: AsyncIterator[bytes]
    ) -> str:
        """The same for a message that is looked at twice, and should be in memory once."""
        payload = Payload(head)
        head.clear()
        async for piece in content:
            payload.write(piece)
        if await self._kind(account, _pieces(payload), payload.octets) is not None:
            return await self._inner.deliver(account.address, delivery_id, prefix, _pieces(payload))
        key, options = self._key(account)
        sealed = self._sealer.work.seal_pieces(_pieces(payload), payload.octets, {key.address: key}, (), options)
        async with aclosing(sealed):
            return await self._inner.deliver(account.address, delivery_id, prefix, _octets(sealed, account.address))

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
        if await self._kind(account, _pieces((message,)), len(message)) is not None:
            return message
        key, options = self._key(account)
        done = await self._sealer.work.seal(message, {key.address: key}, (), options)
        if isinstance(done, Refused):
            raise _cannot(account.address, done.reason)
        return done.messages[0].octets

    async def _kind(self, account: Account, content: AsyncIterator[bytes], octets: int) -> Kind | None:
        """Raises MaildropError."""
        try:
            return await self._sealer.work.kind_of(content, octets)
        except SealProcessError as error:
            raise MaildropError(f"the mail of {account.address} cannot be encrypted now: {error}") from error

    def _key(self, account: Account) -> tuple[RecipientKey, SealOptions]:
        """What to encrypt to, and how. Raises MaildropError."""
        assert account.seal is not None
        local_part, _, domain = account.address.rpartition("@")
        need, key = self._sealer.own(Path(local_part, domain), account.address, account.seal.material)
        if key is None:
            raise _cannot(account.address, "; ".join(need.why))
        return key, SealOptions(now=self._sealer.now(), hide_subject=FOR_STORAGE.hide_subject)


def _cannot(address: str, why: str) -> MaildropError:
    return MaildropError(f"the mail of {address} cannot be encrypted: {why}")


async def _pieces(octets: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in octets:
        yield piece


async def _octets(sealed: AsyncIterator[SealedFor | bytes | Refused], address: str) -> AsyncIterator[bytes]:
    """Of the one message that it is. Raises MaildropError."""
    async for each in sealed:
        if isinstance(each, Refused):
            raise _cannot(address, each.reason)
        if isinstance(each, bytes):
            yield each
