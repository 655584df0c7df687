"""The window that detectors look through: what was seen of each network and each account, merged and bounded.

It is made of the record, and can be made of it again at any time. Whoever is seen least lately is forgotten first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from gatepost.audit.detectors.model import LOCAL, Deed, Seen

Scope = Literal["network", "account"]
Subject = tuple[Scope, str]

SLOTS: Final[Mapping[Deed, float]] = {
    "failure": 3600.0, "unknown": 86400.0, "relay": 86400.0, "known": 3600.0, "sent": 600.0, "login": float("inf"),
}  # fmt: skip
"""What one party does alike in so many seconds is one item."""
MAX_ITEMS: Final = 3000  # of one party; long before that it has been found, if there is anything to be found
MAX_ALL_ITEMS: Final = 100_000  # of all together: 70 MB at worst

_Items = dict[tuple[object, ...], Seen]


class Window:
    """What was seen in the last `seconds`, by network and by account."""

    def __init__(self, seconds: float, max_items: int = MAX_ITEMS, max_all: int = MAX_ALL_ITEMS) -> None:
        self._seconds = seconds
        self._max_items = max_items
        self._max_all = max_all
        self._items: dict[Subject, _Items] = {}
        self._count = 0
        self._touched: dict[Subject, None] = {}
        self._failed: set[Subject] = set()

    def add(self, seen: Seen) -> None:
        """Count it in."""
        if seen.network != LOCAL and seen.deed != "sent":
            self._put(("network", seen.network), seen)
        if "@" in seen.account and seen.deed in ("failure", "login", "sent"):
            self._put(("account", seen.account), seen)

    def touched(self) -> Iterator[tuple[Subject, list[Seen]]]:
        """Those of whom something was seen since this was last asked for, with all that is known of each."""
        touched, self._touched = self._touched, {}
        for subject in touched:
            if subject in self._items:
                yield subject, list(self._items[subject].values())

    def _put(self, subject: Subject, seen: Seen) -> None:
        items = self._items.pop(subject, None)
        if items is None:
            items = {}
        self._items[subject] = items  # the last to be forgotten
        key = (seen.deed, seen.network, seen.account, seen.whom, seen.sender, seen.at // SLOTS[seen.deed])
        before = items.get(key)
        if before is not None:
            items[key] = _together(before, seen)
        else:
            items[key] = seen
            self._count += 1
            if len(items) > self._max_items:
                self._forget(items, seen.at)
            while self._count > self._max_all and len(self._items) > 1:
                self._drop(next(iter(self._items)))
        if seen.deed == "failure":
            self._failed.add(subject)
        if seen.deed != "known" and (seen.deed != "login" or subject in self._failed):
            self._touched[subject] = None  # what honest peers do all day finds nobody

    def _forget(self, items: _Items, now: float) -> None:
        """What is too old, or, when nothing is, the older half."""
        old = [key for key, each in items.items() if each.until < now - self._seconds]
        if not old:
            ordered = sorted(items, key=lambda key: items[key].until)
            old = ordered[: len(ordered) // 2]
        for key in old:
            del items[key]
        self._count -= len(old)

    def _drop(self, subject: Subject) -> None:
        self._count -= len(self._items.pop(subject))
        self._touched.pop(subject, None)
        self._failed.discard(subject)


def _together(one: Seen, other: Seen) -> Seen:
    first, second = (one, other) if one.at <= other.at else (other, one)
    return msgspec.structs.replace(
        first,
        count=one.count + other.count,
        recipients=one.recipients + other.recipients,
        last=max(one.until, second.until),
    )
