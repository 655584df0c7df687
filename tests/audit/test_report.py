"""The report: what is on the record is counted for those whom it concerns, and nothing in it can harm who reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.audit.parts import DAY, NOON, writer
from tests.support.clock import HandClock

from gatepost.audit import report as report_module
from gatepost.audit.event import Event, EventClient
from gatepost.audit.plots import drawing, sparkline
from gatepost.audit.report import PLOTTED, report
from gatepost.audit.report_html import render_html
from gatepost.audit.report_rows import Report
from gatepost.audit.report_text import render_text
from gatepost.policy.verdict import Evaluated

ADA = "ada@example.org"
HOME = EventClient("192.0.2.7", 40112)
ABUSER = EventClient("198.51.100.7", 51234)
SIX = EventClient("2001:db8::7", 51234)
EVIL = '<script>alert("1")</script>\x1b[2J'


def verdict(check: str, word: str, mode: str = "enforce", whom: str = "") -> Evaluated:
    return Evaluated(check, mode, word, "why", {"forward_path": whom} if whom else {})


def events() -> list[Event]:
    bad_login = {"mechanism": "PLAIN", "tried": ADA, "reason": "wrong password"}
    results = [
        {"recipient": "b@far.example", "verdict": "delivered"},
        {"recipient": "c@far.example", "verdict": "failed"},
    ]
    return [
        Event("auth", service="submission", client=HOME, login=ADA, reply="235 2.7.0 ok",
              details={"mechanism": "PLAIN"}),
        Event("smtp.message", service="submission", client=HOME, login=ADA, sender=ADA, octets=1000,
              recipients=("b@far.example", "c@far.example"), reply="250 2.0.0 kept",
              verdicts=[verdict("relay", "pass"), verdict("helo.name", "reject", "shadow")]),
        Event("delivery.attempt", login=ADA, sender=ADA, details={"results": results}),
        Event("smtp.message", service="delivery", login=ADA, sender="", recipients=(ADA,), details={"why": "notice"}),
        Event("smtp.session", service="submission", client=HOME, login=ADA),
        *(Event("auth", service="pop3", client=ABUSER, reply="-ERR", details=bad_login) for _ in range(3)),
        Event("smtp.message", service="mx", client=ABUSER, sender=EVIL, recipients=(ADA,), reply="250 2.0.0 kept",
              verdicts=[verdict("recipient.exists", "reject", whom="x@example.org"),
                        verdict("recipient.harvest", "slow"),
                        verdict("relay", "reject", whom="y@far.example")]),
        Event("smtp.message", service="mx", client=ABUSER, sender="", reply="451 4.7.1 no",
              verdicts=[verdict("sender.rate", "defer")]),
        Event("smtp.session", service="mx", client=ABUSER, verdicts=[verdict("client.rate", "defer")],
              details={"sessions": 500, "checks": {"client.rate": 400, "client.banned": 100}}),
        Event("pop3.session", service="pop3", client=SIX, details={"retrieved": 4, "removed": 1}),
        Event("alert", details={"what": EVIL, "problem": "look at it"}),
        Event("ban", details={"what": "laid", "network": "198.51.100.7", "reason": "guessing"}),
        Event("admin", details={"act": "account add", "by": "root", "account": ADA}),
        Event("server", details={"what": "worker started"}),
        Event("grant", login=ADA, client=HOME, details={"what": "made", "address": "192.0.2.7", "by": "pop3s"}),
        Event("grant", login=ADA, client=HOME, details={"what": "prolonged", "address": "192.0.2.7"}),
        *(Event("grant", login=ADA, client=HOME, details={"what": "used", "address": "192.0.2.7"}) for _ in range(2)),
        Event("grant", login="bob@example.org", client=HOME, details={"what": "made", "address": "192.0.2.7"}),
        Event("grant", client=ABUSER, details={"what": "not used", "address": "198.51.100.7", "accounts": [ADA]}),
    ]  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Report:
    """Of an hour before and an hour after noon, where an event happens every minute from noon on; one is older."""
    clock = HandClock(NOON - 2 * 3600)
    record = writer(tmp_path, clock)
    record.record(Event("smtp.session", service="mx", client=HOME))
    for number, event in enumerate(events()):
        clock.at = NOON + number * 60
        record.record(event)
    record.close()
    record.path.write_bytes(record.path.read_bytes() + b'{"kind":7}\n')
    found, _ = report(tmp_path, NOON - 3600, NOON + 3600)
    return found


def test_what_happened_is_counted_once(made: Report) -> None:
    assert (made.events, made.unread) == (22, 1)
    assert made.totals == {
        "sessions": 502, "messages": 2, "recipients": 3, "octets": 1000, "refusals": 503, "logins": 1,
        "failed logins": 3, "made here": 1, "recipients delivered": 1, "recipients failed": 1, "retrieved": 4,
        "removed": 1, "alerts": 1, "bans": 1, "acts": 1, "grants made": 2, "grants prolonged": 1, "grants used": 2,
        "grants not used": 1,
    }  # fmt: skip
    assert {name: sum(columns) for name, columns in made.plots.items()} == {name: made.totals[name] for name in PLOTTED}
    assert made.slot_seconds == 300.0
    first = next(at for at, number in enumerate(made.plots["messages"]) if number)
    assert first == 12  # an hour after the beginning


def rows(found: list[dict[str, Any]], key: str, *names: str) -> dict[str, tuple[Any, ...]]:
    return {row[key]: tuple(row[name] for name in names) for row in found}


def test_it_is_told_who_did_it(made: Report) -> None:
    assert rows(made.clients, "network", "sessions", "messages", "refusals", "logins", "failed_logins") == {
        "192.0.2.7": (1, 1, 0, 1, 0), "198.51.100.7": (500, 1, 503, 0, 3), "2001:db8::/64": (1, 0, 0, 0, 0),
    }  # fmt: skip
    assert list(rows(made.refused, "network")) == ["198.51.100.7"]
    assert rows(made.accounts, "account", "messages", "recipients", "octets", "logins", "networks") == {
        ADA: (1, 2, 1000, 1, 1)
    }
    assert rows(made.targets, "account", "failed_logins", "logins") == {ADA: (3, 1)}
    assert rows(made.guessers, "network", "count", "names", "others") == {"198.51.100.7": (3, 1, 0)}
    assert rows(made.harvesters, "network", "count", "names") == {"198.51.100.7": (1, 1)}
    assert rows(made.relays, "network", "count", "names") == {"198.51.100.7": (1, 1)}
    assert rows(made.checks, "check", "rejected", "deferred", "other", "shadow") == {
        "client.rate": (400, 0, 0, 0), "client.banned": (100, 0, 0, 0), "recipient.exists": (1, 0, 0, 0),
        "relay": (1, 0, 0, 0), "sender.rate": (0, 1, 0, 0), "helo.name": (0, 0, 0, 1),
        "recipient.harvest": (0, 0, 1, 0),
    }  # fmt: skip
    assert made.checks[0]["check"] == "client.rate"  # the busiest first
    # bob's program only reads mail
    assert rows(made.grants, "account", "network", "grants", "messages") == {ADA: ("192.0.2.7", 1, 2)}
    assert made.bans[0]["what"] == "laid 198.51.100.7: guessing"
    assert made.acts[0]["what"] == "root: account add ada@example.org"


class Page(HTMLParser):
    """What a browser would see: tags, and texts outside of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_runs_nothing_and_asks_nobody_for_anything(made: Report) -> None:
    made.limits = [{"account": EVIL, "limit": "messages 200/1h", "left": "3 of 200", "full_at": "2026"}]
    html = render_html(made, "mx.example.org")
    page = Page()
    page.feed(html)
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "a", "base", "form"}
    assert not {
        key for _, attributes in page.tags for key in attributes if key.startswith("on") or key in ("src", "href")
    }
    assert "url(" not in html
    assert "@import" not in html
    policy = dict(page.tags)["meta"]
    assert any(attributes.get("content", "") == "default-src 'none'; style-src 'unsafe-inline'"
               for name, attributes in page.tags if name == "meta"), policy  # fmt: skip
    assert any('<script>alert("1")</script>\\x1b[2J' in text for text in page.texts)
    assert "\x1b" not in html
    assert sum(name == "svg" for name, _ in page.tags) == len(made.plots) + len(made.accounts) + len(made.checks)


