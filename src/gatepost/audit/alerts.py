"""Alerts on their way to people: which are still to be told, when, and in what words.

An alert is an event like any other; that it was told is one too ("alerts told"), so that a restart tells none twice and
none is forgotten. Not here: reading the record (`watcher`), and the ways themselves: mail and webhook are joined by
`app`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gatepost.audit.event import Event
from gatepost.audit.lines import Line, begins
from gatepost.audit.timeline import pairs, shown

WANTED: Final = begins("alert", "server")
"""With what the lines begin that couriers want."""
TOLD: Final = "alerts told"
NOT_TOLD: Final = "alerts not told"
KEPT_SECONDS: Final = 86400.0  # an older alert is history
GATHER_SECONDS: Final = 5.0  # an alert waits for others of the same moment
FIRST_RETRY: Final = 30.0
LONGEST_RETRY: Final = 3600.0
MAX_WAITING: Final = 5000
MAX_AT_ONCE: Final = 100  # alerts in one message; it says how many more there are
MAX_NAMED: Final = 3  # in a subject
LINE_WIDTH: Final = 74


class Alert(msgspec.Struct, frozen=True):
    """One alert. details: all that the event says, `what` and `problem` included."""

    id: str
    time: str
    at: float
    details: dict[str, Any]

    @property
    def what(self) -> str:
        return shown(str(self.details.get("what", "alert")))


class CannotTell(Exception):
    """The way does not work; says why. is_final: it never will, for these alerts."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


Tell = Callable[[Sequence[Alert], int], Awaitable[str]]
"""Tells alerts, and of how many more there are; returns what to note of it. Raises CannotTell."""


class Courier:
    """One way by which alerts are told: what waits for it, and when it goes again.

    way: its name on the record. interval: seconds between two of its messages. skips: what is not told this way.
    """

    def __init__(self, way: str, tell: Tell, interval: float, skips: Callable[[Alert], bool] = lambda _: False) -> None:
        self.way = way
        self._tell = tell
        self._interval = interval
        self._skips = skips
        self._waiting: dict[str, Alert] = {}
        self._told: dict[str, None] = {}  # also of alerts that come later: another worker's file was read first
        self._beyond: list[str] = []  # what one message cannot hold: it is counted in it
        self._next = 0.0
        self._failures = 0

    def take(self, lines: Iterable[Line]) -> None:
        """New lines of the record: alerts, and what was told of them."""
        for line in lines:
            if line.kind == "alert":
                self._add(Alert(line.id, line.time, line.at, line.told()))
            elif line.kind == "server" and (told := line.told()).get("what") in (TOLD, NOT_TOLD):
                if told.get("way") == self.way and isinstance(told.get("alerts"), list):
                    self._was_told(told["alerts"])

    async def go(self, now: float) -> Event | None:
        """Tell what is due; the event that says so, for the record, None when nothing was."""
        batch = self._due(now)
        if not batch:
            return None
        try:
            note = await self._tell(batch, len(self._beyond))
        except CannotTell as error:
            self._failures += 1
            if not error.is_final:
                self._next = now + min(FIRST_RETRY * 2 ** (self._failures - 1), LONGEST_RETRY)
                return self._event(NOT_TOLD, [], str(error)) if self._failures == 1 else None
            event = self._event(NOT_TOLD, batch, str(error))
        else:
            event = self._event(TOLD, batch, note)
            self._failures = 0
        self._next = now + self._interval
        self._was_told([*(alert.id for alert in batch), *self._beyond])
        self._beyond = []
        return event

    def _add(self, alert: Alert) -> None:
        if alert.id not in self._told and not self._skips(alert):
            self._waiting[alert.id] = alert
            if len(self._waiting) > MAX_WAITING:
                self._pass_over(next(iter(self._waiting)))

    def _was_told(self, ids: Iterable[Any]) -> None:
        for each in ids:
            self._waiting.pop(str(each), None)
            self._told[str(each)] = None
            if len(self._told) > MAX_WAITING:
                del self._told[next(iter(self._told))]

    def _due(self, now: float) -> list[Alert]:
        """What is to be told now, the oldest first; what goes beyond one message is counted in it and told by none."""
        for alert in [alert for alert in self._waiting.values() if alert.at < now - KEPT_SECONDS]:
            del self._waiting[alert.id]
        if not self._waiting or now < self._next:
            return []
        if all(alert.at > now - GATHER_SECONDS for alert in self._waiting.values()):
            return []
        batch = list(self._waiting.values())
        for alert in batch[MAX_AT_ONCE:]:
            self._pass_over(alert.id)
        return batch[:MAX_AT_ONCE]

    def _pass_over(self, alert_id: str) -> None:
        del self._waiting[alert_id]
        if len(self._beyond) < MAX_WAITING:
            self._beyond.append(alert_id)

    def _event(self, what: str, batch: Sequence[Alert], note: str) -> Event:
        details: dict[str, Any] = {"what": what, "way": self.way}
        if batch:
            details["alerts"] = [*(alert.id for alert in batch), *self._beyond]
        if note:
            details["note"] = note
        return Event("server", details=details)


