"""What keeps mail from flowing, looked for every few seconds: an alert when a trouble begins, an event when it is over.

Not here: what a peer hears meanwhile (`intake`), and the record itself, which tells its own gap (`audit.writer`).
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from gatepost.audit.event import RecordError
from gatepost.net.descriptors import kept
from gatepost.ports.clock import Clock

log = structlog.get_logger()

ROOM: Final = "little room on the disk"
FILES: Final = "hardly any file can be opened"
SPOOL: Final = "messages cannot be kept"
DNS: Final = "the DNS does not answer"
CLOCK: Final = "the clock was set"
OVER: Final = "trouble over"

DO: Final[Mapping[str, str]] = {
    ROOM: "make room; audit.keep and old backups are the usual places; mail is accepted again by itself",
    FILES: "raise LimitNOFILE in the unit of systemd, or lower limits.connections",
    SPOOL: "look at the disk and at who owns the spool; senders keep the mail and try again",
    DNS: "look at [dns] resolvers or /etc/resolv.conf; senders and the queue try again",
    CLOCK: "if it is right now, nothing; else mend the time service, then `gatepost queue retry --all`",
}
FILES_USED_AT_MOST: Final = 0.9  # of those that the process may open
UNANSWERED: Final = 3  # look-ups; one name may have a dead server of its own
SPOOL_SECONDS: Final = 60.0  # after the last message that could not be kept, the trouble is over
CLOCK_SECONDS: Final = 60.0  # a time service corrects less than that without a word


class Asked(Protocol):
    """The resolver, as far as it matters here."""

    unanswered: int


class Troubles:
    """Those of this process and of its machine. record: puts an event on the record, raises RecordError."""

    def __init__(
        self,
        data: Path,
        free_limit_octets: int,
        resolver: Asked,
        clock: Clock,
        record: Callable[[Any, dict[str, Any]], None],
    ) -> None:
        self._data = data
        self._free_limit = free_limit_octets
        self._resolver = resolver
        self._clock = clock
        self._record = record
        self._running: dict[str, str] = {}
        self._not_kept = ""
        self._not_kept_at = 0.0
        self._offset = clock.unix() - clock.monotonic()

    @property
    def problems(self) -> tuple[str, ...]:
        """Those that go on, in words."""
        return tuple(f"{what}: {problem}" for what, problem in self._running.items())

    def message_not_kept(self, problem: str) -> None:
        """The spool could not keep a message."""
        self._not_kept, self._not_kept_at = problem, self._clock.monotonic()

    async def look(self) -> None:
        """To be called every few seconds. What cannot be recorded now is told at the next look."""
        found = dict(self._found())
        try:
            for what in [what for what in found if what not in self._running]:
                self._alert(what, found[what])
                self._running[what] = found[what]
            for what in [what for what in self._running if what not in found]:
                self._record("server", {"what": OVER, "trouble": what})
                del self._running[what]
            self._look_at_the_clock()
        except RecordError as error:
            log.error("trouble cannot be recorded yet", error=str(error), trouble=list(found))

    def _found(self) -> Iterator[tuple[str, str]]:
        free = shutil.disk_usage(self._data).free
        if free < self._free_limit:
            yield ROOM, f"{free} octets are free on the disk of {self._data}, {self._free_limit} must stay free"
        if problem := _files():
            yield FILES, problem
        if self._not_kept and self._clock.monotonic() - self._not_kept_at < SPOOL_SECONDS:
            yield SPOOL, self._not_kept
        if (unanswered := self._resolver.unanswered) >= UNANSWERED:
            yield DNS, f"the last {unanswered} look-ups were answered by no resolver"

    def _look_at_the_clock(self) -> None:
        offset = self._clock.unix() - self._clock.monotonic()
        jump = offset - self._offset
        if abs(jump) >= CLOCK_SECONDS:
            self._alert(CLOCK, f"it went {'forward' if jump > 0 else 'back'} by {abs(jump):.0f} seconds")
        self._offset = offset

    def _alert(self, what: str, problem: str) -> None:
        self._record("alert", {"what": what, "problem": problem, "do": DO[what]})
        log.error(what, problem=problem, do=DO[what])


def _files() -> str:
    """What is wrong with the files that this process has open; "" when all is well."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError as error:
        return f"all {limit} are open" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    is_short = used > min(limit * FILES_USED_AT_MOST, limit - kept(limit) - 1)  # one of them is the look itself
    return f"{used} of {limit} are open" if is_short else ""
