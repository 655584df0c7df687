"""What systemd wants to know and what it hands us: sd_notify(3), sd_listen_fds(3), in what little we need of them.

Without systemd nothing happens. Not here: when what is told (`net.supervisor`).
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START
MOST_UNTOLD: Final = 20  # the older ones would no longer be true
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Notify:
    """Tells systemd what this process does. Made once, before children are started: they must not speak for us.

    Nothing here waits for systemd, which may be slow when the machine is. What it has no room for is told with the next
    `alive`, in order; only that we live is not told twice.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Takes what concerns it out of `environment`; call `passed_sockets` before."""
        self._path = environment.get("NOTIFY_SOCKET", "")
        self._untold: deque[str] = deque(maxlen=MOST_UNTOLD)
        self.watchdog_seconds = _watchdog(environment)
        for name in _VARIABLES:
            environment.pop(name, None)

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._tell(f"STATUS={status}")

    def reloading(self) -> None:
        """`ready` ends it. The time stamp is what Type=notify-reload compares with."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=Reloading")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=Running sessions end")

    def alive(self) -> None:
        """To be called at least every `watchdog_seconds`, where that is not 0."""
        with suppress(BlockingIOError):
            self._tell_rest()
            self._send("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        self._untold.append(text)
        with suppress(BlockingIOError):
            self._tell_rest()

    def _tell_rest(self) -> None:
        while self._untold:
            self._send(self._untold[0])
            self._untold.popleft()

    def _send(self, text: str) -> None:
        """Raises BlockingIOError where systemd has no room for it now."""
        if not self._path:
            return
        # "@" stands for the NUL of an abstract name.
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.setblocking(False)
                notify.sendto(text.encode(), address)
        except BlockingIOError:
            raise
        except OSError:  # nobody listens there: then nobody wants to know
            pass


def _watchdog(environment: MutableMapping[str, str]) -> float:
    """Seconds after which systemd takes us for dead, 0.0 where it does not watch."""
    with suppress(ValueError):
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            return int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    return 0.0


def passed_sockets(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that systemd bound for us, none where it did not start us."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environment.get("LISTEN_FDS", "0")
    passed = [socket.socket(fileno=FIRST_DESCRIPTOR + number) for number in range(int(count) if count.isdigit() else 0)]
    for sock in passed:
        sock.set_inheritable(False)
        sock.setblocking(False)
    return passed
