"""Limits on what one sender may send: which there are, what a message costs, how much is left, and how that is told.

Each limit is there twice. The allowance is for what is sent. The spare allowance, of the same size, is for what is
not: recipients that were refused, transactions that were left or refused for good, messages that are held. So nobody's
mistakes cost their mail, and nobody tries out addresses or content for free.

Not here: counting (`gate.gather_rates`), and who has which limit (`policy.checks.sender_rate`). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal

import msgspec

from gatepost.mail.reply import Reply
from gatepost.mail.units import OctetQuota, Quota, show_duration, show_size

Unit = Literal["messages", "recipients", "octets", "new_recipients"]
UNITS: Final[tuple[Unit, ...]] = ("messages", "recipients", "octets", "new_recipients")
Subject = Literal["account", "address", "prefix", "domain", "recipient"]
TOLERANCE: Final = 1e-6  # of a unit: counters drain by division


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender may send, each as any number of rates that hold together; () for no limit.

    new_recipients: those to whom this sender has not written before.
    """

    messages: tuple[Quota, ...] = ()
    recipients: tuple[Quota, ...] = ()
    octets: tuple[OctetQuota, ...] = ()
    new_recipients: tuple[Quota, ...] = ()


class OwnAllowance(msgspec.Struct, frozen=True, kw_only=True):
    """The allowance of one account: what it says goes before that of all accounts; None says nothing."""

    messages: tuple[Quota, ...] | None = None
    recipients: tuple[Quota, ...] | None = None
    octets: tuple[OctetQuota, ...] | None = None
    new_recipients: tuple[Quota, ...] | None = None

    def over(self, common: Allowance) -> Allowance:
        """This one where it says something, else `common`."""
        given = {unit: getattr(self, unit) for unit in UNITS if getattr(self, unit) is not None}
        return msgspec.structs.replace(common, **given)


class Limit(msgspec.Struct, frozen=True):
    """One rate of one sender. of: whose, "ada@example.org" or "192.0.2.0/24". The keys are those of the counters."""

    subject: Subject
    of: str
    unit: Unit
    quota: Quota

    @property
    def key(self) -> str:
        return f"sent:{self.subject}:{self.of}:{self.unit}:{self.quota.period:g}"

    @property
    def spare_key(self) -> str:
        return f"spare:{self.subject}:{self.of}:{self.unit}:{self.quota.period:g}"


class LimitLevel(msgspec.Struct, frozen=True):
    """How a limit stands. used, spare_used: units counted now against the allowance and the spare one."""

    limit: Limit
    used: float
    spare_used: float = 0.0

    @property
    def left(self) -> int:
        """Whole units that may still be sent."""
        return max(0, math.floor(self.limit.quota.units - self.used + TOLERANCE))

    def wait(self, wanted: int, *, spare: bool = False) -> float:
        """Seconds until `wanted` units fit; 0 when they do. More than the rate has never fit: infinite."""
        units, period = self.limit.quota.units, self.limit.quota.period
        if wanted > units:
            return math.inf
        return max(0.0, self._excess(wanted, spare)) * period / units

    def wait_for_one_more(self, wanted: int, *, spare: bool = False) -> float:
        """As `wait`, where what is wanted may be sent in several messages: never infinite."""
        return max(0.0, self._excess(wanted, spare)) * self.limit.quota.period / self.limit.quota.units

    def _excess(self, wanted: int, spare: bool) -> float:
        """By how many units `wanted` more would be over."""
        excess = (self.spare_used if spare else self.used) + wanted - self.limit.quota.units
        return excess if excess > TOLERANCE else 0.0


class Cost(msgspec.Struct, frozen=True):
    """What a message, or what is known of it so far, counts. new: recipients never seen before, by subject."""

    messages: int = 1
    recipients: int = 1
    octets: int = 0
    new: Mapping[str, int] = {}

    def of(self, limit: Limit) -> int:
        """Units against `limit`."""
        if limit.unit == "new_recipients":
            return self.new.get(limit.subject, 0)
        units: int = getattr(self, limit.unit)
        return units


class Charged(msgspec.Struct, frozen=True):
    """The counters when a whole message was counted, in one step.

    levels: of the sender's limits, this message included where all of them had room (`fits`; else none counted it).
    spare_fits: it was to be held, and the spare allowance took it. full: the recipients that had all they may get; the
    others counted it.
    """

    levels: tuple[LimitLevel, ...] = ()
    fits: bool = True
    spare_fits: bool = False
    full: tuple[LimitLevel, ...] = ()


class Shortage(msgspec.Struct, frozen=True):
    """A limit that has no room. wait: seconds until it has, infinite for never. spare: it is the spare allowance."""

    level: LimitLevel
    wanted: int
    wait: float
    spare: bool = False


def limits_of(allowance: Allowance, subject: Subject, of: str) -> tuple[Limit, ...]:
    """The limits that `allowance` sets for one sender, in the order of UNITS."""
    return tuple(Limit(subject, of, unit, quota) for unit, quota in _rates(allowance))


