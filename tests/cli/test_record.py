"""The record at the command line: tail, search, the story of a message, and why it was treated so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command

from gatepost.audit.event import Event, EventClient
from gatepost.audit.writer import AuditWriter
from gatepost.net.clock import SystemClock, SystemIds
from gatepost.policy.verdict import Evaluated
from gatepost.store.data_folder import prepare


@pytest.fixture
def writer(folder: Path) -> Iterator[AuditWriter]:
    made = AuditWriter(prepare(folder / "data").audit, "mx.example.org", 0, SystemClock(), SystemIds())
    yield made
    made.close()


@pytest.fixture
def ids(writer: AuditWriter) -> dict[str, str]:
    """A session with a refused message, and one that is accepted and delivered; the IDs by name."""
    make = SystemIds().new
    session, refused, accepted = make(), make(), make()
    client = EventClient("192.0.2.7", 40112)
    spam = Evaluated("relay", "enforce", "reject", "far.example is not ours \x1b[2J", {"forward_path": "x@far.example"})
    fine = Evaluated("relay", "enforce", "pass")
    more: dict[str, Any] = {"session": session, "service": "mx", "client": client}
    writer.record(Event("smtp.message", id=refused, sender="bob@example.net", recipients=("x@far.example",),
                        verdicts=[spam], reply=f"550 5.7.1 Relaying denied ({refused})", **more))  # fmt: skip
    writer.record(Event("smtp.message", id=accepted, sender="bob@example.net", recipients=("ada@example.org",),
                        verdicts=[fine], reply=f"250 2.0.0 Kept ({accepted})", **more))  # fmt: skip
    writer.record(Event("smtp.session", id=session, helo="h.example", **more))
    result = {"recipient": "ada@example.org", "verdict": "delivered", "reply": "250 2.1.5 Kept"}
    writer.record(Event("delivery.attempt", message=accepted, recipients=("ada@example.org",),
                        details={"destination": "local", "results": [result]}))  # fmt: skip
    return {"session": session, "refused": refused, "accepted": accepted}


def test_tail_shows_the_latest_events_a_line_each(gatepost: Command, ids: dict[str, str]) -> None:
    lines = gatepost("audit", "tail", "-n", "3").out.splitlines()
    assert len(lines) == 3
    assert ids["accepted"] in lines[0]
    events = [json.loads(line) for line in gatepost("audit", "tail", "-n", "4", "--json").out.splitlines()]
    assert [event["kind"] for event in events] == ["smtp.message", "smtp.message", "smtp.session", "delivery.attempt"]


def test_tail_follows_what_is_written_while_it_watches(
    gatepost: Command, writer: AuditWriter, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`time.sleep` is where it waits: what is recorded there is the news, and the second wait ends the command."""
    waits = []

    def wait(seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        waits.append(seconds)
        if len(waits) > 1:
            raise KeyboardInterrupt
        writer.record(Event("alert", details={"what": "news"}))

    monkeypatch.setattr(time, "sleep", wait)
    ran = gatepost("audit", "tail", "-f", "-n", "0")
    assert ran.code == 130
    assert [line for line in ran.out.splitlines() if "alert" in line and "news" in line]


SEARCHES: list[tuple[list[str], set[str]]] = [
    (["--check", "relay", "--verdict", "reject"], {"refused"}),
    (["--sender", "bob@example.net"], {"refused", "accepted"}),
    (["--recipient", "@example.org", "--kind", "smtp.message"], {"accepted"}),
    (["--client", "192.0.2.0/24", "--kind", "smtp.session"], {"session"}),
    (["--until", "2001-01-01"], set()),
    (["--since", "1h", "--kind", "smtp.session"], {"session"}),
]


@pytest.mark.parametrize(("words", "expected"), SEARCHES)
def test_search_finds_what_fits_everything(
    gatepost: Command, ids: dict[str, str], words: list[str], expected: set[str]
) -> None:
    found = gatepost("audit", "search", "--json", *words).json
    assert {event["id"] for event in found} == {ids[name] for name in expected}
    ran = gatepost("audit", "search", *words)
    assert len(ran.out.splitlines()) == len(expected)
    assert "\x1b" not in ran.out


def test_search_says_when_there_may_be_more(gatepost: Command, ids: dict[str, str]) -> None:
    assert "these are the latest 2; --limit shows more" in gatepost("audit", "search", "--limit", "2").err


def test_show_tells_the_whole_story_of_a_message(gatepost: Command, ids: dict[str, str]) -> None:
    events = gatepost("audit", "show", f"({ids['accepted'].lower()})", "--json").json
    assert {event["kind"] for event in events} == {"smtp.session", "smtp.message", "delivery.attempt"}
    assert ids["refused"] not in {event["id"] for event in events}
    text = gatepost("audit", "show", ids["accepted"]).out
    assert "delivered" in text
    assert "h.example" in text


def test_explain_names_the_check_that_decided_with_its_facts(gatepost: Command, ids: dict[str, str]) -> None:
    ran = gatepost("policy", "explain", ids["refused"])
    assert "=> reject     relay (enforce): far.example is not ours" in ran.out
    assert "forward_path: x@far.example" in ran.out
    assert "Relaying denied" in ran.out
    assert "\x1b" not in ran.out
    found = gatepost("policy", "explain", ids["refused"], "--json").json
    assert [(check["check"], check["decided"]) for check in found["checks"]] == [("relay", True)]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("audit", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), 1, "the record knows no 01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        (("audit", "show", "hello"), 2, "is not an ID"),
        (("policy", "explain", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), 1, "the record knows no"),
        (("policy", "explain", "hello"), 2, "is not an ID"),
        (("audit", "search", "--since", "yesterday"), 2, "--since: 'yesterday' is no time; write"),
        (("audit", "search", "--client", "mx.example"), 2, "mx.example"),
    ],
)
def test_a_refusal_says_what_to_do(gatepost: Command, words: tuple[str, ...], code: int, said: str) -> None:
    ran = gatepost(*words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_verify_finds_a_line_that_was_altered(gatepost: Command, ids: dict[str, str], writer: AuditWriter) -> None:
    ran = gatepost("audit", "verify", "--json")
    assert (ran.code, ran.json["ok"], ran.json["problems"]) == (0, True, [])
    text = writer.path.read_text()
    writer.path.write_text(text.replace("ada@example.org", "eve@example.org", 1))
    ran = gatepost("audit", "verify")
    assert ran.code == 1
    assert writer.path.name in ran.out
    assert gatepost("audit", "verify", "--json").json["ok"] is False


def test_report_counts_what_happened_lately(gatepost: Command, ids: dict[str, str]) -> None:
    found = gatepost("audit", "report", "--json").json
    assert found["totals"]["messages"] == 1
    assert found["totals"]["refusals"] == 1
    assert found["clients"][0]["network"] == "192.0.2.7"
    text = gatepost("audit", "report", "--since", "1h").out
    assert "Attempts to relay" in text
    assert "\x1b" not in text
    page = gatepost("audit", "report", "--html").out
    assert page.startswith("<!doctype html>")
    assert "Who used mx.example.org" in page
    assert gatepost("audit", "report", "--since", "2001-01-01", "--until", "2001-01-02", "--json").json["events"] == 0


def test_report_of_no_time_at_all_is_a_mistake(gatepost: Command) -> None:
    ran = gatepost("audit", "report", "--since", "1h", "--until", "2h")
    assert (ran.code, ran.out) == (2, "")
    assert "--since is not before --until" in ran.err
