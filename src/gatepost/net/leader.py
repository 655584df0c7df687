"""The leader: loads one generation of the server, forks its workers, replaces those that die or hang.

It has no event loop, no thread and no open database, so that a fork is clean at any time; TLS contexts are made before
the first fork, so that tickets hold at every worker. Not here: sockets that outlive it (`net.supervisor`), what a
worker does (`net.worker_process`).
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec
import structlog

from gatepost.net import worker_process
from gatepost.net.leader_seat import LeaderLimits, Seat, State
from gatepost.net.leader_sockets import take_sockets
from gatepost.net.listener import ListenError
from gatepost.net.process_link import (
    Alive,
    Begin,
    Drain,
    Failed,
    Gone,
    Ready,
    Tell,
    pair,
    receive,
    send,
)
from gatepost.net.worker_process import STOP, Body

log = structlog.get_logger()

TURN_SECONDS: Final = 1.0
MAX_UNTOLD: Final = 100
LOST: Final = 70  # a worker that fell out of its own code (EX_SOFTWARE)


class CannotServe(Exception):
    """A generation cannot be loaded or started; the message says why and what to do, a line each."""


class Generation(Protocol):
    """The server as one configuration wants it, with all that is made before the fork."""

    @property
    def places(self) -> Mapping[str, str]:
        """Where to listen: address by key."""
        ...

    @property
    def services(self) -> Mapping[str, str]:
        """What each place is for, by key: for people."""
        ...

    @property
    def workers(self) -> int: ...

    def work(self, number: int, sockets: Mapping[str, socket.socket]) -> Body:
        """Called in the worker, inside its event loop."""
        ...

    def look(self) -> None:
        """Called in the leader every few seconds: what a fork inherits may have to be renewed."""
        ...


def serve_generation(channel: socket.socket, load: Callable[[], Generation], limits: LeaderLimits | None = None) -> int:
    """The exit status, once the generation has ended. The whole life of a leader's process.

    channel: to the supervisor. load: raises CannotServe.
    """
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)  # the supervisor says what is done; workers hear SIGTERM themselves
    channel.setblocking(False)
    try:
        begin = _first(channel)
        generation = load()
        sockets = take_sockets(channel, begin.sockets, generation.places)
    except Gone:
        return 1
    except (CannotServe, ListenError) as error:
        send(channel, Failed(str(error)))
        return 1
    leash = socket.socket(fileno=begin.leash)
    leash.set_inheritable(False)
    return Leader(channel, leash, generation, sockets, begin.taken, limits or LeaderLimits()).run()


def _first(channel: socket.socket) -> Begin:
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while (received := receive(channel)) is None:
            selector.select()
    message, _ = received
    assert isinstance(message, Begin)
    return message


class Leader:
    """Invariant: a seat has a process from its fork until the process has been waited for."""

    def __init__(
        self,
        channel: socket.socket,
        leash: socket.socket,
        generation: Generation,
        sockets: Mapping[str, socket.socket],
        taken: Sequence[int],
        limits: LeaderLimits,
    ) -> None:
        self._channel = channel
        self._leash = leash
        self._generation = generation
        self._sockets = sockets
        self._limits = limits
        free = (number for number in range(len(taken) + generation.workers) if number not in taken)
        self._seats = [Seat(number, limits) for number, _ in zip(free, range(generation.workers), strict=False)]
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = _wakeup_pipe()
        self._is_ready = False
        self._is_draining = False
        self._untold: list[Tell] = []
        self._told_alive_at = 0.0
        self._told_workers: dict[int, int] = {}
        self._turned_at = time.monotonic()

    def run(self) -> int:
        """The exit status."""
        self._selector.register(self._channel, selectors.EVENT_READ, self._listen)
        self._selector.register(self._woken, selectors.EVENT_READ, self._drop_wakeups)
        gc.freeze()  # what is loaded now is shared with the workers; a collection would copy its pages
        for seat in self._seats:
            self._fork(seat)
        while not self._is_over():
            for key, _ in self._selector.select(self._wait()):
                key.data()
            try:
                self._turn(time.monotonic())
            except CannotServe as error:
                send(self._channel, Failed(str(error)))
                self._kill_all()
                return 1
        return 0

    def _is_over(self) -> bool:
        return self._is_draining and not any(seat.pid for seat in self._seats)

    def _wait(self) -> float:
        now = time.monotonic()
        due = [seat.due_at - now for seat in self._seats if not seat.pid and not self._is_draining]
        return max(0.0, min([TURN_SECONDS, *due]))

    # --- one turn -------------------------------------------------------------------------------------------------

    def _turn(self, now: float) -> None:
        """Raises CannotServe: a worker failed before all served."""
        if now - self._turned_at > self._limits.silent / 2:  # we were stopped, and so, maybe, were they
            for seat in self._seats:
                seat.beat(now)
        self._turned_at = now
        for seat in self._seats:
            self._reap(seat, now)
            if seat.pid:
                seat.end_if_hanging(now)
            elif not self._is_draining and now >= seat.due_at:
                self._fork(seat)
        if not self._is_ready and all(seat.state is State.SERVING for seat in self._seats):
            self._is_ready = True
            numbers = tuple(seat.number for seat in self._seats)
            send(self._channel, Ready(tuple(self._sockets), numbers, dict(self._generation.services)))
        self._tell_alive(now)

    def _tell_alive(self, now: float) -> None:
        workers = {seat.number: seat.pid for seat in self._seats if seat.pid}
        is_due = now - self._told_alive_at >= self._limits.alive
        if is_due or workers != self._told_workers:
            self._told_workers = workers
            send(self._channel, Alive(workers))
        if is_due:
            self._told_alive_at = now
            self._look()

    def _look(self) -> None:
        try:
            self._generation.look()
        except Exception:
            log.exception("a look at what the workers inherit failed")

    def _reap(self, seat: Seat, now: float) -> None:
        if not seat.pid:
            return
        pid, status = os.waitpid(seat.pid, os.WNOHANG)
        if not pid:
            return
        self._hear(seat)  # its last words
        how = seat.ended(status, now)
        self._forget_link(seat)
        if self._is_draining:
            if status:
                log.error("worker did not end in order", worker=seat.number, how=how)
            return
        if not self._is_ready:
            raise CannotServe(seat.failure or f"worker {seat.number} {how} before it served; its log says more")
        log.error("worker ended; another takes its place", worker=seat.number, process=pid, how=how)
        self._tell(Tell("alert", "worker replaced", f"worker {seat.number} (process {pid}) {how}"))

    def _kill_all(self) -> None:
        for seat in self._seats:
            if seat.pid:
                with suppress(ProcessLookupError):
                    os.kill(seat.pid, signal.SIGKILL)
                os.waitpid(seat.pid, 0)

    # --- processes ------------------------------------------------------------------------------------------------

    def _fork(self, seat: Seat) -> None:
        ours, theirs = pair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._live(seat.number, ours, theirs)
        theirs.close()
        seat.begins(pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(seat))

    def _live(self, number: int, ours: socket.socket, theirs: socket.socket) -> None:
        """The child. It never returns."""
        status = LOST
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (ours, self._channel, self._wake, self._woken, *(seat.link for seat in self._seats)):
                if end is not None:
                    end.close()
            self._selector.close()
            status = worker_process.run(theirs, self._leash, lambda: self._generation.work(number, self._sockets))
        except BaseException:
            log.exception("worker fell out of its loop", worker=number)
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _forget_link(self, seat: Seat) -> None:
        if seat.link is not None:
            self._selector.unregister(seat.link)
            seat.link.close()
            seat.link = None

    # --- messages -------------------------------------------------------------------------------------------------

    def _hear(self, seat: Seat) -> None:
        """What the worker says. Its end is noticed by waiting for the process."""
        if seat.link is None:
            return
        with suppress(Gone, msgspec.DecodeError):
            while (received := receive(seat.link)) is not None:
                was = seat.state
                seat.heard(received[0], time.monotonic())
                if seat.state is State.SERVING and was is not State.SERVING:
                    self._tell_what_waits()
            return
        self._forget_link(seat)

    def _listen(self) -> None:
        """What the supervisor says."""
        try:
            while (received := receive(self._channel)) is not None:
                match received[0]:
                    case Drain() as order:
                        self._drain(order)
                    case Tell() as told:
                        self._tell(told)
        except Gone:
            log.error("the supervisor is gone; running sessions end")
            self._selector.unregister(self._channel)
            self._drain(STOP)

    def _drain(self, order: Drain) -> None:
        self._is_draining = True
        for sock in self._sockets.values():
            sock.close()
        for seat in self._seats:
            seat.must_end_by(time.monotonic() + order.seconds + self._limits.closing)
            if seat.link is not None:
                send(seat.link, order)

    def _tell(self, told: Tell) -> None:
        self._untold = [*self._untold, told][-MAX_UNTOLD:]
        self._tell_what_waits()

    def _tell_what_waits(self) -> None:
        for seat in self._seats:
            if seat.state is State.SERVING and seat.link is not None:
                while self._untold and send(seat.link, self._untold[0]):
                    self._untold.pop(0)
                return

    def _drop_wakeups(self) -> None:
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass


def _wakeup_pipe() -> tuple[socket.socket, socket.socket]:
    """A pair of which the second is readable whenever a child has ended."""
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # the wake-up needs a handler in Python
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    return wake, woken
