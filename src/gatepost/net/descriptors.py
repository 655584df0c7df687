"""File descriptors: who comes when few are left is told so, and what is under way keeps those that it needs.

The event loop's own way is to take such a connection and to close it without a word.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Final

from gatepost.net.connection import Connection, DriverFactory
from gatepost.ports.wire import SessionDriver, Wire

KEPT_PART: Final = 10  # one of so many is kept for content, the spool, next hops and the DNS
MOST_KEPT: Final = 512


def kept(limit: int) -> int:
    """How many of `limit` descriptors no new connection gets."""
    return min(limit // KEPT_PART, MOST_KEPT)


class Descriptors:
    """Those of this process. `look` is to be called now and then: the limit may be changed from outside.

    first_kept: the system gives each new descriptor the lowest number that is free, so one with this number says that
    all below it are in use. Nothing has to be counted.
    """

    def __init__(self) -> None:
        self.first_kept = 0
        self.look()

    def look(self) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.first_kept = limit - kept(limit)


class Refused:
    """A `ports.wire.SessionDriver` that says its last words at once. words: called for them."""

    def __init__(self, wire: Wire, words: Callable[[], bytes]) -> None:
        self._wire = wire
        self._words = words

    def connection_made(self) -> None:
        self._wire.write(self._words())
        self._wire.close()

    def handshake_failed(self, reason: str) -> None:
        """Nobody is left to talk to."""

    def data_received(self, octets: bytes) -> None:
        """Whatever was sent ahead is not read."""

    def tls_started(self) -> None:
        """It never starts."""

    def peer_finished(self) -> None:
        """It is closed already."""

    def shut_down(self) -> None:
        """It is closed already."""

    def connection_lost(self, reason: str) -> None:
        """What is to be said of it was counted."""


def guarded(make: DriverFactory, descriptors: Descriptors, words: Callable[[], bytes]) -> DriverFactory:
    """`make`, but whoever gets a descriptor that is kept for others hears `words` instead."""

    def driver(connection: Connection) -> SessionDriver:
        if connection.descriptor >= descriptors.first_kept:
            return Refused(connection, words)
        return make(connection)

    return driver
