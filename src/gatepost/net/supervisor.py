"""The supervisor: holds the sockets, starts a leader and replaces it: on reload with a new generation, on death with
the same. It loads no configuration and serves nobody.

Invariant: while it runs and is not told to stop, there is a generation that accepts connections, or the kernel keeps
them waiting in sockets that are open.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from gatepost.net import listening
from gatepost.net.control import ControlServer
from gatepost.net.listening import Sockets, address_of
from gatepost.net.notify_systemd import Notify
from gatepost.net.process_link import Drain, Tell
from gatepost.net.supervised import Generation, StartError
from gatepost.net.worker_process import HAND_OVER, STOP

log = structlog.get_logger()

CONTROL_NAME: Final = "supervisor.sock"  # in data/run
LONGEST_PAUSE: Final = 60.0


class SupervisorLimits(msgspec.Struct, frozen=True):
    """starting: seconds for a leader until all its workers serve. silent: without a word a leader hangs. turn:
    between two looks. stop, hand_over: how a generation ends with the server, and after a reload."""

    starting: float = 330.0
    silent: float = 30.0
    turn: float = 1.0
    stop: Drain = STOP
    hand_over: Drain = HAND_OVER


class Supervisor:
    """One server. Made and run in one event loop; its user is that of all its children."""

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sockets,
        run_folder: Path,
        notify: Notify,
        *,
        inherited: Sequence[int] = (),
        about: Mapping[str, str] | None = None,
        limits: SupervisorLimits | None = None,
    ) -> None:
        """command: executes a leader. sockets: taken over. run_folder: for the control socket. inherited:
        descriptors that children hold too. about: what `status` tells beside the processes."""
        self._command = tuple(command)
        self._sockets = sockets
        self._notify = notify
        self._inherited = tuple(inherited)
        self._about = dict(about or {})
        self._limits = limits or SupervisorLimits()
        self._generations: list[Generation] = []
        self._current: Generation | None = None
        self._changing = asyncio.Lock()
        self._stop_signals = 0
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._control = ControlServer(
            run_folder / CONTROL_NAME,
            {"reload": self._asked_to_reload, "status": self._status},
            lambda what, error: log.error("a command could not be answered", command=what, error=str(error)),
        )

    async def run(self) -> int:
        """The exit status, once the server was told to stop. Raises StartError when it does not come up, OSError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        await self._control.start()
        self._begin(self._watch())
        try:
            starting = loop.create_task(self._change())
            stopped = self._spawn(self._stop.wait())
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._tell_ready("Serving")
                await self._stop.wait()
            else:
                starting.cancel()
            seconds = f"{self._limits.stop.seconds:g} seconds"
            log.info(f"told to stop: what runs may end within {seconds}; a second signal ends it at once")
        finally:
            await self._end()
        log.info("stopped")
        return 0

    # --- generations ----------------------------------------------------------------------------------------------

    async def _change(self, instead_of: Generation | None = None) -> None:
        """A new generation serves, and those before it are being drained. Raises StartError: nothing has changed.

        instead_of: only while that is the current one.
        """
        async with self._changing:
            if instead_of is not self._current and instead_of is not None:
                return
            new = await self._started()
            olds = [old for old in self._generations if old is not new]
            self._current = new
            for key, sock in new.bound.items():
                self._sockets.add(key, sock)
            new.bound.clear()
            ready = new.ready.result()
            closed = self._sockets.keep(ready.keys)
            for old in olds:
                old.drain(self._limits.hand_over)
            log.info(f"serving {_by_service(self._listeners(), ready.services)}", closed=", ".join(closed))

    async def _started(self) -> Generation:
        taken = [number for generation in self._generations for number in generation.workers]
        new = Generation.start(self._command, self._sockets, taken, self._inherited, self._leader_ended)
        self._generations.append(new)
        new.gone.add_done_callback(lambda _: self._generations.remove(new))
        try:
            async with asyncio.timeout(self._limits.starting):
                ready = await asyncio.shield(new.ready)
        except TimeoutError:
            self._discard(new)
            raise StartError(
                f"the workers did not serve within {self._limits.starting:g} seconds; their log says more"
            ) from None
        except BaseException:
            self._discard(new)
            raise
        new.workers = dict.fromkeys(ready.numbers, 0) | new.workers
        return new

    def _discard(self, new: Generation) -> None:
        new.kill()
        for sock in new.bound.values():
            listening.close(sock)
        new.bound.clear()

    def _leader_ended(self, generation: Generation) -> None:
        if generation is self._current and not self._stop.is_set():
            how = generation.how_leader_ended()
            log.error("leader ended; another takes its place", process=generation.pid, how=how)
            self._begin(self._replace_leader(generation, f"the leader (process {generation.pid}) {how}"))

    async def _replace_leader(self, dead: Generation, problem: str) -> None:
        """Until one serves: workers without a leader go on, but nobody replaces them."""
        pause = 1.0
        while True:
            try:
                await self._change(instead_of=dead)
                break
            except StartError as error:
                log.error("no leader yet", problem=str(error), next_try_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
        self._record(Tell("alert", "leader replaced", problem))

    def _record(self, told: Tell) -> None:
        if self._current is not None:
            self._current.send(told)

    # --- what is asked of it --------------------------------------------------------------------------------------

    async def _reload(self) -> str:
        """What is wrong with the new configuration, "" when it is in use."""
        self._notify.reloading()
        problem = ""
        try:
            await self._change()
        except StartError as error:
            problem = str(error)
            log.error("reload failed; all goes on as before", problem=problem)
            self._record(Tell("alert", "reload failed", problem))
        else:
            self._record(Tell("server", "reloaded"))
        self._tell_ready("Serving; the last reload failed" if problem else "Serving")
        return problem

    async def _asked_to_reload(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        for name, mine in self._about.items():
            if request.get(name, mine) != mine:
                return {"ok": False, "error": f"this server runs with {mine}; restart it to change that"}
        reloading = self._spawn(self._reload())
        problem = await asyncio.shield(reloading)  # whoever asked may leave; what was begun is done
        return {"ok": False, "error": problem} if problem else {"ok": True}

    async def _status(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        current = self._current
        return {
            "ok": True,
            **self._about,
            "pid": os.getpid(),
            "leader": current.pid if current is not None else 0,
            "workers": {str(number): pid for number, pid in current.workers.items()} if current is not None else {},
            "draining": [generation.pid for generation in self._generations if generation.is_draining],
            "listeners": self._listeners(),
        }

    def _listeners(self) -> dict[str, str]:
        return {key: address_of(sock) for key, sock in self._sockets.items()}

    def _hung_up(self) -> None:
        self._begin(self._reload())

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    # --- time and end ---------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        turn = self._limits.turn
        if self._notify.watchdog_seconds:
            turn = min(turn, self._notify.watchdog_seconds / 3)
        last = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(turn)
            now = asyncio.get_running_loop().time()
            self._look(now, was_stopped=now - last > self._limits.silent / 2)
            last = now

    def _look(self, now: float, *, was_stopped: bool) -> None:
        self._notify.alive()
        for generation in self._generations:
            if was_stopped:
                generation.heard_at = now
            if generation.has_leader and generation.ready.done() and now - generation.heard_at > self._limits.silent:
                log.error("leader hangs, and is killed; its workers go on", process=generation.pid)
                generation.kill_leader()
            if generation.ends_by is not None and now > generation.ends_by:
                log.error("a former generation did not end, and is killed", leader=generation.pid)
                generation.kill()

    async def _end(self) -> None:
        """Every session ends in order, or at once after a second signal."""
        self._stop.set()
        self._notify.stopping()
        for task in self._tasks:
            task.cancel()
        with suppress(OSError):
            await self._control.close()
        self._sockets.close()
        for generation in self._generations:
            generation.drain(self._limits.stop)
        at_once = asyncio.create_task(self._at_once.wait())
        while self._generations:
            ends: list[asyncio.Future[Any]] = [generation.gone for generation in self._generations]
            more = [] if at_once.done() else [at_once]
            await asyncio.wait([*ends, *more], timeout=self._limits.turn, return_when=asyncio.FIRST_COMPLETED)
            now = asyncio.get_running_loop().time()
            for generation in self._generations:
                if at_once.done() or now > (generation.ends_by or 0.0):
                    generation.kill()
            await asyncio.sleep(0)  # `gone` takes a generation off the list
        at_once.cancel()

    def _tell_ready(self, status: str) -> None:
        self._notify.ready(status)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.add(self._spawn(work))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _by_service(listeners: Mapping[str, str], services: Mapping[str, str]) -> str:
    """ "mx on 192.0.2.1:25, [::]:25; pop3s on 192.0.2.1:995" """
    addresses: dict[str, list[str]] = {}
    for key, address in listeners.items():
        addresses.setdefault(services.get(key, "something"), []).append(address)
    return "; ".join(f"{service} on {', '.join(found)}" for service, found in addresses.items()) or "nowhere"
