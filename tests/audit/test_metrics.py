"""Metrics: what is on the record is counted, once, over all workers, those that are gone included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gatepost.audit.event import Event, RecordError
from gatepost.audit.metrics import FAMILIES, MAX_SERIES, Counts, RecordingMetrics, begin, fold, total
from gatepost.policy.verdict import Evaluated


class Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_broken = False

    def record(self, event: Event) -> None:
        if self.is_broken:
            raise RecordError("full")
        self.events.append(event)


def counted(folder: Path, *events: Event) -> Counts:
    metrics = RecordingMetrics(Kept(), folder)
    for event in events:
        metrics.record(event)
    return metrics.counts


PASS = Evaluated("relay", "enforce", "pass")
SHADOW = Evaluated("helo.name", "shadow", "reject")
TAKEN: dict[str, Any] = {
    "service": "mx", "reply": "250 2.0.0 ok", "octets": 4096, "took_ms": 30, "recipients": ("a", "b")
}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event("server"), {"gatepost_events_total server": 1}),
        (
            Event("smtp.session", service="mx", took_ms=20, verdicts=[PASS, SHADOW]),
            {
                "gatepost_sessions_total mx": 1,
                "gatepost_session_seconds mx sum": 0.02,
                "gatepost_session_seconds mx 1": 1,  # a value equal to a bound is below it
                "gatepost_verdicts_total helo.name shadow reject": 1,
            },
        ),
        (
            Event("smtp.message", **TAKEN),
            {
                "gatepost_messages_total mx 2xx": 1,
                "gatepost_recipients_total mx": 2,
                "gatepost_message_octets mx 1": 1,
                "gatepost_message_octets mx sum": 4096,
                "gatepost_message_seconds mx 2": 1,
            },
        ),
        (Event("smtp.message", service="mx", reply="550 5.7.1 no"), {"gatepost_messages_total mx 5xx": 1}),
        (Event("smtp.message", service="mx"), {"gatepost_messages_total mx none": 1}),
        (Event("smtp.message", service="delivery", details={"why": "notice"}), {"gatepost_made_total notice": 1}),
        (
            Event("delivery.attempt", took_ms=10**6, details={"hop": "smtp://192.0.2.1:25", "results": [
                {"verdict": "delivered"}, {"verdict": "delivered"}, {"verdict": "deferred"}]}),
            {
                "gatepost_deliveries_total remote delivered": 2,
                "gatepost_deliveries_total remote deferred": 1,
                "gatepost_delivery_seconds remote 8": 1,
            },
        ),
        (Event("alert", details={"what": "x", "detector": "guessing"}), {"gatepost_alerts_total guessing": 1}),
        (Event("alert", details={"what": "certificate"}), {"gatepost_alerts_total server": 1}),
        (Event("ban", details={"what": "laid", "network": "192.0.2.7"}), {"gatepost_bans_total laid": 1}),
        (
            Event("auth", service="pop3", reply="535 5.7.8 no", details={"mechanism": "PLAIN"}),
            {"gatepost_logins_total pop3 PLAIN refused": 1},
        ),
        (
            Event("auth", service="mx", reply="235 2.7.0 ok", details={"mechanism": "PLAIN"}),
            {"gatepost_logins_total mx PLAIN accepted": 1},
        ),
        (
            Event("pop3.session", service="pop3", details={"retrieved": 3, "removed": 0}),
            {"gatepost_sessions_total pop3": 1, "gatepost_retrieved_total": 3},
        ),
    ],
)  # fmt: skip
def test_an_event_is_counted(tmp_path: Path, event: Event, expected: dict[str, float]) -> None:
    found = {" ".join(series): value for series, value in counted(tmp_path, event).items() if value}
    assert found.items() >= expected.items()
    assert not any("pass" in series for series in found)
    assert all(series.split(" ")[0] in FAMILIES for series in found)


def test_what_could_not_be_recorded_is_counted_as_that_and_is_still_an_error(tmp_path: Path) -> None:
    kept = Kept()
    kept.is_broken = True
    metrics = RecordingMetrics(kept, tmp_path)
    with pytest.raises(RecordError):
        metrics.record(Event("smtp.message", **TAKEN))
    assert metrics.counts == {("gatepost_record_failures_total",): 1}


def test_names_that_somebody_makes_up_do_not_fill_the_memory(tmp_path: Path) -> None:
    events = [Event("auth", service="mx", details={"mechanism": f"X{number}"}) for number in range(MAX_SERIES * 2)]
    counts = counted(tmp_path, *events)
    assert len(counts) < MAX_SERIES + 10
    assert sum(value for series, value in counts.items() if series[0] == "gatepost_logins_total") == len(events)
    assert counts["gatepost_logins_total", "other", "other", "other"] > 0


def test_workers_are_added_up_and_those_that_are_gone_stay_counted(tmp_path: Path) -> None:
    begin(tmp_path)
    me = RecordingMetrics(Kept(), tmp_path)
    me.record(Event("server"))
    (tmp_path / "1000001.json").write_text('[["gatepost_events_total","server",5.0]]')
    (tmp_path / "1000002.json").write_text('[["gatepost_events_total","server",7.0]]')
    assert me.total()["gatepost_events_total", "server"] == 13
    fold(tmp_path, {os.getpid(): True, 1000002: True})
    assert sorted(path.name for path in tmp_path.glob("*.json")) == sorted(
        ["1000002.json", f"{os.getpid()}.json", "gone.json"]
    )
    fold(tmp_path, {os.getpid(): True})
    me.record(Event("server"))
    assert me.total()["gatepost_events_total", "server"] == 14
    assert total(tmp_path) == me.total()


def test_a_process_that_lives_keeps_its_file(tmp_path: Path) -> None:
    begin(tmp_path)
    me = RecordingMetrics(Kept(), tmp_path)
    me.record(Event("server"))
    me.flush()
    fold(tmp_path)
    assert (tmp_path / f"{os.getpid()}.json").exists()


def test_a_start_forgets_what_was_counted_before(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "1.json").write_text('[["gatepost_events_total","server",5.0]]')
    begin(tmp_path)
    assert total(tmp_path) == {}


@pytest.mark.parametrize("octets", [b"", b"[[", b'{"a":1}', b"[[1,2,3]]"])
def test_a_damaged_file_spoils_no_scrape(tmp_path: Path, octets: bytes) -> None:
    begin(tmp_path)
    (tmp_path / "1.json").write_bytes(octets)
    (tmp_path / "2.json").write_text('[["gatepost_events_total","server",5.0]]')
    assert total(tmp_path)["gatepost_events_total", "server"] == 5
