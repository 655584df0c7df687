"""One operation of a tally inside a transaction: rates, counts at once, notes. No environment, no retry.

A rate is a bucket that drains steadily (GCRA, told in units instead of arrival times: whole costs then add up exactly,
and a changed rate keeps what was counted).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

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


class Count:
    """One count at once while a tally changes it: read once, and written once if it has changed in the end. Whoever
    leaves and whoever arrives at the same key then costs no write at all.

    before: the share of this process as it was read; theirs: of all others. Ours never falls below none.
    """

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


Addressed = list[tuple[Any, bytes]]
"""Operations, each with the key that it is about."""


def addressed(operations: Sequence[Operation]) -> Addressed:
    """What `apply_all` takes: made before the transaction begins, as the other workers wait for its end."""
    return [(operation, octets_of(_PREFIX[type(operation)], operation.key)) for operation in operations]


def apply_all(txn: Transaction, operations: Addressed, now: float, slot: int) -> list[Result]:
    """The results of operations, in order; of the charges that go together all count or none. slot: this process's, for
    counts at once.

    Every connection goes through here: counts and charges are carried out in place, not by a call for each.
    """
    joint = _together(txn, operations, now)
    counts: dict[bytes, Count] = {}
    results: list[Result] = []
    for operation, key in operations:
        kind = type(operation)
        if kind is Enter or kind is Leave:
            count = counts.get(key)
            if count is None:
                count = counts[key] = Count(txn.get(key), slot)
            if kind is Enter:
                count.ours += 1
            elif count.ours:
                count.ours -= 1
            results.append(count.ours + count.theirs)
        elif kind is Charge:
            rate, cost = operation.rate, operation.cost
            if joint is not None and operation.together:
                level = next(joint.levels) if joint.are_current else _level(txn, key, rate, cost, now)
                is_counted = joint.all_fit and level.allowed
            else:
                level = _level(txn, key, rate, cost, now)
                is_counted = level.allowed
            if is_counted and cost:
                level = Level(True, min(level.used + cost, rate.units), 0.0)
                _fill(txn, key, rate, level.used, now)
            results.append(level)
        else:
            results.append(_APPLY[kind](txn, operation, key, now))
    for key, count in counts.items():
        if count.ours != count.before:
            if packed := count.packed(slot):
                txn.put(key, packed)
            else:
                txn.delete(key)
    return results


class Joint(msgspec.Struct):
    """The charges that go together. all_fit: each has room. levels: in their order, before any is counted; current
    where no other operation of the tally can change what was read."""

    all_fit: bool
    are_current: bool
    levels: Iterator[Level]


def _together(txn: Transaction, operations: Addressed, now: float) -> Joint | None:
    """None where fewer than two charges go together."""
    rated = [(operation, key) for operation, key in operations if type(operation) in _RATED]
    joint = [(charge, key) for charge, key in rated if type(charge) is Charge and charge.together]
    if len(joint) < 2:
        return None
    levels = [_level(txn, key, charge.rate, charge.cost, now) for charge, key in joint]
    return Joint(
        not [level for level in levels if not level.allowed], len({key for _, key in rated}) == len(rated), iter(levels)
    )


def _refund(txn: Transaction, operation: Refund, key: bytes, now: float) -> Level:
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


def _peek(txn: Transaction, operation: Peek, key: bytes, now: float) -> Level:
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


def _note(txn: Transaction, operation: Note, key: bytes, _now: float) -> None:
    txn.put(key, END.pack(operation.until) + operation.value)


def _noted(txn: Transaction, _operation: Noted, key: bytes, now: float) -> bytes | None:
    packed = txn.get(key)
    if packed is None or END.unpack_from(packed)[0] <= now:
        return None
    return packed[END.size :]


_RATED: Final = frozenset({Charge, Refund, Peek})
_PREFIX: Final[dict[type[Operation], bytes]] = {
    Charge: RATE,
    Refund: RATE,
    Peek: RATE,
    Enter: AT_ONCE,
    Leave: AT_ONCE,
    Note: NOTE,
    Noted: NOTE,
}
_APPLY: Final[dict[type[Operation], Callable[[Transaction, Any, bytes, float], Result]]] = {
    Refund: _refund,
    Peek: _peek,
    Note: _note,
    Noted: _noted,
}
"""Those that `apply_all` does not carry out itself."""