@pytest.mark.parametrize("render", [render_text, lambda made: render_html(made, "mx.example.org")])
def test_every_table_is_shown_where_there_is_something_to_show(made: Report, render: Callable[[Report], str]) -> None:
    shown = render(made)
    for title in ("Alerts", "Bans", "Clients", "Refused most", "Accounts", "Refusals by check",
                  "Failed logins, by client", "Failed logins, by account", "Unknown recipients, by client",
                  "Attempts to relay", "Acts of administrators"):  # fmt: skip
        assert title in shown
    assert "Still depend on POP-before-SMTP" in shown
    made.grants = []
    assert "Still depend on POP-before-SMTP" not in render(made)


def test_the_text_moves_no_cursor(made: Report) -> None:
    text = render_text(made)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert re.search(r"messages +2 +[ ▁▂▃▄▅▆▇█]+", text)
    assert "lines that could not be read 1" in text


@pytest.mark.parametrize(
    ("numbers", "line"),
    [([], ""), ([0, 0], ""), ([1], "█"), ([0, 1, 8, 4], " ▂█▅"), ([1000, 1], "█▂"), ([3, 0, 3], "█ █")],
)
def test_a_plot_of_characters(numbers: list[int], line: str) -> None:
    assert sparkline(numbers) == line


def test_a_drawing_has_a_column_for_each_number_that_is_something() -> None:
    drawn = drawing([0, 5, 10], "sessions over time", 100)
    assert drawn.count("M") == 2
    assert "M5,100v-50h4v50z" in drawn
    assert "M10,100v-100h4v100z" in drawn


def test_a_million_addresses_leave_room_for_those_that_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_PARTIES", 50)
    clock = HandClock(NOON)
    record = writer(tmp_path, clock)
    for number in range(400):
        clock.at += 1
        for client in (EventClient(f"198.18.{number // 200}.{number % 200}"), HOME):
            record.record(Event("smtp.session", service="mx", client=client))
    record.close()
    found, counting = report(tmp_path, NOON - DAY, NOON + DAY)
    assert found.clients[0]["network"] == "192.0.2.7"
    assert found.clients[0]["sessions"] == 400
    assert len(counting._clients.rows) <= 50