@lru_cache(maxsize=1024)
def _rates(allowance: Allowance) -> tuple[tuple[Unit, Quota], ...]:
    """Every rate; of two for the same period (they would share a counter) the lower one."""
    found: dict[tuple[Unit, float], Quota] = {}
    for unit in UNITS:
        for quota in getattr(allowance, unit):
            known = found.get((unit, quota.period))
            if known is None or quota.units < known.units:
                found[unit, quota.period] = quota
    return tuple((unit, quota) for (unit, _), quota in found.items())


def shortage(levels: Iterable[LimitLevel], cost: Cost, *, splits: bool = False) -> Shortage | None:
    """The limit that keeps `cost` out for longest, None where all have room. splits: recipients that are too many for
    one message can go in several; its octets cannot."""
    return _worst(levels, cost, splits=splits, spare=False)


def spare_shortage(levels: Iterable[LimitLevel], cost: Cost) -> Shortage | None:
    """The same of the spare allowance."""
    return _worst(levels, cost, splits=True, spare=True)


def _worst(levels: Iterable[LimitLevel], cost: Cost, *, splits: bool, spare: bool) -> Shortage | None:
    worst: Shortage | None = None
    for level in levels:
        wanted = cost.of(level.limit)
        if wanted <= 0:
            continue
        may_split = splits and level.limit.unit != "octets"
        wait = (level.wait_for_one_more if may_split else level.wait)(wanted, spare=spare)
        if wait > 0 and (worst is None or wait > worst.wait):
            worst = Shortage(level, wanted, wait, spare)
    return worst


# --- in words ------------------------------------------------------------------------------------------------------

_WHOSE: Final[Mapping[Subject, str]] = {
    "account": "your account", "address": "your address", "prefix": "your network", "domain": "your domain",
    "recipient": "all senders",
}  # fmt: skip
_PERIODS: Final = {60.0: "a minute", 3600.0: "an hour", 86400.0: "a day", 604800.0: "a week"}


def refusal(short: Shortage, *, code: int, esc: str) -> Reply:
    """What the sender reads: what is over, how much is allowed, when to try again; 550 5.7.1 where that is never."""
    if math.isinf(short.wait):
        return Reply(550, "5.7.1", f"{_too_much(short)}. Send less at a time")
    return Reply(code, esc, f"{_too_much(short)}. Try again {in_words(short.wait)}")


def reason(short: Shortage) -> str:
    """What the operator reads."""
    level, limit = short.level, short.level.limit
    used = level.spare_used if short.spare else level.used
    what = "spare " if short.spare else ""
    when = "never fits" if math.isinf(short.wait) else f"fits {in_words(short.wait)}"
    return (
        f"{limit.subject} {limit.of}: {shown(limit.unit, math.ceil(used - TOLERANCE))} of {show_quota(limit)} {what}"
        f"{limit.unit.replace('_', ' ')} counted, {shown(limit.unit, short.wanted)} more {when}"
    )


_DECIMAL: Final = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def show_quota(limit: Limit) -> str:
    """As the configuration writes it: "200/1h", "500MB/1d"."""
    return f"{shown(limit.unit, limit.quota.units)}/{show_duration(limit.quota.period)}"


def shown(unit: Unit, number: int) -> str:
    """A number of that unit: "12", "1.5 MiB", and "500 MB" for a limit that was written in powers of ten."""
    if unit != "octets":
        return str(number)
    for name, octets in _DECIMAL:
        if number >= octets and number % octets == 0 and number % 2**20:
            return f"{number // octets} {name}"
    return show_size(number)


def _too_much(short: Shortage) -> str:
    limit = short.level.limit
    allowed = f"{shown(limit.unit, limit.quota.units)} {per(limit.quota.period)}"
    if short.spare:
        return f"Too many refused or unfinished attempts from {_WHOSE[limit.subject]} ({allowed} are allowed)"
    what = {
        "messages": "Too many messages", "recipients": "Too many recipients", "octets": "Too much mail",
        "new_recipients": "Too many recipients that are new to you",
    }[limit.unit]  # fmt: skip
    return f"{what} from {_WHOSE[limit.subject]} ({allowed} {'is' if limit.unit == 'octets' else 'are'} allowed)"


def per(period: float) -> str:
    """ "an hour", "in 15m"."""
    return _PERIODS.get(period) or f"in {show_duration(period)}"


_UNITS_OF_TIME: Final = (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 36), ("day", 86400, math.inf))


def in_words(seconds: float) -> str:
    """ "in 45 seconds", "in 12 minutes", "in 3 hours", "in 2 days": rounded up, so that it is not too early."""
    for unit, length, most in _UNITS_OF_TIME:
        number = _whole(seconds / length)
        if number < most:
            return f"in {number} {unit}{'s' if number != 1 else ''}"
    return "never"


def _whole(number: float) -> int:
    return max(1, math.ceil(number - TOLERANCE)) if number < 1e12 else 10**12
