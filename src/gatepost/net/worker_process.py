"""A worker process, from the fork to its end: event loop, heartbeat, orders. What it does inside is a `Body`.

It ends when its leader says so, on SIGTERM, or when the supervisor is gone; that its leader is gone changes nothing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import socket
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from gatepost.net.process_link import Beat, Drain, Failed, Gone, Serving, Tell, receive, send

log = structlog.get_logger()

STOP: Final = Drain(seconds=30.0)
HAND_OVER: Final = Drain(seconds=630.0, patience=600.0)
BEAT_SECONDS: Final = 1.0
CLOSING_SECONDS: Final = 20.0  # once a drain is over: last answers of next hops, QUITs, closing the stores
COLLECTED_AFTER: Final = (20_000, 20, 20)
"""A session is a few dozen objects and a ring of them: at 700, Python's default, every tenth message pays for a look at
all that stand."""
SHOW_STACKS: Final = signal.SIGUSR2
BE_REPLACED: Final = signal.SIGUSR1  # HAND_OVER, for those whose leader is gone


class Body(Protocol):
    """What a worker does. Made inside its event loop."""

    async def start(self) -> None:
        """Returns when connections are accepted. Whatever it raises is the reason why the worker cannot serve."""
        ...

    async def drain(self, seconds: float, patience: float) -> None:
        """No new connections from now on. Sessions go on undisturbed for `patience` seconds; then each ends as soon
        as its peer loses nothing. At the latest after `seconds`, all is closed."""
        ...

    def hurry(self, seconds: float, patience: float) -> None:
        """The same, while `drain` runs; it can only become shorter."""
        ...

    def tell(self, kind: str, what: str, problem: str) -> None:
        """Put it on the record."""
        ...


def run(link: socket.socket, leash: socket.socket, make: Callable[[], Body]) -> int:
    """The exit status, once the worker has ended. To be called right after the fork.

    link: to the leader. leash: reads its end when the supervisor is gone.
    """
    faulthandler.enable()
    faulthandler.register(SHOW_STACKS, all_threads=True)
    gc.set_threshold(*COLLECTED_AFTER)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_Process(link, leash).live(make))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class _Process:
    def __init__(self, link: socket.socket, leash: socket.socket) -> None:
        self._link = link
        self._leash = leash
        self._orders: asyncio.Queue[Drain] = asyncio.Queue()
        self._body: Body | None = None

    async def live(self, make: Callable[[], Body]) -> int:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._orders.put_nowait, STOP)
        loop.add_signal_handler(BE_REPLACED, self._orders.put_nowait, HAND_OVER)
        loop.add_reader(self._link.fileno(), self._listen)
        loop.add_reader(self._leash.fileno(), self._supervisor_gone)
        beating = loop.create_task(self._beat())
        try:
            self._body = make()
            await self._body.start()
        except Exception as error:
            log.exception("worker cannot serve")
            send(self._link, Failed(f"{error}" or type(error).__name__))
            return 1
        send(self._link, Serving())
        try:
            await self._drain(self._body)
        finally:
            beating.cancel()
        return 0

    async def _drain(self, body: Body) -> None:
        loop = asyncio.get_running_loop()
        order = await self._orders.get()
        end = loop.call_later(order.seconds + CLOSING_SECONDS, self._give_up)
        draining = loop.create_task(body.drain(order.seconds, order.patience))
        while not draining.done():
            another = loop.create_task(self._orders.get())
            await asyncio.wait({draining, another}, return_when=asyncio.FIRST_COMPLETED)
            if not another.done():
                another.cancel()
                continue
            order = another.result()
            body.hurry(order.seconds, order.patience)
            if loop.time() + order.seconds + CLOSING_SECONDS < end.when():
                end.cancel()
                end = loop.call_later(order.seconds + CLOSING_SECONDS, self._give_up)
        end.cancel()
        await draining

    def _give_up(self) -> None:
        log.error("worker does not come to an end, and ends now; what it was asked to keep is kept")
        os._exit(1)

    async def _beat(self) -> None:
        while True:
            send(self._link, Beat())
            await asyncio.sleep(BEAT_SECONDS)

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (received := receive(self._link)) is not None:
                match received[0]:
                    case Drain() as order:
                        self._orders.put_nowait(order)
                    case Tell(kind, what, problem) if self._body is not None:
                        self._body.tell(kind, what, problem)
        except Gone:
            loop.remove_reader(self._link.fileno())

    def _supervisor_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._leash.fileno())
        self._orders.put_nowait(STOP)
