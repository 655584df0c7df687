"""A worker's place, in a time that the test makes: when it is asked where it hangs, killed, and replaced."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from gatepost.net.leader_seat import LeaderLimits, Seat, State, in_words
from gatepost.net.process_link import Beat, Failed, Serving

LIMITS = LeaderLimits(silent=30, starting=300, closing=15, steady=60)
PID = 4711


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
    """The signals that the process was sent."""
    signals: list[signal.Signals] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append(number))
    return signals


@pytest.fixture
def seat() -> Iterator[Seat]:
    ours, theirs = socket.socketpair()
    seat = Seat(0, LIMITS)
    seat.begins(PID, ours, 1000.0)
    yield seat
    ours.close()
    theirs.close()


def test_silence_is_first_looked_into_and_then_ended(seat: Seat, sent: list[signal.Signals]) -> None:
    seat.heard(Serving(), 1001.0)
    seat.heard(Beat(), 1010.0)
    seat.end_if_hanging(1040.0)
    assert not sent
    seat.end_if_hanging(1040.1)
    assert sent == [signal.SIGUSR2], "the log shows where it hangs"
    seat.end_if_hanging(1040.9)
    seat.end_if_hanging(1041.2)
    seat.end_if_hanging(1042.2)
    assert sent == [signal.SIGUSR2, signal.SIGKILL]
    assert seat.ended(9, 1042.3) == "hung for 30 seconds, and was killed"


def test_a_worker_that_goes_on_after_all_is_left_alone(seat: Seat, sent: list[signal.Signals]) -> None:
    seat.heard(Serving(), 1001.0)
    seat.end_if_hanging(1032.0)
    seat.heard(Beat(), 1032.5)
    seat.end_if_hanging(1034.0)
    assert sent == [signal.SIGUSR2]


def test_a_start_may_take_longer_but_not_for_ever_though_the_loop_turns(seat: Seat, sent: list[signal.Signals]) -> None:
    for second in range(1001, 1300):
        seat.heard(Beat(), float(second))
        seat.end_if_hanging(float(second))
    assert not sent
    seat.end_if_hanging(1300.5)
    seat.end_if_hanging(1302.0)
    assert sent[-1] is signal.SIGKILL


def test_the_limit_of_a_drain_ends_a_worker_that_is_alive(seat: Seat, sent: list[signal.Signals]) -> None:
    seat.heard(Serving(), 1001.0)
    seat.must_end_by(1630.0)
    seat.must_end_by(1050.0)
    seat.must_end_by(1700.0)
    seat.heard(Beat(), 1050.0)
    seat.end_if_hanging(1050.0)
    assert not sent
    seat.end_if_hanging(1050.1)
    assert sent == [signal.SIGKILL]


def test_who_dies_young_again_and_again_is_replaced_more_and_more_slowly(seat: Seat) -> None:
    pauses = []
    now = 1000.0
    for _ in range(10):
        seat.ended(0, now)
        pauses.append(seat.due_at - now)
        now = seat.due_at
        seat.begins(PID, seat.link or socket.socket(), now)
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    seat.ended(0, now + 61)
    assert seat.due_at == now + 61, "one that lived a minute is replaced at once"


def test_what_a_worker_said_last_is_kept_until_the_next_one(seat: Seat) -> None:
    seat.heard(Failed("the spool is gone"), 1001.0)
    seat.ended(256, 1001.0)
    assert (seat.failure, seat.state) == ("the spool is gone", State.EMPTY)


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended with status 0"), (3 << 8, "ended with status 3"), (9, "was killed by signal 9 (SIGKILL)"),
     (127 - 60, "was killed by signal 67 (unknown)")],
)  # fmt: skip
def test_how_a_process_ended_in_words(status: int, words: str) -> None:
    assert in_words(status) == words
