"""Load that is shed: few events, every refusal counted, and every ID that a reply quotes is on the record."""

from __future__ import annotations

from tests.support.clock import HandClock
from tests.support.desk import CountingIds, ListRecorder

from gatepost.gate.shedding import CONNECTIONS, ONE_BY_ONE, PERIOD_SECONDS, ROOM, Shedding


class Gate:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.recorder = ListRecorder()
        self.shedding = Shedding(self.recorder, self.clock, CountingIds())


def test_the_first_have_their_own_events_and_one_counts_them_all() -> None:
    gate = Gate()
    assert [gate.shedding.shed(ROOM) for _ in range(ONE_BY_ONE)] == [""] * ONE_BY_ONE
    (told,) = {gate.shedding.shed(CONNECTIONS) for _ in range(1000)}
    assert gate.recorder.events == []
    gate.clock.at += PERIOD_SECONDS
    gate.shedding.flush()
    (event,) = gate.recorder.events
    assert (event.kind, event.id) == ("server", told)
    assert event.details["what"] == "load shed"
    assert event.details["refused"] == {ROOM: ONE_BY_ONE, CONNECTIONS: 1000}


def test_each_minute_has_its_own_event_and_a_quiet_one_has_none() -> None:
    gate = Gate()
    gate.shedding.shed(ROOM)
    gate.shedding.flush()
    assert gate.recorder.events == []  # the minute is not over
    gate.clock.at += PERIOD_SECONDS
    assert gate.shedding.shed(ROOM) == ""
    gate.clock.at += PERIOD_SECONDS
    gate.shedding.flush()
    gate.clock.at += PERIOD_SECONDS
    gate.shedding.flush()
    gate.shedding.close()
    assert [event.details["refused"] for event in gate.recorder.events] == [{ROOM: 1}, {ROOM: 1}]


def test_what_is_still_counted_at_the_end_is_recorded() -> None:
    gate = Gate()
    gate.shedding.shed(ROOM)
    gate.shedding.close()
    assert [event.details["refused"] for event in gate.recorder.events] == [{ROOM: 1}]
