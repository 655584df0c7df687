"""How far an attempt under way has come, for whoever stops the server: may it be cut off, and what is lost by that.

Not here: the attempt (`delivery.local`, `delivery.remote`), and who cuts it off when (`delivery.loop`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto

import msgspec

from gatepost.delivery.mx import Candidates
from gatepost.delivery.next_hop import Job, NextHop
from gatepost.delivery.outcome import Ended
from gatepost.delivery.pool import Session
from gatepost.spool.model import Entry
from gatepost.spool.port import SpoolError


class Reach(Enum):
    """What cutting an attempt off now would do."""

    OPEN = auto()  # no harm: nobody has the message
    IN_DOUBT = auto()  # a next hop may have it; its answer is on the way, or never comes
    WRITING = auto()  # it is being put into a maildrop, in a thread that goes on whatever happens here


class Ahead(msgspec.Struct, frozen=True):
    """An entry that was taken ahead: its commands leave with the content of the one before, over the same session.

    damage: filled when its content cannot be read."""

    entry: Entry
    job: Job
    hop: NextHop
    session: Session
    route: Candidates
    damage: list[SpoolError]


class Course:
    """One attempt, or several in a row, of one task. Past its point of no return it is not cut off: what was delivered
    and not settled would be delivered again.

    is_cut: it should end; nothing further is begun. so_far: the attempts as far as recipients have their outcome.
    ahead: what this task must attempt next.
    """

    __slots__ = ("_reach", "_task", "ahead", "is_cut", "so_far")

    def __init__(self, task: asyncio.Task[None] | None = None) -> None:
        self.is_cut = False
        self.so_far: Callable[[], list[Ended]] = _nothing
        self.ahead: Ahead | None = None
        self._task = task
        self._reach = Reach.OPEN

    def begins(self) -> None:
        """The next attempt of the same task."""
        self.so_far = _nothing

    def reaches(self, reach: Reach) -> None:
        """From now on it stands there. Back at OPEN, what was cut meanwhile ends where it next waits."""
        self._reach = reach
        if self.is_cut and reach is Reach.OPEN:
            self._cancel()

    def in_doubt(self, is_so: bool) -> None:
        """A next hop may have the message from now on, or has said whether it has."""
        self.reaches(Reach.IN_DOUBT if is_so else Reach.OPEN)

    def cut(self) -> None:
        """It ends: now, or as soon as it is known what came of it."""
        self.is_cut = True
        if self._reach is Reach.OPEN:
            self._cancel()

    def abandon(self) -> None:
        """It ends although a next hop has not answered. What is being written into a maildrop still is, to its end."""
        if self._reach is not Reach.WRITING:
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _nothing() -> list[Ended]:
    """No recipient has its outcome."""
    return []
