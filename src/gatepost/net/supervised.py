"""One leader and its workers as the supervisor sees them: started, asked, heard, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from gatepost.net.leader_seat import in_words
from gatepost.net.process_link import Alive, Begin, Bound, Drain, Failed, Gone, Message, Ready, pair, receive, send
from gatepost.net.worker_process import BE_REPLACED, CLOSING_SECONDS

log = structlog.get_logger()

REAP_SECONDS: Final = 0.02
MARGIN_SECONDS: Final = CLOSING_SECONDS + 10.0  # worker, leader and we each have a limit; ours is the last


class StartError(Exception):
    """A leader did not come to serve; the message says why and what to do, a line each."""


class Generation:
    """A leader with its workers. It is over when the last of their processes has ended.

    ready: what the leader said when all served, or StartError. gone: done at its end. workers: process by number, as
    last heard. bound: sockets that it had to bind, by key.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: socket.socket,
        life: socket.socket,
        leader_ended: Callable[[Generation], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Ready] = loop.create_future()
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())  # may be nobody asks
        self.gone: asyncio.Future[None] = loop.create_future()
        self.workers: dict[int, int] = {}
        self.bound: dict[str, socket.socket] = {}
        self.has_leader = True
        self.heard_at = loop.time()
        self.ends_by: float | None = None  # set with the first order to drain
        self._loop = loop
        self._process = process
        self._channel = channel
        self._life = life
        self._leader_ended = leader_ended
        loop.add_reader(channel.fileno(), self._listen)
        loop.add_reader(life.fileno(), self._life_ended)

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        sockets: Mapping[str, socket.socket],
        taken: Collection[int],
        inherited: Sequence[int],
        leader_ended: Callable[[Generation], None],
    ) -> Generation:
        """A leader that has begun. command: the descriptor of its channel is added at the end. taken: numbers of
        workers that still run. inherited: further descriptors that it and its workers hold. Raises StartError."""
        channel, theirs = pair()
        life, leash = socket.socketpair()
        numbers = {key: sock.fileno() for key, sock in sockets.items()}
        # Of the pair (life, leash), the end of either side is read by the other: we hold one, all of them the other.
        passed = (theirs.fileno(), leash.fileno(), *numbers.values(), *inherited)
        try:
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                process_group=0,  # Ctrl-C is for us alone, and all of them can be reached at once
            )
        except OSError as error:
            channel.close()
            life.close()
            raise StartError(
                f"{command[0]} cannot be executed ({error.strerror}) by the user that the server runs as; install "
                "Gatepost where that user may read it"
            ) from error
        finally:
            theirs.close()
            leash_number = leash.fileno()
            leash.close()
        life.setblocking(False)
        send(channel, Begin(numbers, tuple(taken), leash_number))
        return cls(process, channel, life, leader_ended)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_draining(self) -> bool:
        return self.ends_by is not None

    def send(self, message: Message) -> bool:
        return self.has_leader and send(self._channel, message)

    def drain(self, order: Drain) -> None:
        """No new connections, and an end after `order.seconds`. Workers without a leader are told by a signal."""
        ends_by = self._loop.time() + order.seconds + MARGIN_SECONDS
        self.ends_by = ends_by if self.ends_by is None else min(self.ends_by, ends_by)
        if not self.send(order):
            self._signal_all(BE_REPLACED if order.patience else signal.SIGTERM)

    def kill_leader(self) -> None:
        """Its workers go on."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def kill(self) -> None:
        """All of them, at once."""
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        if not self.gone.done():  # as long as one of them lives, the group is theirs
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _listen(self) -> None:
        try:
            while (received := receive(self._channel)) is not None:
                self._hear(*received)
        except (Gone, msgspec.DecodeError):
            self._loop.remove_reader(self._channel.fileno())
            self._reap()

    def _hear(self, message: Message, descriptors: list[int]) -> None:
        self.heard_at = self._loop.time()
        match message:
            case Bound(key) if descriptors:
                self.bound[key] = socket.socket(fileno=descriptors[0])
            case Ready() if not self.ready.done():
                self.ready.set_result(message)
            case Failed(text) if not self.ready.done():
                self.ready.set_exception(StartError(text))
            case Alive(workers):
                self.workers = workers

    def _reap(self) -> None:
        """The leader's process has closed its channel, so it has ended or is about to."""
        status = self._process.poll()
        if status is None:
            self._loop.call_later(REAP_SECONDS, self._reap)
            return
        self.has_leader = False
        self._channel.close()
        if not self.ready.done():
            self.ready.set_exception(StartError(f"the leader {_ended(status)} before it served; its log says more"))
        self._leader_ended(self)

    def how_leader_ended(self) -> str:
        return _ended(self._process.returncode)

    def _life_ended(self) -> None:
        self._loop.remove_reader(self._life.fileno())
        self._life.close()
        if not self.gone.done():
            self.gone.set_result(None)


def _ended(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else in_words(-status)
