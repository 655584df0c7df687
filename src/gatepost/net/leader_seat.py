"""One worker as its leader sees it: which process sits there, when it was last heard, when the next one is due."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from enum import Enum, auto
from typing import Final

import msgspec
import structlog

from gatepost.net.process_link import Beat, Failed, Message, Serving
from gatepost.net.worker_process import CLOSING_SECONDS, SHOW_STACKS

log = structlog.get_logger()

LONGEST_PAUSE: Final = 60.0  # seconds between two tries to start a worker that dies at once
STACKS_SECONDS: Final = 1.0  # for a hanging worker to write where it hangs


class LeaderLimits(msgspec.Struct, frozen=True):
    """Seconds. silent: without a beat a worker hangs. starting: until it serves; a large spool is looked through.
    closing: beyond its drain. steady: who lived so long is replaced at once. alive: between two words to the
    supervisor."""

    silent: float = 30.0
    starting: float = 300.0
    closing: float = CLOSING_SECONDS + 5.0
    steady: float = 60.0
    alive: float = 5.0


class State(Enum):
    EMPTY = auto()  # no process
    STARTING = auto()  # forked, does not serve yet
    SERVING = auto()


class Seat:
    """A worker's place. number: stays with it. failure: why the last process could not serve, "" if it could."""

    def __init__(self, number: int, limits: LeaderLimits) -> None:
        self.number = number
        self.pid = 0
        self.link: socket.socket | None = None
        self.state = State.EMPTY
        self.due_at = 0.0
        self.failure = ""
        self._limits = limits
        self._began_at = 0.0
        self._heard_at = 0.0
        self._end_by = float("inf")
        self._stacks_at: float | None = None
        self._why_killed = ""
        self._early_ends = 0

    def begins(self, pid: int, link: socket.socket, now: float) -> None:
        """A process was forked."""
        self.pid, self.link, self.state, self.failure = pid, link, State.STARTING, ""
        self._began_at = self._heard_at = now
        self._stacks_at, self._why_killed = None, ""

    def beat(self, now: float) -> None:
        self._heard_at = now

    def heard(self, message: Message, now: float) -> None:
        """The worker said something."""
        match message:
            case Beat():
                self._heard_at = now
                self._stacks_at = None  # it goes on after all
            case Serving():
                self.state, self._heard_at = State.SERVING, now
            case Failed(text):
                self.failure = text

    def must_end_by(self, when: float) -> None:
        self._end_by = min(self._end_by, when)

    def end_if_hanging(self, now: float) -> None:
        """A worker that shows no life is asked where it is, for the log, and killed a moment later."""
        is_serving = self.state is State.SERVING
        limit = self._limits.silent if is_serving else self._limits.starting
        if now > self._end_by:
            self._kill("did not end within its limit, and was killed")
        elif self._stacks_at is not None:
            if now - self._stacks_at >= STACKS_SECONDS:
                self._kill(f"{'hung' if is_serving else 'did not serve'} for {limit:g} seconds, and was killed")
        elif now - (self._heard_at if is_serving else self._began_at) > limit:
            log.error("worker hangs; where, it writes below", worker=self.number, process=self.pid)
            self._stacks_at = now
            self._signal(SHOW_STACKS)

    def ended(self, status: int, now: float) -> str:
        """How the process ended, in words. The next one is due at once, or later each time that it dies young."""
        self.pid, self.state = 0, State.EMPTY
        self._early_ends = 0 if now - self._began_at >= self._limits.steady else self._early_ends + 1
        pause = min(LONGEST_PAUSE, 2.0 ** (self._early_ends - 2)) if self._early_ends > 1 else 0.0
        self.due_at = now + pause
        return self._why_killed or in_words(status)

    def _kill(self, why: str) -> None:
        if not self._why_killed:
            self._why_killed = why
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def in_words(status: int) -> str:
    """How a process ended, from what wait(2) says."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-code} ({name})"
