"""One operation of a tally inside a transaction: rates, counts at once, notes. No environment, no retry.

A rate is a bucket that drains steadily (GCRA, told in units instead of arrival times: whole costs then add up exactly,
and a changed rate keeps what was counted).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from gatepost.standing.port import (
    Charge,
    Enter,
    Leave,
    Level,
    Note,
    Noted,
    Operation,
    Peek,
    Rate,
    Refund,
    Result,
)
from gatepost.store.lmdb.layout import AT_ONCE, BUCKET, END, NOTE, RATE, SHARE, octets_of, pack_shares, shares
from gatepost.store.lmdb.room import Transaction

# Draining is division: what is short by less than this is there.
TOLERANCE_UNITS: Final = 1e-6

READS_ONLY: Final = frozenset({Peek, Noted})


class AtOnce:
    """Counts at once while one tally changes them: each is read once, and written once if it has changed in the end.
    Whoever leaves and whoever arrives at the same keys then costs no write at all."""

    __slots__ = ("_counts", "_slot", "_txn")

    def __init__(self, txn: Transaction, slot: int) -> None:
        self._txn = txn
        self._slot = slot
        self._counts: dict[bytes, _Count] = {}

    def change(self, key: bytes, by: int) -> int:
        """The count of all processes after ours has changed; ours never falls below none."""
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count(self._txn.get(key), self._slot)
        count.ours = max(count.ours + by, 0)
        return count.ours + count.theirs

    def write(self) -> None:
        """What has changed is written."""
        for key, count in self._counts.items():
            if count.ours == count.before:
                continue
            if packed := count.packed(self._slot):
                self._txn.put(key, packed)
            else:
                self._txn.delete(key)


class _Count:
    """One count at once: before, the share of this process as it was read; theirs, of all others."""

    __slots__ = ("before", "others", "ours", "theirs")

    def __init__(self, packed: bytes | None, slot: int) -> None:
        self.others: dict[int, int] | None = None
        self.before = self.ours = self.theirs = 0
        if packed is None:
            return
        if len(packed) == SHARE.size:  # of one process, mostly this one
            holder, count = SHARE.unpack(packed)
            if holder == slot:
                self.before = self.ours = count
                return
        self.others = dict(shares(packed))
        self.before = self.ours = self.others.pop(slot, 0)
        self.theirs = sum(self.others.values())

    def packed(self, slot: int) -> bytes:
        """As it is kept, empty where nobody holds anything."""
        if self.others is None:
            return SHARE.pack(slot, self.ours) if self.ours else b""
        return pack_shares({**self.others, slot: self.ours})


Addressed = list[tuple["Apply", Any, bytes]]
"""Operations with what carries each of them out, and the key it is about."""


def addressed(operations: Sequence[Operation]) -> Addressed:
    """What `apply_all` takes: made before the transaction begins, as the other workers wait for its end."""
    found: Addressed = []
    for operation in operations:
        apply, prefix = _APPLY[type(operation)]
        found.append((apply, operation, octets_of(prefix, operation.key)))
    return found


def apply_all(txn: Transaction, operations: Addressed, now: float, slot: int) -> list[Result]:
    """The results of operations, in order; of the charges that go together all count or none. slot: this process's, for
    counts at once."""
    at_once = AtOnce(txn, slot)
    joint = [(charge, key) for apply, charge, key in operations if apply is _charge and charge.together]
    if len(joint) < 2:
        results = [apply(txn, operation, key, now, at_once) for apply, operation, key in operations]
    else:
        results = _together(txn, operations, joint, now, at_once)
    at_once.write()
    return results


def _together(
    txn: Transaction, operations: Addressed, joint: list[tuple[Charge, bytes]], now: float, at_once: AtOnce
) -> list[Result]:
    levels = [_level(txn, key, charge.rate, charge.cost, now) for charge, key in joint]
    all_fit = all(level.allowed for level in levels)
    # What is read twice is read once, where nothing can have changed it in between.
    rated = [key for apply, _, key in operations if apply in _RATED]
    known = iter(levels) if len(set(rated)) == len(rated) else None
    results: list[Result] = []
    for apply, operation, key in operations:
        if apply is not _charge or not operation.together:
            results.append(apply(txn, operation, key, now, at_once))
            continue
        level = _level(txn, key, operation.rate, operation.cost, now) if known is None else next(known)
        results.append(_counted(txn, operation, key, level, now) if all_fit else level)
    return results


def _charge(txn: Transaction, operation: Charge, key: bytes, now: float, _: AtOnce) -> Level:
    return _counted(txn, operation, key, _level(txn, key, operation.rate, operation.cost, now), now)


def _counted(txn: Transaction, operation: Charge, key: bytes, level: Level, now: float) -> Level:
    """The charge is counted where `level` has room for it."""
    if level.allowed and operation.cost:
        used = min(level.used + operation.cost, operation.rate.units)
        _fill(txn, key, operation.rate, used, now)
        return Level(True, used, 0.0)
    return level


def _refund(txn: Transaction, operation: Refund, key: bytes, now: float, _: AtOnce) -> Level:
    if operation.cost < 0:
        raise ValueError(f"a refund of {operation.cost}: a `Charge` counts")
    before = _level(txn, key, operation.rate, 0, now).used
    used = max(before - operation.cost, 0.0)
    if used != before:
        _fill(txn, key, operation.rate, used, now)
    return Level(True, used, 0.0)


def _fill(txn: Transaction, key: bytes, rate: Rate, used: float, now: float) -> None:
    """The bucket holds `used` units from now on; used > 0 only where the rate has units."""
    end = now + used * rate.period / rate.units if used else now
    txn.put(key, BUCKET.pack(end, used, now))


def _peek(txn: Transaction, operation: Peek, key: bytes, now: float, _: AtOnce) -> Level:
    return _level(txn, key, operation.rate, operation.cost, now)


def _level(txn: Transaction, key: bytes, rate: Rate, cost: int, now: float) -> Level:
    """How the bucket stands, and whether `cost` more would fit; nothing is written."""
    if cost < 0:
        raise ValueError(f"a cost of {cost}: a `Refund` gives units back")
    units, period = rate.units, rate.period
    packed = txn.get(key)
    used = 0.0
    if packed is not None and units > 0 and period > 0:
        _, used, counted_at = BUCKET.unpack(packed)
        # A clock that was set back drains nothing, and takes nothing away either.
        used = min(max(used - max(now - counted_at, 0.0) * units / period, 0.0), float(units))
    if used + cost <= units + TOLERANCE_UNITS:
        return Level(True, used, 0.0)
    wait = (used + cost - units) * period / units if cost <= units else math.inf
    return Level(False, used, wait)


def _enter(_txn: Transaction, _operation: Enter, key: bytes, _now: float, at_once: AtOnce) -> int:
    return at_once.change(key, +1)


def _leave(_txn: Transaction, _operation: Leave, key: bytes, _now: float, at_once: AtOnce) -> int:
    return at_once.change(key, -1)


def _note(txn: Transaction, operation: Note, key: bytes, _now: float, _: AtOnce) -> None:
    txn.put(key, END.pack(operation.until) + operation.value)


def _noted(txn: Transaction, _operation: Noted, key: bytes, now: float, _: AtOnce) -> bytes | None:
    packed = txn.get(key)
    if packed is None or END.unpack_from(packed)[0] <= now:
        return None
    return packed[END.size :]


Apply = Callable[[Transaction, Any, bytes, float, AtOnce], Result]

_RATED: Final[frozenset[Apply]] = frozenset({_charge, _refund, _peek})
_APPLY: Final[dict[type[Operation], tuple[Apply, bytes]]] = {
    Charge: (_charge, RATE),
    Refund: (_refund, RATE),
    Peek: (_peek, RATE),
    Enter: (_enter, AT_ONCE),
    Leave: (_leave, AT_ONCE),
    Note: (_note, NOTE),
    Noted: (_noted, NOTE),
}
