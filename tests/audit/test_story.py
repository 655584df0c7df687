"""The story of a message: all of it, nothing of others, and safe to read on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.audit.parts import DAY, NOON, writer
from tests.support.clock import HandClock

from gatepost.audit.event import Event, EventClient
from gatepost.audit.explain import explain
from gatepost.audit.story import story
from gatepost.audit.timeline import render_event, render_story, verdict_lines
from gatepost.mail.ids import make_id
from gatepost.policy.verdict import Evaluated

CLIENT = EventClient("192.0.2.7", 4711, tls="TLSv1.3", cipher="TLS_AES_128")
RELAY = Evaluated("relay", "enforce", "reject", "example.com is not ours", {"forward_path": "eve@example.com"})
SHADOW = Evaluated("helo.name", "shadow", "reject", "no such host")
PASSED = [Evaluated(name, "enforce", "pass") for name in ("message.size", "content.lines")]


def an_id(number: int, unix: float = NOON) -> str:
    return make_id(int(unix * 1000), number)


S, OTHER_S, M, OTHER_M, AUTH, CHILD, GRANDCHILD, ATTEMPT, NOTICE_OF_OTHER = (an_id(number) for number in range(1, 10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A session with a login and two messages, one of them to a list that expands into a list, delivered over two
    days by two workers; beside it a session that has nothing to do with it."""
    clock = HandClock(NOON)
    one, two = writer(tmp_path, clock, 0), writer(tmp_path, clock, 1)

    def put(record: Any, at: float, kind: Any, **fields: Any) -> None:
        clock.at = NOON + at
        record.record(Event(kind, **fields))

    session: dict[str, Any] = {"session": S, "service": "submission", "client": CLIENT, "login": "ada@example.org"}
    put(one, 1, "auth", id=AUTH, **session, reply="235 2.7.0 ok", details={"mechanism": "PLAIN"})
    put(
        one,
        2,
        "smtp.message",
        id=M,
        **session,
        sender="ada@example.org",
        recipients=("list@example.org",),
        octets=1234,
        verdicts=[*PASSED, SHADOW, RELAY],
        reply=f"250 2.0.0 Ok ({M})",
        took_ms=500,
        details={"refused": [{"recipient": "eve@example.com", "reply": "550 5.7.1 Relaying denied"}]},
    )
    put(one, 3, "smtp.message", id=OTHER_M, **session, sender="ada@example.org", recipients=("bob@example.org",))
    put(
        two,
        4,
        "delivery.attempt",
        message=M,
        recipients=("list@example.org",),
        details={
            "destination": "local",
            "made": [CHILD],
            "results": [{"recipient": "list@example.org", "verdict": "delivered", "reply": "250 2.0.0 expanded"}],
        },
    )
    put(
        two,
        4,
        "smtp.message",
        id=CHILD,
        message=M,
        service="delivery",
        sender="owner@example.org",
        recipients=("bob@example.org",),
        details={"why": "expansion", "from": M},
    )
    put(two, 5, "delivery.attempt", message=CHILD, details={"made": [GRANDCHILD]})
    put(two, 5, "smtp.message", id=GRANDCHILD, message=CHILD, service="delivery", details={"why": "notice"})
    put(one, 6, "delivery.attempt", message=OTHER_M, details={"made": [NOTICE_OF_OTHER]})
    put(one, 6, "smtp.message", id=NOTICE_OF_OTHER, message=OTHER_M, service="delivery")
    put(
        one,
        7,
        "smtp.session",
        id=S,
        **session,
        helo="client.example.net",
        took_ms=7000,
        dialogue=["C: EHLO client.example.net", "S: 250 mx.example.org"],
    )
    # A stranger says the ID, where whatever a peer says is recorded.
    put(one, 8, "smtp.session", id=OTHER_S, session=OTHER_S, helo=M, details={"message_id": M})
    put(one, DAY, "admin", details={"act": "queue retry", "entry": M, "by": "root"})
    put(
        two,
        DAY + 1,
        "delivery.attempt",
        id=ATTEMPT,
        message=M,
        took_ms=30,
        dialogue=["S: 220 mx.example.com", "C: EHLO mx.example.org"],
        details={
            "hop": "smtp://mx.example.com:25",
            "tls": {"version": "TLSv1.3", "cipher": "X", "verified": False},
            "tried": [{"hop": "smtp://mx1.example.com:25", "what": "no session", "reply": "451 4.4.1 refused"}],
            "results": [
                {
                    "recipient": "eve@example.com",
                    "verdict": "deferred",
                    "reply": "450 4.2.1 later",
                    "next": "2025-11-25T13:00:00Z",
                }
            ],
        },
    )
    one.close()
    two.close()
    return tmp_path  # fmt: skip


def told(folder: Path, event_id: str) -> list[tuple[str, str]]:
    """(kind, the ID that it is or is about) of each event, in the order told."""
    return [
        (event["kind"], event["message"] if event["kind"] == "delivery.attempt" else
         event.get("details", {}).get("entry") or event["id"])
        for event in story(folder, event_id)
    ]  # fmt: skip


