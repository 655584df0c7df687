"""The tables of the detectors: what was seen of one network or account, and what is found in it ("" for nothing)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from gatepost.audit.detectors import guessing, harvesting, relaying, sending
from gatepost.audit.detectors.engine import PATTERNS
from gatepost.audit.detectors.model import DAY, LOCAL, Finding, Seen
from gatepost.audit.detectors.observe import seen_in
from gatepost.audit.detectors.window import Window
from gatepost.audit.event import Event, EventClient
from gatepost.audit.lines import read_line
from gatepost.audit.settings import Guessing, Harvesting, Relaying, Sending
from gatepost.policy.verdict import Evaluated

HOUR = 3600.0
NOW = 100 * DAY
NET = "192.0.2.7"
ADA = "ada@example.org"


def fails(count: int, *, account: str = "", network: str = "", times: int = 1, at: float = NOW) -> list[Seen]:
    """`count` different ones: accounts of one network, or networks of one account."""
    return [
        Seen(
            at - number,
            "failure",
            network or f"198.51.100.{number}",
            account or f"name{number}@example.org",
            count=times,
        )
        for number in range(count)
    ]


def login(account: str = ADA, network: str = NET, *, at: float = NOW) -> Seen:
    return Seen(at, "login", network, account)


def logins(count: int, *, at: float) -> list[Seen]:
    return [login(f"user{number}@example.org", at=at) for number in range(count)]


def sends(messages: int, recipients: int = 1, *, network: str = NET, ago: float = 0.0) -> Seen:
    return Seen(NOW - ago, "sent", network, ADA, count=messages, recipients=messages * recipients)


def home(network: str = NET, days: float = 3.0) -> Seen:
    return Seen(NOW - days * DAY, "login", network, ADA, last=NOW)


def unknown(count: int, *, at: float = NOW) -> list[Seen]:
    return [Seen(at, "unknown", NET, whom=f"name{number}@example.org") for number in range(count)]


def relay(senders: int, domains: int, each: int = 1) -> list[Seen]:
    return [
        Seen(NOW, "relay", NET, whom=f"x{number}@far{domain}.example", sender=f"s{sender}@probe.example")
        for sender in range(senders) for domain in range(domains) for number in range(each)
    ]  # fmt: skip


BY_ADDRESS: list[tuple[list[Seen], str, tuple[str, ...]]] = [
    ([], "", ()),
    (fails(9, network=NET), "", ()),
    (fails(10, network=NET), "one address, many accounts", (NET,)),
    ([*fails(10, network=NET, at=NOW - 0.9 * DAY), login(at=NOW)], "", ()),  # one got in: one more must have failed
    ([*fails(11, network=NET), login(at=NOW - 2 * DAY)], "one address, many accounts", ()),  # users behind it: no ban
    ([*fails(10, network=NET, at=NOW - 1.1 * DAY), Seen(NOW, "known", NET)], "", ()),  # too long ago
    (fails(10, network=NET) + [login(f"name{number}@example.org") for number in range(10)], "", ()),  # typing errors
    (fails(40, network=NET) + logins(35, at=NOW - 2 * DAY), "", ()),  # an office: more must fail than get in
    (fails(1, network=NET, account=ADA, times=99), "", ()),
    (fails(1, network=NET, account=ADA, times=100), "one address, one account", (NET,)),
    ([*fails(1, network=NET, account=ADA, times=100), login()], "", ()),  # it got in: an old password in one device
    ([*fails(1, network=NET, account=ADA, times=100), login("bob@example.org")], "", ()),
]


@pytest.mark.parametrize(("seen", "pattern", "banned"), BY_ADDRESS)
def test_guesses_from_one_address(seen: list[Seen], pattern: str, banned: tuple[str, ...]) -> None:
    check(guessing.by_address(NET, seen, Guessing()), pattern, NET, banned)


AT_ACCOUNT: list[tuple[list[Seen], str, int]] = [
    (fails(19, account=ADA), "", 0),
    (fails(20, account=ADA), "many addresses, one account", 0),  # too few each to ban anybody
    (fails(20, account=ADA, times=3), "many addresses, one account", 20),
    ([*fails(20, account=ADA, times=3), login(network="198.51.100.3", at=NOW - DAY)], "", 0),  # that one is at home
    ([*fails(20, account=ADA, at=NOW - 1.5 * DAY), login()], "", 0),
]


@pytest.mark.parametrize(("seen", "pattern", "banned"), AT_ACCOUNT)
def test_guesses_at_one_account(seen: list[Seen], pattern: str, banned: int) -> None:
    finding = guessing.at_account(ADA, seen, Guessing())
    assert (finding.pattern if finding else "") == pattern
    assert len(finding.networks if finding else ()) == banned


GOT_IN: list[tuple[str, list[Seen], tuple[str, ...], tuple[str, ...]]] = [
    (NET, [*fails(10, network=NET, at=NOW - HOUR), login()], (NET,), (ADA,)),
    (NET, [*fails(9, network=NET, at=NOW - HOUR), login()], (), ()),
    (NET, fails(10, network=NET), (), ()),
    (
        NET,
        [*fails(10, network=NET, at=NOW - HOUR), login(), login("bob@example.org", at=NOW - DAY)],
        (),
        (),
    ),  # users there
    (NET, fails(10, network=NET, at=NOW - HOUR) + logins(6, at=NOW), (), ()),  # many get in: no guesser
    (ADA, [*fails(20, account=ADA, at=NOW - HOUR), login(network="198.51.100.3")], ("198.51.100.3",), (ADA,)),
    (ADA, [*fails(20, account=ADA, at=NOW - HOUR), login(network=NET)], (), ()),  # from where nobody guessed: the owner
    (ADA, [*fails(19, account=ADA, at=NOW - HOUR), login(network="198.51.100.3")], (), ()),
]


@pytest.mark.parametrize(("subject", "seen", "banned", "held"), GOT_IN)
def test_a_guess_that_was_right(subject: str, seen: list[Seen], banned: tuple[str, ...], held: tuple[str, ...]) -> None:
    detect = guessing.got_in_at if "@" in subject else guessing.got_in_from
    check(detect(subject, seen, Guessing()), "guessed password" if held else "", subject, banned, held)


HARVESTING: list[tuple[list[Seen], str, tuple[str, ...]]] = [
    (unknown(39), "", ()),
    (unknown(40), "unknown recipients", (NET,)),
    ([Seen(NOW, "unknown", NET, whom="lost@example.org", count=500)], "", ()),  # one lost subscriber, every hour
    ([*unknown(40), Seen(NOW, "known", NET, count=40)], "unknown recipients", (NET,)),
    ([*unknown(40), Seen(NOW, "known", NET, count=41)], "", ()),  # an old list of subscribers
    ([*unknown(40), Seen(NOW - 2 * DAY, "known", NET, count=500)], "unknown recipients", (NET,)),
    ([*unknown(40), login()], "unknown recipients", ()),
    ([*unknown(39, at=NOW - 2 * DAY), *unknown(39)], "", ()),
]


@pytest.mark.parametrize(("seen", "pattern", "banned"), HARVESTING)
def test_harvesting(seen: list[Seen], pattern: str, banned: tuple[str, ...]) -> None:
    check(harvesting.by_address(NET, seen, Harvesting()), pattern, NET, banned)


RELAYING: list[tuple[list[Seen], str, tuple[str, ...]]] = [
    (relay(2, 3), "foreign recipients", (NET,)),
    (relay(1, 10), "", ()),  # one sender: a program that did not log in
    (relay(20, 1, 5), "", ()),  # one domain: its MX record names us
    (relay(2, 2), "", ()),
    ([*relay(2, 3), login()], "foreign recipients", ()),
    (
        [Seen(NOW - 2 * DAY, each.deed, NET, whom=each.whom, sender=each.sender) for each in relay(2, 3)] + [login()],
        "",
        (),
    ),
]


@pytest.mark.parametrize(("seen", "pattern", "banned"), RELAYING)
def test_probing_for_a_relay(seen: list[Seen], pattern: str, banned: tuple[str, ...]) -> None:
    check(relaying.by_address(NET, seen, Relaying()), pattern, NET, banned)


SENDING: list[tuple[list[Seen], str, bool]] = [
    ([], "", False),
    ([sends(59)], "", False),
    ([sends(60)], "sudden rise", True),
    ([sends(30, ago=3000), sends(30)], "sudden rise", True),
    ([sends(30, ago=4000), sends(30)], "", False),  # not within one hour
    ([sends(1, 200)], "sudden rise", True),  # recipients count as much
    ([sends(60), sends(13, ago=DAY)], "", False),  # busy before too
    ([sends(60), sends(12, ago=DAY)], "sudden rise", True),  # not for over a day
    ([sends(180), sends(60, ago=8 * DAY)], "sudden rise", False),  # beyond the history, but it is no stranger
    ([sends(60), home()], "", False),  # at home more is let pass
    ([sends(180), home()], "sudden rise", False),
    ([sends(60), home("203.0.113.1")], "sudden rise", True),
    ([sends(60), home(days=0.5)], "sudden rise", True),  # known since today only
    ([sends(200, network=LOCAL)], "sudden rise", False),  # a program of this machine is never held
    ([sends(1, network=f"203.0.113.{number}") for number in range(9)], "", False),
    ([sends(1, network=f"203.0.113.{number}") for number in range(10)], "many addresses", True),
    ([*(sends(1, network=f"203.0.113.{number}") for number in range(10)), home("203.0.113.1")], "", False),
]


@pytest.mark.parametrize(("seen", "pattern", "held"), SENDING)
def test_a_sudden_rise_of_sending(seen: list[Seen], pattern: str, held: bool) -> None:
    check(sending.sudden_rise(ADA, seen, Sending()), pattern, ADA, (), (ADA,) if held else ())
    off = sending.sudden_rise(ADA, seen, Sending(action="alert"))
    assert off is None or off.accounts == ()


def check(
    finding: Finding | None, pattern: str, subject: str, banned: tuple[str, ...] = (), held: tuple[str, ...] = ()
) -> None:
    assert (finding.pattern if finding else "") == pattern
    if finding is not None:
        assert (finding.subject, finding.networks, finding.accounts) == (subject, banned, held)
        assert finding.reason
        assert finding.pattern in PATTERNS[finding.detector]


# --- what an event tells -------------------------------------------------------------------------------------------


def line_of(kind: Any, **fields: Any) -> list[tuple[str, str, str, int]]:
    event = Event(kind, id="01A", time="2026-11-24T10:00:00.000000Z", **fields)
    line = read_line(msgspec.json.encode(event))
    assert line is not None
    return [(seen.deed, seen.network, seen.account or seen.whom, seen.count) for seen in seen_in(line)]


CLIENT = EventClient("192.0.2.7", 4711)
SIX = EventClient("2001:db8::7", 4711)
REFUSED = {"mechanism": "PLAIN", "tried": ADA, "reason": "wrong password"}


def verdict(check: str, whom: Any, word: str = "reject", mode: str = "enforce") -> Evaluated:
    return Evaluated(check, mode, word, "", {"forward_path": whom})


def test_an_event_tells_what_was_done_and_by_whom() -> None:
    assert line_of("auth", client=CLIENT, details=REFUSED) == [("failure", "192.0.2.7", ADA, 1)]
    assert line_of("auth", client=SIX, login=ADA, details={"mechanism": "PLAIN"}) == [
        ("login", "2001:db8::/64", ADA, 1)
    ]
    assert line_of("auth", client=EventClient(""), login=ADA) == []  # the kernel says who a local program is
    message: dict[str, Any] = {"service": "mx", "client": CLIENT, "sender": "s@far.example"}
    assert line_of("smtp.message", **message, recipients=("a@x.example", "b@x.example")) == [
        ("known", "192.0.2.7", "", 2)
    ]
    refused = [verdict("recipient.exists", "N@example.org"), verdict("relay", "f@far.example")]
    assert [each[:3] for each in line_of("smtp.message", **message, verdicts=refused)] == [
        ("unknown", "192.0.2.7", "n@example.org"), ("relay", "192.0.2.7", "f@far.example"),
    ]  # fmt: skip
    passed = [
        verdict("recipient.exists", "n@example.org", "pass"),
        verdict("relay", ["odd"]),
        verdict("helo.name", "x"),
    ]
    assert line_of("smtp.message", **message, verdicts=passed) == []
    taken: dict[str, Any] = {"login": ADA, "recipients": ("a@x.example",), "reply": "250 2.0.0 kept"}
    assert line_of("smtp.message", client=CLIENT, **taken) == [("sent", "192.0.2.7", ADA, 1)]
    assert line_of("smtp.message", client=EventClient(""), **taken) == [("sent", LOCAL, ADA, 1)]
    assert line_of("smtp.message", client=CLIENT, **{**taken, "reply": "550 5.7.1 no"}) == []
    assert line_of("smtp.message", **{**taken, "service": "delivery"}) == []  # a copy for a list
    assert line_of("smtp.message", client=EventClient("no address"), verdicts=refused) == []


def test_a_window_merges_what_is_alike_and_stays_bounded() -> None:
    window = Window(DAY, max_items=10, max_all=25)
    for _ in range(1000):
        window.add(Seen(NOW, "failure", NET, ADA))
    ((_, merged), (_, _)) = window.touched()
    assert [each.count for each in merged] == [1000]
    for number in range(1000):
        window.add(Seen(NOW + number, "unknown", f"192.0.2.{number % 8}", whom=f"{number}"))
    assert sum(len(seen) for _, seen in window.touched()) <= 25
    assert list(window.touched()) == []


def test_what_is_too_old_makes_room_first() -> None:
    window = Window(DAY, max_items=10)
    names = [f"{number}" for number in range(8)]
    add(window, names[:5], NOW - 2 * DAY)
    add(window, names[5:], NOW)
    add(window, ["a", "b", "c", "d"], NOW)
    ((_, kept),) = window.touched()
    assert {each.whom for each in kept} == {*names[5:], "a", "b", "c", "d"}


def add(window: Window, names: Iterable[str], at: float) -> None:
    for name in names:
        window.add(Seen(at, "unknown", NET, whom=name))
