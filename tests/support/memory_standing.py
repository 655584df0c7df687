"""`standing` in memory, for tests of what stands above it; passes the same suite as the real engines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gatepost.standing.port import (
    Charge,
    Enter,
    Fact,
    Leave,
    Level,
    Note,
    Noted,
    Operation,
    Peek,
    Rate,
    Refund,
    Result,
    StandingError,
    Table,
)


class MemoryStanding:
    """One process, nothing outlives it. `fail` makes each call raise StandingError."""

    def __init__(self) -> None:
        self.fail = False
        self._arrivals: dict[str, tuple[float, float]] = {}  # units, counted at
        self._at_once: dict[str, int] = {}
        self._notes: dict[str, tuple[bytes, float]] = {}
        self._facts: dict[tuple[Table, str], tuple[bytes, float]] = {}

    def tally(self, operations: Sequence[Operation], now: float) -> list[Result]:
        self._check()
        before = dict(self._arrivals), dict(self._at_once), dict(self._notes)
        joint = [operation for operation in operations if isinstance(operation, Charge) and operation.together]
        if not all(self._level(one.key, one.rate, one.cost, now).allowed for one in joint):
            operations = [
                Peek(one.key, one.rate, one.cost) if isinstance(one, Charge) and one.together else one
                for one in operations
            ]
        try:
            return [self._apply(operation, now) for operation in operations]
        except BaseException:
            self._arrivals, self._at_once, self._notes = before
            raise

    def recall(self, table: Table, key: str, now: float) -> bytes | None:
        self._check()
        value, until = self._facts.get((table, key), (b"", -math.inf))
        return value if until > now else None

    def recall_all(self, table: Table, now: float) -> list[Fact]:
        self._check()
        return [
            Fact(key, value, until)
            for (where, key), (value, until) in sorted(self._facts.items())
            if where == table and until > now
        ]

    async def remember(self, table: Table, key: str, value: bytes, until: float) -> None:
        self._check()
        self._facts[table, key] = (value, until)

    async def replace(
        self, table: Table, key: str, before: bytes | None, value: bytes, until: float, now: float
    ) -> bool:
        if self.recall(table, key, now) != before:
            return False
        self._facts[table, key] = (value, until)
        return True

    async def forget(self, table: Table, key: str) -> bool:
        self._check()
        return self._facts.pop((table, key), None) is not None

    def _check(self) -> None:
        if self.fail:
            raise StandingError("the memory of this test cannot be had")

    def _apply(self, operation: Operation, now: float) -> Result:
        match operation:
            case Charge(key, rate, cost):
                level = self._level(key, rate, cost, now)
                if not level.allowed:
                    return level
                used = min(level.used + cost, float(rate.units))
                self._arrivals[key] = (used, now)
                return Level(True, used, 0.0)
            case Refund(key, rate, cost):
                used = max(self._level(key, rate, 0, now).used - cost, 0.0)
                self._arrivals[key] = (used, now)
                return Level(True, used, 0.0)
            case Peek(key, rate, cost):
                return self._level(key, rate, cost, now)
            case Enter(key) | Leave(key):
                step: Callable[[int], int] = (lambda n: n + 1) if isinstance(operation, Enter) else (lambda n: n - 1)
                self._at_once[key] = max(step(self._at_once.get(key, 0)), 0)
                return self._at_once[key]
            case Note(key, value, until):
                self._notes[key] = (value, until)
                return None
            case Noted(key):
                value, until = self._notes.get(key, (b"", -math.inf))
                return value if until > now else None

    def _level(self, key: str, rate: Rate, cost: int, now: float) -> Level:
        if cost < 0:
            raise ValueError("a negative cost")
        used, since = self._arrivals.get(key, (0.0, now))
        if rate.units > 0:
            used = min(max(0.0, used - max(0.0, now - since) * rate.units / rate.period), float(rate.units))
        if used + cost <= rate.units + 1e-6:
            return Level(True, used, 0.0)
        fits = cost <= rate.units
        return Level(False, used, (used + cost - rate.units) * rate.period / rate.units if fits else math.inf)
