"""Floods of refused connections: few events, every session counted, every ID on the record."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.clock import HandClock
from tests.support.desk import CountingIds, ListRecorder

from gatepost.gate import flood
from gatepost.gate.flood import ONE_BY_ONE, PERIOD_SECONDS, Floods

VERDICT = {"check": "client.banned", "verdict": "reject"}


class Gate:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.recorder = ListRecorder()
        self.floods = Floods(self.recorder, self.clock, CountingIds())

    def refuse(self, times: int = 1, ip: str = "192.0.2.7", check: str = "client.banned") -> list[str]:
        return [self.floods.refused(ip, "mx", check, VERDICT) for _ in range(times)]

    def summed(self) -> list[dict[str, Any]]:
        return [event.details for event in self.recorder.events]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_a_few_refused_connections_have_an_event_each(gate: Gate) -> None:
    assert gate.refuse(ONE_BY_ONE) == [""] * ONE_BY_ONE
    gate.clock.at += PERIOD_SECONDS
    assert gate.refuse(ONE_BY_ONE) == [""] * ONE_BY_ONE
    gate.floods.close()
    assert not gate.summed()


def test_a_flood_has_one_event_a_period_and_its_id_is_the_one_that_peers_are_told(gate: Gate) -> None:
    first = gate.refuse(ONE_BY_ONE + 500)
    gate.clock.at += 30
    first += gate.refuse(400, check="client.rate")
    gate.clock.at += 30
    gate.floods.flush()
    (event,) = gate.recorder.events
    assert set(first) == {"", event.id}
    assert first.count(event.id) == 900
    assert event.details == {
        "sessions": 900,
        "seconds": 30,
        "checks": {"client.banned": 500, "client.rate": 400},
    }
    assert (event.kind, event.service, event.verdicts) == ("smtp.session", "mx", [VERDICT])
    assert event.client is not None
    assert event.client.ip == "192.0.2.7"


def test_a_flood_that_goes_on_has_no_events_of_single_sessions_any_more(gate: Gate) -> None:
    gate.refuse(ONE_BY_ONE + 1)
    for _ in range(3):
        gate.clock.at += PERIOD_SECONDS
        assert "" not in gate.refuse(100)
    gate.floods.close()
    assert [one["sessions"] for one in gate.summed()] == [1, 100, 100, 100]


def test_a_flood_goes_on_over_the_looks_in_between(gate: Gate) -> None:
    gate.refuse(ONE_BY_ONE + 1)
    for _ in range(3):
        gate.clock.at += PERIOD_SECONDS
        gate.floods.flush()
        gate.clock.at += PERIOD_SECONDS / 2
        assert "" not in gate.refuse(100)


def test_after_a_quiet_period_single_sessions_are_recorded_again(gate: Gate) -> None:
    gate.refuse(ONE_BY_ONE + 1)
    for _ in range(3):
        gate.clock.at += PERIOD_SECONDS
        gate.floods.flush()
    assert gate.refuse() == [""]
    assert [one["sessions"] for one in gate.summed()] == [1]


def test_addresses_are_counted_apart_and_those_of_one_64_together(gate: Gate) -> None:
    gate.refuse(ONE_BY_ONE)
    assert gate.refuse(ip="192.0.2.8") == [""]
    for number in range(ONE_BY_ONE):
        gate.refuse(ip=f"2001:db8::{number:x}")
    assert gate.refuse(ip="2001:db8::ffff") != [""]


def test_the_server_stops_and_what_it_counted_is_recorded(gate: Gate) -> None:
    gate.refuse(ONE_BY_ONE + 7)
    gate.floods.close()
    assert [one["sessions"] for one in gate.summed()] == [7]


def test_a_flood_from_more_addresses_than_are_watched_loses_no_count(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flood, "MAX_ADDRESSES", 5)
    alone = 0
    for number in range(20):
        alone += gate.refuse(ONE_BY_ONE + 2, ip=f"192.0.2.{number}").count("")
        assert len(gate.floods._floods) <= 5
    gate.floods.close()
    assert alone + sum(one["sessions"] for one in gate.summed()) == 20 * (ONE_BY_ONE + 2)


def test_pop3_sessions_are_recorded_as_such_and_a_full_disk_stops_nobody(gate: Gate) -> None:
    for _ in range(ONE_BY_ONE + 1):
        gate.floods.refused("192.0.2.7", "pop3s", "client.banned", VERDICT)
    gate.floods.close()
    assert gate.recorder.events[0].kind == "pop3.session"
    gate.refuse(ONE_BY_ONE + 1)
    gate.recorder.fails = True
    gate.floods.close()
