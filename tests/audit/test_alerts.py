"""Alerts on their way: each is told once by each way, in good time and not too often, in words that help."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gatepost.audit.alerts import (
    KEPT_SECONDS,
    MAX_AT_ONCE,
    Alert,
    CannotTell,
    Courier,
    consequence,
    payload,
    subject,
    text,
)
from gatepost.audit.criteria import stamp
from gatepost.audit.event import Event
from gatepost.audit.lines import Line, read_line

NOW = 1_764_000_000.0
HOST = "mx.example.org"


class Way:
    """Notes what it was given; `trouble` is raised instead."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.more = 0
        self.trouble: CannotTell | None = None

    async def __call__(self, alerts: Sequence[Alert], more: int) -> str:
        if self.trouble is not None:
            raise self.trouble
        self.told.append([alert.id for alert in alerts])
        self.more = more
        return "note"


def line(kind: Any, details: dict[str, Any], event_id: str = "", at: float = NOW) -> Line:
    made = read_line(msgspec.json.encode(Event(kind, id=event_id, time=stamp(at), details=details)))
    assert made is not None
    return made


def alert(event_id: str, at: float = NOW, what: str = "guessing: 192.0.2.7") -> Line:
    return line("alert", {"what": what}, event_id, at)


def courier(interval: float = 900.0, **more: Any) -> tuple[Courier, Way]:
    way = Way()
    return Courier("mail", way, interval, **more), way


def go(courier: Courier, at: float) -> dict[str, Any] | None:
    """The details of the event that says what was told."""
    event = asyncio.run(courier.go(at))
    return None if event is None else event.details


def test_an_alert_is_told_once_together_with_those_of_its_moment_and_that_is_on_the_record() -> None:
    one, way = courier()
    assert go(one, NOW) is None
    one.take([alert("01A"), alert("01B", NOW + 1)])
    assert go(one, NOW + 4) is None  # others of the moment may come
    assert go(one, NOW + 10) == {"what": "alerts told", "way": "mail", "alerts": ["01A", "01B"], "note": "note"}
    assert go(one, NOW + 1000) is None
    assert way.told == [["01A", "01B"]]


def test_what_comes_soon_after_waits_for_the_next_message() -> None:
    one, way = courier()
    one.take([alert("01A")])
    go(one, NOW + 10)
    one.take([alert("01B", NOW + 11)])
    assert go(one, NOW + 800) is None
    assert go(one, NOW + 911) is not None
    assert way.told == [["01A"], ["01B"]]


def test_after_a_restart_only_what_was_not_told_is_told() -> None:
    one, way = courier()
    told = line("server", {"what": "alerts told", "way": "mail", "alerts": ["01A"]})
    one.take([alert("01A"), told, alert("01B"), line("server", {"what": "worker started"})])
    go(one, NOW + 10)
    assert way.told == [["01B"]]
    other, way = courier()
    other.take([told, alert("01A")])  # in the order in which files are read
    assert go(other, NOW + 10) is None
    hook = Courier("webhook", way, 0.0)
    hook.take([alert("01A"), told])  # that was another way
    assert go(hook, NOW + 10) is not None


def test_a_way_that_does_not_work_is_tried_again_ever_more_rarely_and_said_once() -> None:
    one, way = courier()
    one.take([alert("01A")])
    way.trouble = CannotTell("the spool is full")
    assert go(one, NOW + 10) == {"what": "alerts not told", "way": "mail", "note": "the spool is full"}
    tries = [at for at in range(11, 500) if go_counted(one, way, NOW + at)]
    assert tries == [40, 100, 220, 460]
    way.trouble = None
    assert go(one, NOW + 2000) == {"what": "alerts told", "way": "mail", "alerts": ["01A"], "note": "note"}


def go_counted(one: Courier, way: Way, at: float) -> bool:
    before = one._failures
    assert go(one, at) is None
    return one._failures > before


def test_what_the_other_side_refuses_for_good_is_not_tried_again() -> None:
    one, way = courier()
    one.take([alert("01A")])
    way.trouble = CannotTell("the webhook answers 404", is_final=True)
    assert go(one, NOW + 10) == {
        "what": "alerts not told", "way": "mail", "alerts": ["01A"], "note": "the webhook answers 404",
    }  # fmt: skip
    way.trouble = None
    assert go(one, NOW + 5000) is None


