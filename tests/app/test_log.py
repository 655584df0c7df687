"""The server's own log, as whoever runs it reads it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gatepost.app.log import Lines

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")


def line(method: str = "info", *, in_journal: bool = False, **event: Any) -> str:
    return Lines(in_journal=in_journal)(None, method, event)


def told(method: str = "info", **event: Any) -> str:
    """Without the time."""
    text = line(method, **event)
    assert TIME.match(text)
    return TIME.sub("", text)


def test_a_line_is_a_sentence_with_what_it_is_about_behind() -> None:
    assert told(event="serving mx on 192.0.2.1:25") == "info: serving mx on 192.0.2.1:25"
    assert told("error", event="worker ended", worker=0, how="was killed by signal 9") == (
        'error: worker ended (worker 0, how "was killed by signal 9")'
    )


@pytest.mark.parametrize("name", ["problem", "error"])
def test_what_went_wrong_follows_at_once_and_what_is_empty_is_left_out(name: str) -> None:
    event = {"event": "reload failed", name: "no such file", "closed": "", "entry": None}
    assert told("error", **event) == "error: reload failed: no such file"


def test_several_problems_are_several_lines_that_cannot_be_taken_for_events() -> None:
    assert told("error", event="reload failed", problem="a.toml:1: x\na.toml:2: y") == (
        "error: reload failed: a.toml:1: x\n    a.toml:2: y"
    )


def test_nothing_that_a_peer_wrote_moves_the_cursor_or_begins_a_line() -> None:
    text = told("error", event="refused", error="\x1b[2J\r2026-11-24T10:00:00Z info: all is well", client="\u202eabc")
    assert text.splitlines() == [
        r"error: refused: \x1b[2J", r"    2026-11-24T10:00:00Z info: all is well (client \u202eabc)",
    ]  # fmt: skip


@pytest.mark.parametrize(("method", "priority"), [("info", 6), ("warning", 4), ("error", 3), ("critical", 2)])
def test_the_journal_hears_the_priority_of_each_line_and_adds_the_time_itself(method: str, priority: int) -> None:
    text = line(method, in_journal=True, event="reload failed", problem="one\ntwo")
    assert text == f"<{priority}>reload failed: one\n<{priority}>    two"


def test_a_traceback_has_no_values_of_variables() -> None:
    """They may be passwords."""
    password = "correct horse" + " battery"
    try:
        raise ValueError(len(password))
    except ValueError:
        text = line("error", event="session failed", exc_info=True)
    assert "session failed" in text
    assert "\n    ValueError: 21" in text
    assert "correct horse battery" not in text