MESSAGE = [
    ("smtp.session", S),
    ("auth", AUTH),
    ("smtp.message", M),
    ("delivery.attempt", M),
    ("smtp.message", CHILD),
    ("delivery.attempt", CHILD),
    ("smtp.message", GRANDCHILD),
    ("admin", M),
    ("delivery.attempt", M),
]


def test_a_message_is_told_from_connect_to_the_last_delivery_and_what_was_made_of_it(folder: Path) -> None:
    assert told(folder, M) == MESSAGE


def test_an_id_may_be_given_as_it_stands_in_the_reply(folder: Path) -> None:
    assert told(folder, f"({M.lower()})") == MESSAGE


def test_what_was_made_of_a_message_is_told_with_its_origin(folder: Path) -> None:
    assert told(folder, GRANDCHILD) == [
        ("smtp.session", S),
        ("auth", AUTH),
        ("smtp.message", M),
        ("smtp.message", CHILD),
        ("delivery.attempt", CHILD),
        ("smtp.message", GRANDCHILD),
    ]


def test_a_notice_is_told_with_a_message_that_is_days_older(tmp_path: Path) -> None:
    clock = HandClock(NOON)
    record = writer(tmp_path, clock)
    record.record(Event("smtp.message", id=M, session=S))
    record.record(Event("smtp.session", id=S, session=S))
    clock.at += 5 * DAY
    notice = an_id(1, clock.at)
    record.record(Event("smtp.message", id=notice, message=M, service="delivery"))
    record.close()
    assert told(tmp_path, notice) == [("smtp.message", M), ("smtp.session", S), ("smtp.message", notice)]


def test_a_session_is_told_with_its_logins_and_messages(folder: Path) -> None:
    assert told(folder, S) == [("smtp.session", S), ("auth", AUTH), ("smtp.message", M), ("smtp.message", OTHER_M)]


def test_a_login_is_told_with_its_session(folder: Path) -> None:
    assert told(folder, AUTH) == [("smtp.session", S), ("auth", AUTH)]


def test_an_attempt_is_told_with_its_message(folder: Path) -> None:
    assert told(folder, ATTEMPT) == MESSAGE


def test_a_message_whose_session_goes_on_is_told_without_it(tmp_path: Path) -> None:
    record = writer(tmp_path)
    record.record(Event("smtp.message", id=M, session=S))
    record.close()
    assert told(tmp_path, M) == [("smtp.message", M)]


