"""The detectors over the record: lines go in, rulings come out, each once.

What was ruled before is on the record too (`alert` events that name a detector), so that a restart repeats nothing.
Not here: reading the record (`audit.watcher`), and acting on a ruling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from gatepost.audit.detectors import guessing, harvesting, relaying, sending
from gatepost.audit.detectors.model import DAY, Finding, Seen
from gatepost.audit.detectors.observe import OBSERVED, seen_in
from gatepost.audit.detectors.window import Scope, Window
from gatepost.audit.event import Event
from gatepost.audit.lines import Line, begins
from gatepost.audit.settings import DetectorMode, DetectorSettings
from gatepost.mail.network import NetworkSet

WANTED: Final = (*OBSERVED, *begins("alert"))
"""With what the lines begin that the detectors want."""
PAST_SECONDS: Final = 7 * DAY  # what was ruled so long ago makes a ban longer
QUIET_SECONDS: Final = 3600.0  # the same is not said again before
STALE_SECONDS: Final = 3600.0  # what was over for so long when we began to look is history
LONGEST_BAN: Final = 7 * DAY
MAX_RAISED: Final = 50_000

_Told = tuple[str, str, str]


class Ruling(msgspec.Struct, frozen=True):
    """A finding with what follows from it. mode: "shadow" for an alert alone. ban: seconds, for its networks."""

    finding: Finding
    mode: DetectorMode
    ban: float

    def event(self) -> Event:
        """As the record has it; those who act name its ID."""
        finding = self.finding
        details: dict[str, Any] = {
            "what": f"{finding.detector}: {finding.subject}",
            "problem": finding.reason,
            "detector": finding.detector,
            "pattern": finding.pattern,
            "subject": finding.subject,
        }
        if self.mode == "shadow":
            details["mode"] = "shadow"
        elif self.ban and finding.networks:
            details |= {"ban": list(finding.networks), "ban_seconds": round(self.ban)}
        if finding.accounts and self.mode == "enforce":
            details["hold"] = list(finding.accounts)
        return Event("alert", details={**details, "events": list(finding.events)})


class Detectors:
    """trusted: peers that bring the deeds of others, and are no suspects. window_seconds: how much of the past they
    want to have read."""

    def __init__(self, settings: DetectorSettings, trusted: NetworkSet) -> None:
        self._settings = settings
        self._trusted = trusted
        self.window_seconds = max(
            settings.guessing.window, settings.harvesting.window, settings.relaying.window, settings.sending.history,
            PAST_SECONDS,
        )  # fmt: skip
        self._window = Window(self.window_seconds)
        self._raised: dict[_Told, list[float]] = {}
        self._first = self._last = 0.0

    def anew(self) -> Detectors:
        """Others with the same settings, that have seen nothing."""
        return Detectors(self._settings, self._trusted)

    @property
    def is_on(self) -> bool:
        """Whether any of them looks."""
        settings = self._settings
        return any(each.mode != "off" for each in (settings.guessing, settings.harvesting, settings.relaying,
                                                   settings.sending))  # fmt: skip

    def take(self, lines: Iterable[Line]) -> None:
        """Count them in."""
        for line in lines:
            self._last = max(self._last, line.at)
            self._first = min(self._first or line.at, line.at)
            if line.kind == "alert":
                self._remember(line)
                continue
            for seen in seen_in(line):
                self._window.add(seen)

    def rulings(self) -> Iterator[Ruling]:
        """What was found among those of whom something new was seen."""
        for (scope, subject), seen in self._window.touched():
            if scope == "network" and subject.partition("/")[0] in self._trusted:
                continue
            for mode, ban, finding in self._findings(scope, subject, seen):
                if finding is None or mode == "off" or finding.last < self._last - STALE_SECONDS:
                    continue
                told = (finding.detector, finding.pattern, finding.subject)
                times = self._raised.get(told, [])
                if times and times[-1] > finding.last - QUIET_SECONDS:
                    continue
                self._note(told, finding.last)
                yield Ruling(finding, mode, min(ban * 2 ** min(len(times), 16), LONGEST_BAN))

    def _findings(
        self, scope: Scope, subject: str, seen: Sequence[Seen]
    ) -> Iterator[tuple[DetectorMode, float, Finding | None]]:
        settings = self._settings
        if scope == "account":
            guesses, rises = settings.guessing, settings.sending
            new = self._since(guessing.NAME, subject, seen)
            yield guesses.mode, guesses.ban, guessing.at_account(subject, new, guesses)
            yield guesses.mode, guesses.ban, guessing.got_in_at(subject, seen, guesses)
            # On the first day nobody's home is known.
            if self._last - self._first > DAY and not self._was_raised(sending.NAME, subject, DAY):
                yield rises.mode, 0.0, sending.sudden_rise(subject, seen, rises)
            return
        since = self._since
        guesses, harvests, relays = settings.guessing, settings.harvesting, settings.relaying
        yield guesses.mode, guesses.ban, guessing.by_address(subject, since(guessing.NAME, subject, seen), guesses)
        yield guesses.mode, guesses.ban, guessing.got_in_from(subject, seen, guesses)
        yield (
            harvests.mode,
            harvests.ban,
            harvesting.by_address(subject, since(harvesting.NAME, subject, seen), harvests),
        )
        yield relays.mode, relays.ban, relaying.by_address(subject, since(relaying.NAME, subject, seen), relays)

    def _since(self, detector: str, subject: str, seen: Sequence[Seen]) -> Sequence[Seen]:
        """What was seen after this subject was last found; logins whole, as they tell who is at home."""
        after = max((times[-1] for told, times in self._told_of(detector, subject)), default=0.0)
        if not after:
            return seen
        return [each for each in seen if each.until > after or each.deed in ("login", "known")]

    def _was_raised(self, detector: str, subject: str, seconds: float) -> bool:
        return any(times[-1] > self._last - seconds for _, times in self._told_of(detector, subject))

    def _told_of(self, detector: str, subject: str) -> list[tuple[_Told, list[float]]]:
        return [(told, self._raised[told]) for told in _tellings(detector, subject) if told in self._raised]

    def _remember(self, line: Line) -> None:
        """An alert of ours, of this process or one before it."""
        told = line.told()
        key = (told.get("detector"), told.get("pattern"), told.get("subject"))
        if all(isinstance(part, str) and part for part in key):
            self._note(key, line.at)  # type: ignore[arg-type]  # three texts

    def _note(self, told: _Told, at: float) -> None:
        times = self._raised.pop(told, [])
        # Our own alert comes back to us from the record, a moment after we have noted it.
        if not times or at > times[-1] + QUIET_SECONDS:
            times = [each for each in times if each > at - PAST_SECONDS] + [at]
        else:
            times[-1] = max(times[-1], at)
        self._raised[told] = times
        if len(self._raised) > MAX_RAISED:
            del self._raised[next(iter(self._raised))]


PATTERNS: Final = {
    guessing.NAME: (
        "one address, many accounts",
        "one address, one account",
        "many addresses, one account",
        guessing.GUESSED,
    ),
    harvesting.NAME: ("unknown recipients",),
    relaying.NAME: ("foreign recipients",),
    sending.NAME: ("many addresses", "sudden rise"),
}
"""How each detector notices something, as the alerts say."""


def _tellings(detector: str, subject: str) -> Iterator[_Told]:
    return ((detector, pattern, subject) for pattern in PATTERNS[detector])
