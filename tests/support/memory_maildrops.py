"""Maildrops in memory: the second engine of the port, for tests of what stands above it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from gatepost.maildrop.port import Arrival, MaildropBusyError, MaildropError, MaildropFullError, Message


class MemoryMaildrops:
    """MaildropStore. quota: octets for each account. broken: what `open` raises next; failing: UIDs that stay. slow:
    deliveries wait for it, and are carried out even when nobody waits for them any more, as a thread's are."""

    def __init__(self, quota: int | None = None) -> None:
        self.quota = quota
        self.kept: dict[str, dict[str, bytes]] = {}
        self.locked: set[str] = set()
        self.broken: MaildropError | None = None
        self.failing: set[str] = set()
        self.slow: asyncio.Event | None = None
        self._writing: set[asyncio.Task[str]] = set()
        self.piece_octets = 1000
        self._number = 0

    def put(self, account: str, *contents: bytes) -> None:
        for content in contents:
            self._number += 1
            self.kept.setdefault(account.lower(), {})[f"uid-{self._number}"] = content

    async def deliver(self, account: str, delivery_id: str, prefix: bytes, content: AsyncIterator[bytes]) -> str:
        if not account.partition("@")[2]:
            raise MaildropError(f"{account!r} has no maildrop")
        octets = prefix + b"".join([piece async for piece in content])
        if self.slow is None:
            return await self._write(account, octets)
        writing = asyncio.create_task(self._write(account, octets, self.slow))
        self._writing.add(writing)
        return await asyncio.shield(writing)

    async def deliver_all(self, arrivals: Sequence[Arrival]) -> list[str | MaildropError]:
        ended: list[str | MaildropError] = []
        for arrival in arrivals:
            try:
                ended.append(
                    await self.deliver(arrival.account, arrival.delivery_id, arrival.prefix, whole(arrival.content))
                )
            except MaildropError as error:
                ended.append(error)
        return ended

    async def _write(self, account: str, octets: bytes, slow: asyncio.Event | None = None) -> str:
        if slow is not None:
            await slow.wait()
        if self.quota is not None and await self.used(account) + len(octets) > self.quota:
            raise MaildropFullError(f"{account} is full")
        if octets and not octets.endswith(b"\r\n"):
            octets += b"\r\n"
        self.put(account, octets)
        return f"memory/{account}/{self._number}"

    async def open(self, account: str) -> MemoryDrop:
        account = account.lower()
        if self.broken:
            raise self.broken
        if account in self.locked:
            raise MaildropBusyError(f"{account} is open elsewhere")
        self.locked.add(account)
        return MemoryDrop(self, account)

    async def used(self, account: str) -> int:
        return sum(len(octets) for octets in self.kept.get(account.lower(), {}).values())


async def whole(octets: bytes) -> AsyncIterator[bytes]:
    yield octets


class MemoryDrop:
    """Maildrop."""

    def __init__(self, store: MemoryMaildrops, account: str) -> None:
        self._store = store
        self._account = account
        self._uids = tuple(store.kept.get(account, {}))
        self.messages = tuple(Message(uid, len(octets)) for uid, octets in store.kept.get(account, {}).items())

    async def read(self, index: int) -> AsyncIterator[bytes]:
        octets = self._store.kept.get(self._account, {}).get(self._uids[index])
        if octets is None:
            raise MaildropError(f"message {index + 1} of {self._account} is gone")
        for at in range(0, len(octets), self._store.piece_octets):
            yield octets[at : at + self._store.piece_octets]

    async def remove(self, indexes: tuple[int, ...]) -> int:
        uids = {self._uids[index] for index in indexes}
        for uid in uids - self._store.failing:
            self._store.kept[self._account].pop(uid, None)
        return len(uids - self._store.failing)

    def close(self) -> None:
        self._store.locked.discard(self._account)