def test_an_alert_of_yesterday_is_history() -> None:
    one, way = courier()
    one.take([alert("01A", NOW - KEPT_SECONDS - 1), alert("01B")])
    go(one, NOW + 10)
    assert way.told == [["01B"]]


def test_a_flood_of_alerts_is_one_message() -> None:
    one, way = courier()
    one.take([alert(f"01{number}") for number in range(MAX_AT_ONCE + 50)])
    event = go(one, NOW + 10)
    assert event is not None
    assert len(event["alerts"]) == MAX_AT_ONCE + 50
    assert [len(batch) for batch in way.told] == [MAX_AT_ONCE]
    assert way.more == 50
    assert go(one, NOW + 2000) is None


def test_what_a_way_must_not_tell_it_does_not() -> None:
    """Mail about mail that is kept aside was kept aside too, every hour."""
    one, way = courier(skips=lambda alert: alert.what.startswith("mail for a role"))
    one.take([alert("01A", what="mail for a role address is kept aside"), alert("01B")])
    go(one, NOW + 10)
    assert way.told == [["01B"]]


# --- words ---------------------------------------------------------------------------------------------------------

FOUND = {
    "what": "guessing: ada@example.org", "problem": "it logged in from 192.0.2.7, after 20 addresses had guessed at it",
    "detector": "guessing", "pattern": "guessed password", "subject": "ada@example.org", "ban": ["192.0.2.7"],
    "ban_seconds": 3600, "hold": ["ada@example.org"], "events": ["01F", "01G", "01H", "01I"],
}  # fmt: skip


def made(**details: Any) -> Alert:
    return Alert("01A", "2025-11-24T16:00:00.000000Z", NOW, details)


def test_the_message_says_what_was_found_what_was_done_and_what_to_do() -> None:
    told = text(HOST, [made(**FOUND)], 0)
    plain = " ".join(told.split())
    for words in (
        "2025-11-24 16:00:00 UTC guessing: ada@example.org", "after 20 addresses had guessed at it",
        "Banned: 192.0.2.7.", "gatepost ban lift", "Held: ada@example.org.", "gatepost account release",
        "gatepost audit show 01A", "gatepost audit show 01F",
    ):  # fmt: skip
        assert words in plain
    assert "pattern" not in plain
    assert max(map(len, told.splitlines())) < 100
    assert "There are 7 more" in text(HOST, [made(**FOUND)], 7)


def test_other_alerts_are_told_with_all_that_they_say() -> None:
    plain = " ".join(
        text(HOST, [made(what="certificate", problem="expired", file="cert.pem", do="renew it")], 0).split()
    )
    assert "certificate expired What to do: renew it file cert.pem gatepost audit show 01A" in plain


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"detector": "sending"}, "Nothing was done: look"),
        (
            {"detector": "sending", "mode": "shadow", "ban": ["192.0.2.7"]},
            "Nothing was done: the detector is in shadow",
        ),
        ({"detector": "guessing", "ban": ["192.0.2.7"]}, "Banned: 192.0.2.7."),
        ({"what": "certificate"}, ""),
    ],
)
def test_what_followed_is_said(details: dict[str, Any], said: str) -> None:
    assert consequence(details).startswith(said)


def test_the_subject_names_what_it_is_about_in_one_line() -> None:
    assert subject(HOST, [made(what="guessing: 192.0.2.7")]) == "[mx.example.org] guessing: 192.0.2.7"
    many = [made(what=f"guessing: 192.0.2.{number}") for number in range(5)]
    assert subject(HOST, [*many, many[0]]) == (
        "[mx.example.org] 6 alerts: guessing: 192.0.2.0, guessing: 192.0.2.1, guessing: 192.0.2.2 and 2 more"
    )
    evil = made(what="x\r\nBcc: all@example.net")
    assert "\n" not in subject(HOST, [evil])
    assert "\nBcc:" not in text(HOST, [evil], 0)


def test_a_program_gets_all_of_it() -> None:
    told = json.loads(payload(HOST, [made(**FOUND)], 3))
    assert told == {
        "server": HOST, "more": 3, "alerts": [{"id": "01A", "time": "2025-11-24T16:00:00.000000Z", **FOUND}],
    }  # fmt: skip
