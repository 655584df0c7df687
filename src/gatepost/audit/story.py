"""The story of a message or a session: every event that belongs to it, from connect to the last delivery.

Events name each other: a message its session, an attempt and a change by hand its message, a notice or the expansion of
a list the message that it was made of. Not here: how it is shown (`timeline`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from gatepost.audit.criteria import unix_of
from gatepost.audit.files import days, files_of
from gatepost.audit.scan import decode, lines_with_any
from gatepost.audit.search import Found
from gatepost.mail.ids import id_time, is_id

MAX_IDS: Final = 5000  # that one story follows; a list that expands into lists makes many
# Made by ourselves, so an ID in their details is one; elsewhere a peer may have written what looks like one.
_OURS: Final = frozenset({"delivery.attempt", "admin", "alert", "ban", "grant", "server"})
_BESIDE: Final = frozenset({"auth", "grant"})  # events of a session that belong to each message of it


def story(folder: Path, event_id: str) -> list[Found]:
    """Every event that belongs to `event_id`, in the order in which they began; empty if there is none.

    Of a message: its session with its logins, the attempts, what was done by hand, and all of that for what was made
    of it (notices, expansions of lists); of a notice or an expansion also what it was made of. Of a session: its
    messages. Of an attempt or a login: that of its message or session. folder: `data/audit`.

    Raises ValueError for what is no ID, CannotRead for a file that cannot be read.
    """
    event_id = event_id.strip("() ").upper()
    if not is_id(event_id):
        raise ValueError(f"{event_id!r} is not an ID: 26 letters and digits, as in the last brackets of a reply")
    told = _Told(folder, event_id)
    told.gather()
    attempt = told.events_of(event_id, "delivery.attempt")
    if attempt and is_id(str(attempt[0].get("message", ""))):
        return story(folder, str(attempt[0]["message"]))
    return sorted(told.found.values(), key=began)


def began(event: Found) -> tuple[float, float]:
    """The sort key: when what an event tells began, then when it was over. Seconds since 1970."""
    end = unix_of(event.get("time"))
    took = event.get("took_ms")
    return end - (took if isinstance(took, int | float) else 0) / 1000, end


class _Told:
    """What was found so far, and whom to ask for next: one pass over the files answers all questions known by then."""

    def __init__(self, folder: Path, event_id: str) -> None:
        self.found: dict[str, Found] = {}  # by chain: no two lines share it
        self._folder = folder
        self._first_day = _day_before(event_id)
        self._whole = {event_id}  # whatever names it belongs to the story
        self._heads: set[str] = set()  # sessions and originals: themselves, and the logins of a session
        self._asked: set[str] = set()

    def events_of(self, event_id: str, kind: str) -> list[Found]:
        return [event for event in self.found.values() if (event.get("id"), event.get("kind")) == (event_id, kind)]

    def gather(self) -> None:
        while wanted := (self._whole | self._heads) - self._asked:
            if len(self._asked) + len(wanted) > MAX_IDS:
                return
            self._asked |= wanted
            for event in self._naming(wanted):
                if self._belongs(event, wanted):
                    self._add(event)

    def _naming(self, wanted: set[str]) -> Iterator[Found]:
        needles = [f'"{event_id}"'.encode() for event_id in wanted]
        for day in days(self._folder):
            if day < self._first_day:
                continue
            for file in files_of(self._folder, day):
                for line in lines_with_any(file, needles):
                    event = decode(line)
                    if event is not None:
                        yield event

    def _belongs(self, event: Found, wanted: set[str]) -> bool:
        if names_of(event) & wanted & self._whole:
            return True
        heads = self._heads & wanted
        return event.get("id") in heads or (event.get("session") in heads and event.get("kind") in _BESIDE)

    def _add(self, event: Found) -> None:
        self.found.setdefault(str(event.get("chain", id(event))), event)
        own, session, message = (str(event.get(name, "")) for name in ("id", "session", "message"))
        is_message = event.get("kind") == "smtp.message"
        if is_message and message in self._whole and is_id(own):
            self._whole.add(own)  # made of a message that is told
        elif is_message and is_id(message) and own in self._whole | self._heads:
            self._head_first(message)  # what this one was made of
        if own in self._whole | self._heads and is_id(session):
            self._heads.add(session)

    def _head_first(self, event_id: str) -> None:
        """A message is a day older than its notice, or five."""
        self._heads.add(event_id)
        self._first_day = min(self._first_day, _day_before(event_id))


def names_of(event: Found) -> set[str]:
    """The IDs that an event is, belongs to or is about."""
    names = {str(event[name]) for name in ("id", "session", "message") if name in event}
    if event.get("kind") in _OURS:
        details = event.get("details")
        for value in details.values() if isinstance(details, dict) else ():
            names.update(each for each in _values(value) if is_id(each))
    return names


def _day_before(event_id: str) -> str:
    """The first day in whose files the ID can stand; "" (all of them) for an ID from no time that there is."""
    try:
        return (id_time(event_id) - timedelta(days=1)).date().isoformat()
    except (ValueError, OverflowError):
        return ""


def _values(value: Any) -> list[str]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
