"""The maildrops of all accounts as Maildirs below one folder: DOMAIN/LOCAL-PART/{tmp,new,cur}.

Any program that reads Maildir may read, move and delete there at the same time. Here: what happens on the event loop;
the blocking work lies beside it and runs in a few threads.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from gatepost.maildrop.port import Arrival, MaildropError
from gatepost.ports.clock import Clock
from gatepost.ports.faults import Faults, no_fault
from gatepost.store.maildir import batch, folders, usage
from gatepost.store.maildir.batch import Coming
from gatepost.store.maildir.delivery import Delivery
from gatepost.store.maildir.maildrop import LockedMaildir, MaildirDrop
from gatepost.store.maildir.names import account_folder, delivery_name, unique_name

THREADS: Final = 8  # syncs wait for the disk, not for a core: 8 threads made twice the files a second that one did
_IN_ONE_HOP_OCTETS: Final = 1 << 18  # a shorter message is written by one call in a thread; a hop costs 75 us

QuotaOf = Callable[[str], int | None | Awaitable[int | None]]
"""The quota of an account in octets, None for unlimited; an engine at hand answers at once."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_numbers = itertools.count(1)  # of the process, so that two stores in it make no name twice


def unlimited(account: str) -> None:
    """No account has a quota."""


class MaildirStore:
    """MaildropStore on Maildirs below `folder`; made after the fork, closed at the end.

    host: our name, which becomes part of the messages' names. quota: asked at each delivery.
    """

    def __init__(
        self, folder: Path, *, host: str, clock: Clock, quota: QuotaOf = unlimited, faults: Faults = no_fault
    ) -> None:
        self._folder = folder
        self._host = host
        self._clock = clock
        self._quota = quota
        self._faults = faults
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="maildir")

    def maildir(self, account: str) -> Path:
        """Where the mail of `account` lies, whether it exists yet or not. Raises MaildropError for no address."""
        return self._folder.joinpath(*account_folder(account))

    async def deliver(self, account: str, delivery_id: str, prefix: bytes, content: AsyncIterator[bytes]) -> str:
        """See the port. The place is the path of the file below the store's folder.

        The name comes from delivery_id: a second call puts no second copy while the first one lies in `new`.
        """
        maildir = self.maildir(account)
        quota = await self._quota_of(account)
        with folders.told_as_maildrop_error(maildir, "delivering to"):
            return await self._write(maildir, quota, delivery_id, prefix, content)

    async def deliver_all(self, arrivals: Sequence[Arrival]) -> list[str | MaildropError]:
        """See the port: one hop to a thread for all."""
        coming: list[Coming | MaildropError] = []
        ahead: Counter[Path] = Counter()
        for arrival in arrivals:
            try:
                maildir = self.maildir(arrival.account)
                quota = await self._quota_of(arrival.account)
                begin = self._beginning(maildir, quota, arrival.delivery_id, ahead)
            except MaildropError as error:
                coming.append(error)
            else:
                coming.append(Coming(maildir, begin, arrival.prefix + arrival.content, ahead))
        whole = [one for one in coming if isinstance(one, Coming)]
        try:
            await self._run(batch.deliver, whole, self._faults)
        except MaildropError as error:
            return [error] * len(arrivals)
        return [self._place(one) if isinstance(one, Coming) else one for one in coming]

    async def open(self, account: str) -> MaildirDrop:
        """See the port. A maildrop that does not exist yet is made, empty."""
        maildir = self.maildir(account)

        def lock() -> LockedMaildir:
            folders.make(self._folder, maildir)
            folders.sweep(maildir, self._clock.unix())
            return LockedMaildir(maildir)

        with folders.told_as_maildrop_error(maildir, "opening"):
            return MaildirDrop(await self._acquire(lock, LockedMaildir.close), self._run)

    async def used(self, account: str) -> int:
        """See the port: octets of the files."""
        maildir = self.maildir(account)
        quota = await self._quota_of(account)
        with folders.told_as_maildrop_error(maildir, "counting"):
            return await self._run(self._used, maildir, quota)

    def close(self) -> None:
        """Returns when what runs in the threads has ended."""
        self._threads.shutdown()

    async def _write(
        self, maildir: Path, quota: int | None, delivery_id: str, prefix: bytes, content: AsyncIterator[bytes]
    ) -> str:
        waiting, octets = [prefix], len(prefix)
        ahead: Counter[Path] = Counter()
        begin = self._beginning(maildir, quota, delivery_id, ahead)
        delivery: Delivery | None = None
        try:
            async for piece in content:
                waiting.append(piece)
                octets += len(piece)
                if octets < _IN_ONE_HOP_OCTETS:
                    continue
                if delivery is None:
                    delivery = await self._acquire(begin, Delivery.discard)
                await self._run(delivery.write, b"".join(waiting))
                waiting, octets = [], 0
            begun = delivery
            last = Coming(maildir, begin if begun is None else lambda: begun, b"".join(waiting), ahead)
            await self._run(batch.deliver, [last], self._faults)
        except BaseException:
            if delivery is not None:
                await asyncio.shield(self._run(delivery.discard))
            raise
        place = self._place(last)
        if isinstance(place, MaildropError):
            raise place
        return place

    def _beginning(
        self, maildir: Path, quota: int | None, delivery_id: str, ahead: Counter[Path]
    ) -> Callable[[], Delivery]:
        """What begins the delivery, in a thread. ahead: of the same batch."""

        def room_left(wanted: int) -> int:
            assert quota is not None
            return quota - ahead[maildir] - self._used(maildir, quota, wanted + ahead[maildir])

        room = None if quota is None else room_left
        name = unique_name(self._clock.unix(), os.getpid(), next(_numbers), self._host)
        shown = delivery_name(delivery_id, self._host) or name

        def begin() -> Delivery:
            if maildir not in ahead:  # the first of its batch there
                folders.make(self._folder, maildir)
            return Delivery(str(maildir), name, shown, room, self._faults)

        return begin

    def _place(self, coming: Coming) -> str | MaildropError:
        return coming.error or f"{'/'.join(coming.maildir.parts[-2:])}/new/{coming.name}"

    def _used(self, maildir: Path, quota: int | None, wanted: int = 1) -> int:
        return usage.used_octets(maildir, quota, self._clock.unix(), wanted) if maildir.is_dir() else 0

    async def _quota_of(self, account: str) -> int | None:
        quota = self._quota(account.lower())
        return quota if quota is None or isinstance(quota, int) else await quota

    async def _acquire(self, acquire: Callable[[], _T], release: Callable[[_T], None]) -> _T:
        """The result of `acquire` in a thread; when nobody waits for it any more, it is released again."""
        task = asyncio.ensure_future(self._run(acquire))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: _release(done, release))
            raise

    async def _run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))
        except RuntimeError as error:
            raise MaildropError("the server is stopping; maildrops are closed") from error
        return await future


def _release(done: asyncio.Future[_T], release: Callable[[_T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        release(done.result())
