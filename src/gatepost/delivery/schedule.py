"""When a deferred message is tried again, when its sender hears of the delay, and when it is given up.

Not here: how long a whole destination is left alone (`delivery.lanes`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

# 16 doublings: at 36 a timedelta overflows, and entries that a person retried by hand get there.
_MAX_DOUBLINGS = 16


class Schedule(msgspec.Struct, frozen=True):
    """The times of one message's life in the spool. delay_notice: age from which a deferral is told to the sender."""

    lifetime: timedelta = timedelta(days=5)
    first: timedelta = timedelta(minutes=5)
    longest: timedelta = timedelta(hours=4)
    delay_notice: timedelta = timedelta(hours=4)


def next_attempt(now: datetime, queued_at: datetime, failures: int, schedule: Schedule) -> datetime | None:
    """When to try a deferred message again, or None once its lifetime is over.

    The wait after `now` doubles with each failure, from `schedule.first` up to `schedule.longest`; the last one is
    cut so that an attempt falls exactly on the end of the lifetime.

    now, queued_at: aware datetimes, UTC. failures: attempts that failed so far, 1 or more.
    Raises ValueError for failures < 1: a message never tried is due at once.
    RFC 5321 §4.5.4.1: 30 minutes or more between attempts, 4-5 days before giving up. We begin with shorter waits,
    since a first refusal is most often a greylist; a host that does not answer is left alone by its destination's
    back-off, whatever this says.
    """
    if failures < 1:
        raise ValueError(f"failures is {failures}: a message that was never tried is due at once")
    end = queued_at + schedule.lifetime
    if now >= end:
        return None
    wait = min(schedule.first * (1 << min(failures - 1, _MAX_DOUBLINGS)), schedule.longest)
    return min(now + wait, end)


def is_delay_told(now: datetime, queued_at: datetime, schedule: Schedule) -> bool:
    """Whether a message that is deferred `now` has waited so long that its sender should hear of it (once)."""
    return now - queued_at >= schedule.delay_notice
