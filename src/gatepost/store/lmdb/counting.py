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
_RATED: Final = frozenset({Charge, Refund, Peek})


def apply_all(txn: Transaction, operations: Sequence[Operation], now: float, slot: int) -> list[Result]:
    """The results of operations, in order; of the charges that go together all count or none. slot: this process's, for
    counts at once."""
    joint = [operation for operation in operations if type(operation) is Charge and operation.together]
    if len(joint) < 2:
        return [_APPLY[type(operation)](txn, operation, now, slot) for operation in operations]
    levels = [_level_of(txn, charge, now) for charge in joint]
    all_fit = all(level.allowed for level in levels)
    # What is read twice is read once, where nothing can have changed it in between.
    rated = [operation.key for operation in operations if type(operation) in _RATED]
    known = iter(levels) if len(set(rated)) == len(rated) else None
    results: list[Result] = []
    for operation in operations:
        if type(operation) is not Charge or not operation.together:
            results.append(_APPLY[type(operation)](txn, operation, now, slot))
            continue
        level = _level_of(txn, operation, now) if known is None else next(known)
        results.append(_counted(txn, operation, level, now) if all_fit else level)
    return results


def _level_of(txn: Transaction, charge: Charge, now: float) -> Level:
    return _level(txn, octets_of(RATE, charge.key), charge.rate, charge.cost, now)


def _charge(txn: Transaction, operation: Charge, now: float, _: int) -> Level:
    return _counted(txn, operation, _level_of(txn, operation, now), now)


def _counted(txn: Transaction, operation: Charge, level: Level, now: float) -> Level:
    """The charge is counted where `level` has room for it."""
    if level.allowed and operation.cost:
        key = octets_of(RATE, operation.key)
        used = min(level.used + operation.cost, operation.rate.units)
        _fill(txn, key, operation.rate, used, now)
        return Level(True, used, 0.0)
    return level


def _refund(txn: Transaction, operation: Refund, now: float, _: int) -> Level:
    if operation.cost < 0:
        raise ValueError(f"a refund of {operation.cost}: a `Charge` counts")
    key = octets_of(RATE, operation.key)
    before = _level(txn, key, operation.rate, 0, now).used
    used = max(before - operation.cost, 0.0)
    if used != before:
        _fill(txn, key, operation.rate, used, now)
    return Level(True, used, 0.0)


def _fill(txn: Transaction, key: bytes, rate: Rate, used: float, now: float) -> None:
    """The bucket holds `used` units from now on; used > 0 only where the rate has units."""
    end = now + used * rate.period / rate.units if used else now
    txn.put(key, BUCKET.pack(end, used, now))


def _peek(txn: Transaction, operation: Peek, now: float, _: int) -> Level:
    return _level(txn, octets_of(RATE, operation.key), operation.rate, operation.cost, now)


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


def _enter(txn: Transaction, operation: Enter, _: float, slot: int) -> int:
    return _change(txn, operation.key, slot, +1)


def _leave(txn: Transaction, operation: Leave, _: float, slot: int) -> int:
    return _change(txn, operation.key, slot, -1)


def _change(txn: Transaction, name: str, slot: int, by: int) -> int:
    """The count of all processes after ours has changed; ours never falls below none."""
    key = octets_of(AT_ONCE, name)
    packed = txn.get(key)
    if packed is not None and len(packed) == SHARE.size:  # of one process, mostly this one
        holder, count = SHARE.unpack(packed)
        if holder == slot and count + by > 0:
            txn.put(key, SHARE.pack(slot, count + by))
            return int(count) + by
    counts = dict(shares(packed)) if packed else {}
    counts[slot] = max(counts.get(slot, 0) + by, 0)
    total = sum(counts.values())
    if total:
        txn.put(key, pack_shares(counts))
    elif packed is not None:
        txn.delete(key)
    return total


def _note(txn: Transaction, operation: Note, now: float, _: int) -> None:
    txn.put(octets_of(NOTE, operation.key), END.pack(operation.until) + operation.value)


def _noted(txn: Transaction, operation: Noted, now: float, _: int) -> bytes | None:
    packed = txn.get(octets_of(NOTE, operation.key))
    if packed is None or END.unpack_from(packed)[0] <= now:
        return None
    return packed[END.size :]


_APPLY: Final[dict[type[Operation], Callable[[Transaction, Any, float, int], Result]]] = {
    Charge: _charge,
    Refund: _refund,
    Peek: _peek,
    Enter: _enter,
    Leave: _leave,
    Note: _note,
    Noted: _noted,
}
