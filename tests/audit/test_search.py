"""Search: what is asked for is found, in every file, in the order of time, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backports import zstd
from tests.audit.parts import DAY, NOON, writer
from tests.support.clock import HandClock

from gatepost.audit.criteria import Criteria
from gatepost.audit.event import Event, EventClient
from gatepost.audit.files import CannotRead, RecordFile, opened
from gatepost.audit.scan import decode
from gatepost.audit.search import by_time, latest, search
from gatepost.audit.tail import Watch, tail
from gatepost.audit.writer import AuditWriter
from gatepost.policy.verdict import Evaluated

RELAY = Evaluated("relay", "enforce", "reject", "not ours", {"forward_path": "eve@example.net"})
HELO = Evaluated("helo.name", "shadow", "defer", "no such name")
PASS = Evaluated("message.size", "enforce", "pass")


def events() -> dict[str, Event]:
    """Fresh events by the name that the tests know them by."""
    return {
        "session": Event("smtp.session", id="01SESSION", session="01SESSION", service="mx", verdicts=[HELO],
                         client=EventClient("192.0.2.7", 4711), helo="client.example.net"),
        "refused": Event("smtp.message", id="01REFUSED", session="01SESSION", service="mx", sender="bob@example.net",
                         client=EventClient("192.0.2.7", 4711), verdicts=[PASS, RELAY], reply="550 5.7.1 no",
                         details={"refused": [{"recipient": "eve@example.net", "reply": "550 5.7.1 no"}]}),
        "taken": Event("smtp.message", id="01TAKEN", session="01OTHER", service="submission", sender="Ada@example.org",
                       recipients=("bob@example.net", "Zoë@example.net"), login="ada@example.org",
                       client=EventClient("2001:db8::1", 25), verdicts=[PASS], reply="250 2.0.0 ok"),
        "attempt": Event("delivery.attempt", id="01ATTEMPT", message="01TAKEN", sender="Ada@example.org",
                         recipients=("bob@example.net",),
                         details={"results": [{"recipient": "bob@example.net", "verdict": "deferred"},
                                              {"recipient": "x@example.net", "verdict": "delivered"}],
                                  "verdict": "mixed"}),
        "bounce": Event("smtp.message", id="01BOUNCE", message="01TAKEN", service="delivery", sender="",
                        recipients=("ada@example.org",)),
        "guess": Event("auth", id="01GUESS", session="01SESSION", service="pop3", client=EventClient("198.51.100.9"),
                       details={"tried": "ada@example.org", "reason": "wrong password"}),
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The events above an hour apart, by three writers, over two days, of which the first is compressed."""
    clock = HandClock(NOON - 13 * 3600.0)
    writers = [writer(tmp_path, clock, number) for number in range(3)]
    for number, event in enumerate(events().values()):
        clock.at = NOON - 13 * 3600.0 + number * 3600.0
        writers[number % 3].record(event)
    for each in writers:
        each.close()
    for path in tmp_path.glob("2025-11-23/*.jsonl"):
        path.with_name(path.name + ".zst").write_bytes(zstd.compress(path.read_bytes()))
        path.unlink()
    return tmp_path


def names(folder: Path, **wanted: object) -> list[str]:
    found = {event.id: name for name, event in events().items()}
    return [found[event["id"]] for event in search(folder, Criteria(**wanted)) if event["id"] in found]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "session refused taken attempt bounce guess"),
        ({"since": NOON - 12 * 3600.0}, "refused taken attempt bounce guess"),
        ({"until": NOON - 12 * 3600.0}, "session"),
        ({"since": NOON - 11 * 3600.0, "until": NOON - 9 * 3600.0}, "taken attempt"),
        ({"client": "192.0.2.7"}, "session refused"),
        ({"client": "192.0.2.0/24"}, "session refused"),
        ({"client": "2001:0db8:0::1"}, "taken"),
        ({"client": "203.0.113.0/24"}, ""),
        ({"account": "ada@example.org"}, "taken guess"),
        ({"account": "@EXAMPLE.org"}, "taken guess"),
        ({"sender": "ada@EXAMPLE.org"}, "taken attempt"),
        ({"sender": "@example.net"}, "refused"),
        ({"sender": "<>"}, "bounce"),
        ({"sender": "ada@example.or"}, ""),
        ({"recipient": "bob@example.net"}, "taken attempt"),
        ({"recipient": "eve@example.net"}, "refused"),
        ({"recipient": "zoË@example.net"}, "taken"),
        ({"recipient": "<bob@example.net>"}, "taken attempt"),
        ({"verdict": "reject"}, "refused"),
        ({"verdict": "deferred"}, "attempt"),
        ({"verdict": "mixed"}, "attempt"),
        ({"check": "helo.name"}, "session"),
        ({"check": "relay", "verdict": "reject"}, "refused"),
        ({"check": "message.size", "verdict": "reject"}, ""),
        ({"kind": "auth"}, "guess"),
        ({"service": "mx"}, "session refused"),
        ({"session": "01SESSION"}, "session refused guess"),
        ({"id": "01TAKEN"}, "taken attempt bounce"),
        ({"text": "CLIENT.example.net"}, "session"),
        ({"text": "Zoë"}, "taken"),
        ({"text": "Zoë", "kind": "smtp.message"}, "taken"),
        ({"client": "192.0.2.7", "kind": "smtp.message"}, "refused"),
    ],
)
def test_what_is_asked_for_is_found_in_the_order_of_time(folder: Path, wanted: dict[str, object], found: str) -> None:
    assert names(folder, **wanted) == found.split()