def test_an_id_that_nothing_has_gives_nothing(folder: Path) -> None:
    assert story(folder, an_id(99)) == []
    assert story(folder, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ") == []  # from the year 10889


@pytest.mark.parametrize("text", ["", "01", "../../etc/passwd", "8" * 25 + "U", "x" * 100_000])
def test_what_is_no_id_is_a_mistake_with_a_reason(folder: Path, text: str) -> None:
    with pytest.raises(ValueError, match="is not an ID"):
        story(folder, text)


# --- as text -----------------------------------------------------------------------------------------------------


def test_the_timeline_says_who_what_why_and_what_happened_to_each_recipient(folder: Path) -> None:
    text = render_story(story(folder, M))
    for line in (
        "2025-11-24 (UTC)",
        f"12:00:00.000  192.0.2.7 port 4711 connected to submission of mx.example.org, worker 0: session {S}",
        "              said it is client.example.net, TLSv1.3 TLS_AES_128, logged in as ada@example.org, took 7000 ms",
        "              | C: EHLO client.example.net",
        "12:00:01.000  login of ada@example.org by PLAIN",
        f"12:00:01.500  message {M} from <ada@example.org> for <list@example.org>, 1234 octets, took 500 ms",
        "              would reject helo.name: no such host",
        "              reject    relay: example.com is not ours",
        "                        forward_path eve@example.com",
        "              pass      message.size, content.lines",
        "              refused   <eve@example.com>: 550 5.7.1 Relaying denied",
        f"              answered  250 2.0.0 Ok ({M})",
        "              delivered <list@example.org>: 250 2.0.0 expanded",
        f"              made      {CHILD}",
        f"12:00:04.000  a list was expanded: made of {M}: {CHILD}, from <owner@example.org> for <bob@example.org>",
        "2025-11-25 (UTC)",
        "12:00:00.000  admin: queue retry",
        f"12:00:00.970  delivery of {M} to smtp://mx.example.com:25, took 30 ms",
        "              tried     smtp://mx1.example.com:25: no session: 451 4.4.1 refused",
        "              deferred  <eve@example.com>: 450 4.2.1 later; next attempt 2025-11-25T13:00:00Z",
    ):
        assert line in text.splitlines(), text


def test_an_event_is_one_line(folder: Path) -> None:
    (message,) = [event for event in story(folder, S) if event["id"] == M]
    assert render_event(message) == (
        f"2025-11-24T12:00:02.000000Z  smtp.message  {M}  submission 192.0.2.7 ada@example.org"
        f"  from <ada@example.org> for <list@example.org>  relay: reject  250 2.0.0 Ok ({M})"
    )


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\r\n12:00:00.000  all is well", "\u202egnp.exe", "\x9b31m", "\u2028"])
def test_nothing_that_a_peer_said_moves_the_cursor(hostile: str) -> None:
    events: list[dict[str, Any]] = [
        {
            "kind": kind, "id": hostile, "time": "2025-11-24T12:00:00.000000Z", "helo": hostile, "login": hostile,
            "sender": hostile, "recipients": [hostile], "reply": hostile, "dialogue": [hostile],
            "client": {"ip": hostile, "ptr": hostile, "tls": hostile, "cipher": hostile},
            "verdicts": [{"check": hostile, "verdict": hostile, "reason": hostile, "facts": {hostile: [hostile]}}],
            "details": {"what": hostile, hostile: {hostile: hostile}, "results": [{"recipient": hostile}],
                        "refused": [{"reply": hostile}], "tried": [{"hop": hostile}], "made": [hostile]},
        }
        for kind in ("smtp.session", "smtp.message", "delivery.attempt", "auth", "alert", hostile)
    ]  # fmt: skip
    for text in (render_story(events), *map(render_event, events), *(explain(event).words for event in events)):
        assert all(line.isprintable() for line in text.split("\n"))
        assert "\n12:00:00.000  all is well" not in text


@pytest.mark.parametrize("value", [None, 7, "text", [], [None], {"a": 1}, [[1]]])
def test_an_event_of_another_version_is_shown_as_far_as_it_goes(value: Any) -> None:
    names = ("time", "client", "verdicts", "dialogue", "recipients", "details", "took_ms", "octets", "reply")
    for kind in ("smtp.session", "smtp.message", "delivery.attempt", "auth", "alert"):
        event = {"kind": kind, **dict.fromkeys(names, value)}
        assert render_story([event])
        assert render_event(event)
        explain(event)


# --- explained ---------------------------------------------------------------------------------------------------


def _message(**fields: Any) -> dict[str, Any]:
    return {
        "kind": "smtp.message", "id": M, "service": "mx", "client": {"ip": "192.0.2.7"}, "sender": "bob@example.net",
        "recipients": ["ada@example.org"], **fields,
    }  # fmt: skip


def _verdict(check: str, verdict: str, mode: str = "enforce", reason: str = "") -> dict[str, Any]:
    return {"check": check, "verdict": verdict, "mode": mode, "reason": reason}


def test_a_refusal_is_explained_by_the_check_that_decided_it() -> None:
    checks = [
        _verdict("message.size", "pass"),
        _verdict("relay", "reject", reason="one recipient is not ours"),
        _verdict("helo.name", "reject", "shadow", "no such host"),
        _verdict("content.framing", "reject", reason="a bare LF in line 3"),
    ]
    found = explain(_message(verdicts=checks, reply="550 5.6.0 no"))
    assert [each.check for each in found.checks if each.decided] == ["content.framing"]
    assert found.checks[1].summary == "mail for others leaves only for peers that may relay"
    assert found.words.startswith("192.0.2.7 on mx offered a message from <bob@example.net> for <ada@example.org>.")
    assert "said reject to a part of it: one recipient is not ours." in found.words
    assert "said reject: a bare LF in line 3." in found.words
    assert "helo.name, in shadow, would have said reject: no such host." in found.words
    assert found.words.endswith("The peer heard: 550 5.6.0 no")


def test_a_message_that_was_taken_was_not_decided_against() -> None:
    taken = explain(_message(verdicts=[_verdict("relay", "reject")], reply="250 2.0.0 ok"))
    assert not any(each.decided for each in taken.checks)
    kept = explain(_message(verdicts=[_verdict("x", "pass"), _verdict("scan", "quarantine")], reply="250 2.0.0 ok"))
    assert [each.check for each in kept.checks if each.decided] == ["scan"]
    passed = explain(_message(verdicts=[_verdict("relay", "pass")], reply="250 2.0.0 ok"))
    assert "1 checks ran, and none that is enforced decided against it." in passed.words


def test_what_a_check_has_found_is_told_though_it_let_it_pass() -> None:
    verdicts = [_verdict("relay", "pass"), _verdict("content.dkim", "pass", reason="pass example.net")]
    event = _message(verdicts=verdicts, reply="250 2.0.0 ok")
    assert "content.dkim found: pass example.net." in explain(event).words
    assert verdict_lines(event) == ["pass      content.dkim: pass example.net", "pass      relay"]


def test_a_check_that_this_version_does_not_have_is_explained_by_its_reason() -> None:
    found = explain(_message(verdicts=[_verdict("gone.check", "defer", reason="too fast")], reply="450 4.7.1 later"))
    assert found.checks[0].summary == ""
    assert "gone.check said defer: too fast." in found.words
