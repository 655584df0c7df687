"""The retry schedule as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gatepost.delivery.schedule import Schedule, is_delay_told, next_attempt

T0 = datetime(2026, 11, 24, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DEFAULT = Schedule()


@pytest.mark.parametrize(
    ("failures", "wait"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 240), (8, 240), (40, 240), (10_000, 240)],
)
def test_waits_double_up_to_the_longest(failures: int, wait: int) -> None:
    assert next_attempt(T0, T0, failures, DEFAULT) == T0 + wait * MINUTE


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(days=5) - timedelta(hours=5), timedelta(days=5) - timedelta(hours=1)),
        (timedelta(days=5) - timedelta(hours=1), timedelta(days=5)),  # cut: the last attempt is at the very end
        (timedelta(days=5) - timedelta(seconds=1), timedelta(days=5)),
        (timedelta(days=5), None),
        (timedelta(days=50), None),
    ],
)
def test_the_last_attempt_falls_on_the_end_of_the_lifetime(age: timedelta, expected: timedelta | None) -> None:
    assert next_attempt(T0 + age, T0, 9, DEFAULT) == (None if expected is None else T0 + expected)


def test_a_message_never_tried_has_no_next_attempt() -> None:
    with pytest.raises(ValueError, match="due at once"):
        next_attempt(T0, T0, 0, DEFAULT)


def test_a_whole_life_has_some_forty_attempts_and_an_end() -> None:
    now, failures = T0, 0
    while True:
        failures += 1
        again = next_attempt(now, T0, failures, DEFAULT)
        if again is None:
            break
        assert again > now
        now = again
    assert now == T0 + timedelta(days=5)
    assert 30 < failures < 45


@pytest.mark.parametrize(("hours", "told"), [(0, False), (3.99, False), (4, True), (100, True)])
def test_the_sender_hears_of_a_delay_after_four_hours(hours: float, told: bool) -> None:
    assert is_delay_told(T0 + timedelta(hours=hours), T0, DEFAULT) is told