def test_a_client_that_is_no_address_is_a_mistake_with_a_reason(folder: Path) -> None:
    with pytest.raises(ValueError, match="neither an address nor a network"):
        search(folder, Criteria(client="mx.example.org"))


def test_no_record_yet_is_no_error(tmp_path: Path) -> None:
    assert list(search(tmp_path / "audit")) == []


def test_the_latest_are_the_last_ones_over_days_and_writers(folder: Path) -> None:
    found = latest(folder, Criteria(verdict="pass"), 1)
    assert [event["id"] for event in found] == ["01TAKEN"]
    found = latest(folder, Criteria(client="192.0.2.0/24"), 5)
    assert [event["id"] for event in found] == ["01SESSION", "01REFUSED"]


def test_a_line_that_is_being_written_and_one_that_is_no_json_are_passed_over(tmp_path: Path) -> None:
    record = writer(tmp_path)
    record.record(Event("server", id="01A"))
    record.close()
    with record.path.open("ab") as stream:
        stream.write(b'not json 01B\n{"kind":"server","id":"01B"')
    assert [event["id"] for event in search(tmp_path, Criteria(kind="server"))][-1] == "01A"


def test_lines_longer_than_what_is_read_at_once_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.audit.scan.CHUNK_OCTETS", 100)
    record = writer(tmp_path)
    for number in range(20):
        record.record(Event("server", id=f"01A{number}", helo="x" * (number * 37), details={"n": f"number {number}"}))
    record.close()
    assert [event["id"] for event in search(tmp_path, Criteria(text="number 13"))] == ["01A13"]
    assert len(list(search(tmp_path))) == 21
    assert [event["id"] for event in tail(tmp_path, last=3)] == ["01A17", "01A18", "01A19"]


@pytest.mark.parametrize("damage", [lambda octets: octets[:-20], lambda octets: b"\0" * 40 + octets[40:]])
def test_a_damaged_compressed_day_is_named(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = next(folder.glob("2025-11-23/*.zst"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CannotRead, match=r"\.jsonl\.zst: "):
        list(search(folder))


def test_a_file_that_is_compressed_while_a_search_runs_is_read_all_the_same(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    record = writer(tmp_path, clock)
    record.record(Event("server", id="01A"))
    first = record.path
    clock.at += DAY
    record.record(Event("server", id="01B"))
    record.close()
    listed = RecordFile("2025-11-24", "mx.example.org", 0, first)
    first.with_name(first.name + ".zst").write_bytes(zstd.compress(first.read_bytes()))
    first.unlink()
    with opened(listed) as stream:
        assert b"01A" in stream.read()


# --- tail --------------------------------------------------------------------------------------------------------


def test_the_tail_is_the_end_of_all_writers_together(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    writers = [writer(tmp_path, clock, number) for number in range(2)]
    for number in range(10):
        clock.at += 1
        writers[number % 2].record(Event("server", id=f"01A{number}"))
    assert [event["id"] for event in tail(tmp_path, last=4)] == ["01A6", "01A7", "01A8", "01A9"]
    for each in writers:
        each.close()


def test_following_shows_each_new_event_once_over_midnight_and_new_writers(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    first = writer(tmp_path, clock)
    first.record(Event("server", id="01OLD"))
    acts: Iterator[Callable[[], object]] = iter([
        lambda: first.record(Event("server", id="01A")),
        lambda: _tomorrow(first, clock),
        lambda: first.record(Event("server", id="01C")),
    ])  # fmt: skip
    waited = 0

    def wait() -> None:
        nonlocal waited
        waited += 1
        next(acts, lambda: None)()

    seen = []
    for event in tail(tmp_path, follow=True, last=1, wait=wait):
        if event.get("details", {}).get("what") != "record opened":
            seen.append(event["id"])
        if event["id"] == "01C":
            break
    assert seen == ["01OLD", "01A", "01B", "01C"]
    assert waited == 3  # it waits for news instead of looking all the time
    first.close()


def _tomorrow(record: AuditWriter, clock: HandClock) -> None:
    clock.at += DAY
    record.record(Event("server", id="01B"))


def test_following_waits_for_the_rest_of_a_half_written_line(tmp_path: Path) -> None:
    (tmp_path / "2025-11-24").mkdir()
    path = tmp_path / "2025-11-24" / "mx.0.jsonl"
    watch = Watch(tmp_path, decode, by_time)
    path.write_bytes(b'{"id":"01A"}\n{"id":')
    assert watch.poll() == [{"id": "01A"}]
    assert watch.poll() == []
    path.write_bytes(b'{"id":"01A"}\n{"id":"01B"}\n')
    assert watch.poll() == [{"id": "01B"}]


def test_following_survives_a_file_that_became_shorter(tmp_path: Path) -> None:
    record = writer(tmp_path)
    record.record(Event("server", id="01A"))
    record.close()
    watch = Watch(tmp_path, decode, by_time)
    watch.last(1)
    record.path.write_bytes(record.path.read_bytes().splitlines(keepends=True)[0])
    assert watch.poll() == []
    again = writer(tmp_path)
    again.record(Event("server", id="01B"))
    again.close()
    assert [event["id"] for event in watch.poll()] == ["01B"]
