"""Answers that are still valid, in bounded memory. Knows time only as a number; asks nobody."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from gatepost.ports.resolver import Answer, Outcome

MIN_SECONDS: Final = 1  # TTL 0 means "for this transaction" (RFC 1035 §3.2.1), and ours asks more than once
MAX_SECONDS: Final = 86400  # RFC 8767 §4 lets a TTL be capped; a day hides no change for long
FAILURE_SECONDS: Final = 5  # RFC 9520 §3.2: 1 to 300; spares a server in trouble, heals quickly
MAX_OCTETS: Final = 16 * 1024 * 1024
ENTRY_OCTETS: Final = 400  # about what an entry costs beside its texts

Key = tuple[str, str]  # name in lower case, type in upper case


class DnsCache:
    """Answers by name and type, the least recently used given up first.

    Invariant: the texts held, and a flat cost for each entry, are at most `max_octets` in all.
    """

    __slots__ = ("_entries", "_max_octets", "_octets")

    def __init__(self, max_octets: int = MAX_OCTETS) -> None:
        self._entries: OrderedDict[Key, tuple[float, int, Answer]] = OrderedDict()
        self._max_octets = max_octets
        self._octets = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> Answer | None:
        """The answer with the TTL that is left of it, or None. now: monotonic seconds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        end, _, answer = entry
        if end <= now:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return msgspec.structs.replace(answer, ttl=int(end - now))

    def put(self, key: Key, answer: Answer, now: float) -> None:
        """Keep `answer` for its TTL, between MIN_SECONDS and MAX_SECONDS; a failure for FAILURE_SECONDS."""
        self._drop(key)
        seconds = min(max(answer.ttl, MIN_SECONDS), MAX_SECONDS)
        if answer.outcome is Outcome.FAILED:
            seconds = FAILURE_SECONDS
        cost = ENTRY_OCTETS + len(key[0]) + len(answer.name) + len(answer.error) + sum(map(len, answer.records))
        if cost > self._max_octets:
            return
        self._entries[key] = (now + seconds, cost, answer)
        self._octets += cost
        while self._octets > self._max_octets:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._octets = 0

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._octets -= entry[1]