# --- in words ------------------------------------------------------------------------------------------------------


def subject(hostname: str, alerts: Sequence[Alert]) -> str:
    """The subject of a message about `alerts`, one line of printable characters."""
    names = list(dict.fromkeys(alert.what for alert in alerts))
    named = ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
    return f"[{hostname}] {named}" if len(alerts) == 1 else f"[{hostname}] {len(alerts)} alerts: {named}"


def text(hostname: str, alerts: Sequence[Alert], more: int) -> str:
    """The text of a message about `alerts`: each with what is known, what was done, and where to look."""
    lines = [f"On {hostname}:", ""]
    for alert in alerts:
        lines += _told(alert)
    if more:
        lines += [f"There are {more} more, which are on the record only: gatepost audit search --kind alert", ""]
    lines += [
        "The last days at a glance: gatepost audit report",
        "Which alerts are raised, and who hears of them: [detectors] and [alerts] in the configuration.",
    ]
    return "\n".join(lines) + "\n"


def payload(hostname: str, alerts: Sequence[Alert], more: int) -> bytes:
    """The same for a program: an object as JSON."""
    told = [{"id": alert.id, "time": alert.time, **alert.details} for alert in alerts]
    return msgspec.json.encode({"server": hostname, "alerts": told, "more": more})


def _told(alert: Alert) -> list[str]:
    details = alert.details
    lines = [f"{alert.time[:19].replace('T', ' ')} UTC  {alert.what}"]
    problem = details.get("problem") or details.get("reason")
    if problem:
        lines += _wrapped(str(problem))
    lines += _wrapped(consequence(details))
    if details.get("do"):
        lines += _wrapped(f"What to do: {details['do']}")
    told = ("what", "problem", "reason", "do", "detector", "pattern", "subject", "ban", "ban_seconds", "hold", "mode",
            "events")  # fmt: skip
    rest = {name: value for name, value in details.items() if name not in told}
    if rest:
        lines += _wrapped(pairs(rest))
    events = details.get("events")
    about = [alert.id, *(events[:MAX_NAMED] if isinstance(events, list) else ())]
    lines += [f"    gatepost audit show {shown(str(each))}" for each in about]
    return [*lines, ""]


def consequence(details: Mapping[str, Any]) -> str:
    """What followed from what a detector found, and what is left to do; "" for other alerts."""
    if not details.get("detector"):
        return ""
    if details.get("mode") == "shadow":
        return "Nothing was done: the detector is in shadow."
    said = []
    banned, held = details.get("ban"), details.get("hold")
    if isinstance(banned, list) and banned:
        names = ", ".join(map(str, banned[:MAX_NAMED])) + (" ..." if len(banned) > MAX_NAMED else "")
        said.append(f"Banned: {names}. To end it: gatepost ban lift NETWORK.")
    if isinstance(held, list) and held:
        names = ", ".join(map(str, held))
        said.append(
            f"Held: {names}. What it sends from where it is not at home is kept in the queue. Give it a new password "
            "if somebody else has it, look at what is held (gatepost queue list --state held), then: gatepost account "
            "release ADDRESS."
        )
    return " ".join(said) or "Nothing was done: look at it, and act if you must."


def _wrapped(told: str) -> list[str]:
    return [] if not told else textwrap.wrap(
        shown(told), LINE_WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )  # fmt: skip
