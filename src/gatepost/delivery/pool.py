"""Sessions with next hops, kept open between messages and counted, so that no host has more of them than it should.

Not here: what is said on them (`delivery.outbound`), which next hops there are (`delivery.routing`), and how many
messages of one destination are under way (`delivery.lanes`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

import msgspec

from gatepost.delivery.next_hop import Job, NextHop
from gatepost.delivery.outbound import RecipientResult
from gatepost.mail.network import parse_ip
from gatepost.ports.clock import Clock
from gatepost.ports.connect import TlsState

ROOM_WAIT: Final = 30.0  # seconds for a place at a busy address; the mail is then tried later


class Session(Protocol):
    """What the pool and its users need of `outbound.OutboundSession`."""

    was_stale: bool
    messages: int
    known: dict[int, RecipientResult]

    @property
    def hop(self) -> NextHop: ...
    @property
    def is_reusable(self) -> bool: ...
    @property
    def tls(self) -> TlsState | None: ...
    @property
    def local_address(self) -> str: ...
    def take_dialogue(self) -> list[str]: ...
    async def deliver(self, job: Job) -> list[RecipientResult]: ...
    async def quit(self) -> None: ...
    def close(self) -> None: ...


Opener = Callable[[NextHop], Coroutine[Any, Any, Session]]


class NoRoom(Exception):
    """As many sessions with this address are open as may be, and none became free in time."""


class PoolSettings(msgspec.Struct, frozen=True):
    """per_address: sessions at once with one address. waiting_per_address: who may wait for one of these places; each
    holds a worker, and not all workers may wait for one address. per_connection: messages before a session is closed.
    idle: seconds that an unused one is kept. source: local addresses to send from, none for the system's choice."""

    per_address: int = 40
    waiting_per_address: int = 80
    per_connection: int = 200
    idle: float = 5.0
    source: tuple[str, ...] = ()


class _Idle(msgspec.Struct):
    session: Session
    since: float


class Pool:
    """Opens sessions, takes them back, and closes what nobody uses."""

    def __init__(self, open_session: Opener, settings: PoolSettings, clock: Clock) -> None:
        self._open = open_session
        self._settings = settings
        self._clock = clock
        self._idle: dict[NextHop, deque[_Idle]] = {}
        self._places: dict[str, int] = {}  # by address: sessions that are open or being opened
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._reaper: asyncio.Task[None] | None = None
        self._quitting: set[asyncio.Task[None]] = set()
        self._sources = settings.source
        self._turn = 0

    def take(self, hops: Iterable[NextHop]) -> tuple[NextHop, Session] | None:
        """An idle session with one of `hops`, the earliest that has one, and that hop."""
        for hop in hops:
            waiting = self._idle.get(hop)
            while waiting:
                session = waiting.pop().session  # the one used last: the others may end
                if not waiting:
                    del self._idle[hop]
                if session.is_reusable:
                    return hop, session
                self._discard(session)
        return None

    async def open(self, hop: NextHop) -> Session:
        """A new session with `hop`. Raises `outbound.OpenFailed`, and NoRoom after a wait."""
        await self._take_place(hop.address)
        try:
            session = await self._open(msgspec.structs.replace(hop, source=self._source(hop.address)))
        except BaseException:
            self._leave_place(hop.address)
            raise
        return session

    def goes_on(self, hop: NextHop, session: Session) -> bool:
        """Whether `session` may have another message behind the one that is under way, and need not be given back."""
        is_used_up = session.messages + 1 >= self._settings.per_connection or self._settings.idle <= 0
        return not is_used_up and hop.address not in self._waiting

    def give_back(self, hop: NextHop, session: Session) -> None:
        """The session is free again: kept for the next message when it can be, else closed. hop: as `open` had it."""
        is_used_up = session.messages >= self._settings.per_connection or self._settings.idle <= 0
        # Somebody who waits for the place may want it under another name.
        if is_used_up or not session.is_reusable or hop.address in self._waiting:
            self._discard(session)
        else:
            self._idle.setdefault(hop, deque()).append(_Idle(session, self._clock.monotonic()))
            if self._reaper is None:
                self._reaper = asyncio.get_running_loop().create_task(self._reap())

    def drop(self, session: Session) -> None:
        """Its user was cancelled: it ends with QUIT where that is in order in mid-transaction, else at once."""
        self._discard(session)

    async def close(self) -> None:
        """Every idle session is ended with QUIT."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for waiting in self._idle.values():
            for idle in waiting:
                self._discard(idle.session)
        self._idle.clear()
        if self._quitting:
            await asyncio.wait(self._quitting)

    @property
    def open_sessions(self) -> int:
        """How many there are, idle ones and those being opened included."""
        return sum(self._places.values())

    async def _take_place(self, address: str) -> None:
        while self._places.get(address, 0) >= self._settings.per_address:
            if not self._close_idle(address):
                await self._wait_for_place(address)
                return  # the place was handed over: it is counted already
        self._places[address] = self._places.get(address, 0) + 1

    async def _wait_for_place(self, address: str) -> None:
        waiting = self._waiting.setdefault(address, deque())
        if len(waiting) >= self._settings.waiting_per_address:
            raise NoRoom(address)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            async with asyncio.timeout(ROOM_WAIT):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():  # given in the moment that the wait ended
                self._leave_place(address)
            if isinstance(error, TimeoutError):
                raise NoRoom(address) from None
            raise
        finally:
            if place in waiting:
                waiting.remove(place)
            if not waiting and self._waiting.get(address) is waiting:
                del self._waiting[address]

    def _leave_place(self, address: str) -> None:
        waiting = self._waiting.get(address)
        while waiting:
            place = waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        left = self._places.get(address, 0) - 1
        if left > 0:
            self._places[address] = left
        else:
            self._places.pop(address, None)

    def _close_idle(self, address: str) -> bool:
        """Whether an idle session with the address was given up for another that wants its place."""
        for hop, waiting in self._idle.items():
            if hop.address == address:
                session = waiting.popleft().session
                if not waiting:
                    del self._idle[hop]
                self._discard(session)
                return True
        return False

    def _discard(self, session: Session) -> None:
        """The place is free at once; the QUIT may take its seconds."""
        self._leave_place(session.hop.address)
        task = asyncio.get_running_loop().create_task(session.quit())
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)

    async def _reap(self) -> None:
        """Ends sessions that were idle for too long; ends itself when none is idle."""
        while self._idle:
            await asyncio.sleep(self._settings.idle / 2)
            oldest = self._clock.monotonic() - self._settings.idle
            for hop, waiting in list(self._idle.items()):
                while waiting and waiting[0].since <= oldest:
                    self._discard(waiting.popleft().session)
                if not waiting:
                    self._idle.pop(hop, None)
        self._reaper = None

    def _source(self, address: str) -> str:
        """The local address for the next session: those of the right family take turns."""
        if not self._sources or address.startswith("unix:"):
            return ""
        version = parse_ip(address).version
        fitting = [source for source in self._sources if parse_ip(source).version == version]
        if not fitting:
            return ""
        self._turn += 1
        return fitting[self._turn % len(fitting)]
