"""A day of a mail server as events: what honest people do, and attacks to be planted among it.

The day before is there too, so that people have a home. Everything is made from a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.audit.parts import DAY, NOON

from gatepost.audit.event import Event, EventClient
from gatepost.policy.verdict import Evaluated

HOUR, MINUTE = 3600.0, 60.0
MIDNIGHT = NOON - DAY / 2
BEFORE = MIDNIGHT - DAY
USERS = [f"user{number:02}@example.org" for number in range(20)]
OFFICE = "203.0.113.10"

Happened = Iterator[tuple[float, Event]]


def login(at: float, ip: str, account: str) -> tuple[float, Event]:
    event = Event("auth", service="pop3", client=EventClient(ip, 4000), login=account, reply="+OK welcome",
                  details={"mechanism": "PLAIN"})  # fmt: skip
    return at, event


def failure(at: float, ip: str, tried: str) -> tuple[float, Event]:
    details = {"mechanism": "LOGIN", "tried": tried, "reason": "wrong password", "failures": 1}
    return at, Event("auth", service="submission", client=EventClient(ip, 4000), reply="535 5.7.8 no", details=details)


def sent(at: float, ip: str, account: str, *recipients: str) -> tuple[float, Event]:
    event = Event("smtp.message", service="submission", client=EventClient(ip, 4000), login=account, sender=account,
                  recipients=recipients or ("bob@far.example",), octets=2000, reply="250 2.0.0 kept",
                  verdicts=[Evaluated("relay", "enforce", "pass")])  # fmt: skip
    return at, event


def mail(at: float, ip: str, sender: str, known: Iterable[str] = (), **refused: Iterable[str]) -> tuple[float, Event]:
    """A stranger's message. refused: recipients by the check that refused them, its dot an underscore."""
    verdicts = [
        Evaluated(check.replace("_", "."), "enforce", "reject", "no", {"forward_path": whom})
        for check, paths in refused.items()
        for whom in paths
    ]
    event = Event("smtp.message", service="mx", client=EventClient(ip, 4000), sender=sender, recipients=tuple(known),
                  verdicts=verdicts, reply="250 2.0.0 kept" if known else "550 5.1.1 no")  # fmt: skip
    return at, event


# --- an honest day -------------------------------------------------------------------------------------------------


def honest(start: float, seed: int) -> Happened:
    chance = random.Random(seed)
    yield from _people(start, chance)
    yield from _mistakes(start, chance)
    yield from _strangers(start, chance)
    yield from _programs(start)


def home(account: str) -> str:
    return f"192.0.2.{100 + USERS.index(account)}"


def _people(start: float, chance: random.Random) -> Happened:
    for account in USERS:
        for turn in range(36):
            yield login(start + turn * 40 * MINUTE + chance.random() * MINUTE, home(account), account)
        for _ in range(12):
            yield sent(start + (8 + 10 * chance.random()) * HOUR, home(account), account)
    for number in range(100):  # an office behind one address, each of whom logs in several times
        for hour in (8, 12, 16):
            yield login(start + (hour + chance.random()) * HOUR, OFFICE, f"clerk{number:03}@example.org")
    for number in range(150):  # one letter each to 150 people, and a circular
        yield sent(start + 10 * HOUR + number * 20, home(USERS[2]), USERS[2], f"member{number}@far.example")
    yield sent(start + 11 * HOUR, home(USERS[3]), USERS[3], *(f"reader{number}@far.example" for number in range(300)))
    for number in range(15):  # on a journey
        yield sent(start + (9 + number / 2) * HOUR, "203.0.113.99", USERS[4])


def _mistakes(start: float, chance: random.Random) -> Happened:
    for number in range(30):  # in the office somebody mistypes a password now and then, and then gets in
        at = start + (7 + 2 * chance.random()) * HOUR
        yield failure(at, OFFICE, f"clerk{number:03}@example.org")
        yield login(at + 20, OFFICE, f"clerk{number:03}@example.org")
    for number in range(8):  # or gives up
        yield failure(start + (9 + 6 * chance.random()) * HOUR, OFFICE, f"gone{number}@example.org")
    for number in range(40):  # a web mail on this machine
        yield failure(start + (7 + 12 * chance.random()) * HOUR, "127.0.0.1", f"clerk{number:03}@example.org")
    for turn in range(72):  # a telephone with an old password, on the road
        yield failure(start + turn * 20 * MINUTE, f"198.51.100.{20 + turn // 12}", USERS[5])


def _strangers(start: float, chance: random.Random) -> Happened:
    for number in range(400):  # spam to names that never were, from everywhere
        ip = f"198.18.{number // 200}.{number % 200}"
        yield mail(start + chance.random() * DAY, ip, f"x{number}@spam.example", recipient_exists=["info@example.org"])
    for hour in range(24):  # a list with five lost subscribers among many
        lost = [f"lost{number}@example.org" for number in range(5)]
        yield mail(start + hour * HOUR, "192.0.2.50", "list@lists.example", USERS, recipient_exists=lost)
    for number in range(60):  # an old address book
        yield mail(start + number * 20 * MINUTE, "192.0.2.51", "shop@shop.example", USERS[:3],
                   recipient_exists=[f"customer{number}@example.org"])  # fmt: skip
    for number in range(40):  # mail for a domain whose MX record names us by mistake
        yield mail(start + number * 10 * MINUTE, "192.0.2.80", f"s{number}@big.example",
                   relay=[f"r{number}@astray.example"])  # fmt: skip


def _programs(start: float) -> Happened:
    for number in range(300):  # cron
        yield sent(start + number * 280, "", "root@mx.example.org", "ada@example.org")
    for number in range(12):  # a scanner that does not log in, in the office
        yield mail(
            start + (9 + number / 2) * HOUR, OFFICE, "scan@example.org", relay=[f"someone@far{number % 4}.example"]
        )


# --- attacks -------------------------------------------------------------------------------------------------------


def slow_spray(start: float) -> Happened:
    """One address tries a name every forty minutes."""
    for number in range(36):
        yield failure(start + number * 40 * MINUTE, "198.51.100.200", f"clerk{number:03}@example.org")


def stubborn(start: float) -> Happened:
    """One address, one account, eight times an hour."""
    for number in range(190):
        yield failure(start + number * 450, "198.51.100.201", USERS[7])


def botnet(start: float) -> Happened:
    """Sixty addresses, two guesses each, one of them right."""
    for number in range(60):
        for again in range(2):
            yield failure(start + 2 * HOUR + number * 3 * MINUTE + again, f"203.0.113.{120 + number}", USERS[8])
    yield login(start + 5.5 * HOUR, "203.0.113.150", USERS[8])


def stolen(start: float) -> Happened:
    """A password that somebody has: ninety messages in half an hour, from an address that was never seen."""
    for number in range(90):
        yield sent(start + 14 * HOUR + number * 20, "203.0.113.230", USERS[9], f"victim{number}@far.example")


def infected(start: float) -> Happened:
    """A machine at home that sends three hundred messages in an hour."""
    for number in range(300):
        yield sent(start + 15 * HOUR + number * 11, home(USERS[10]), USERS[10], f"victim{number}@far.example")


def shared_out(start: float) -> Happened:
    """A stolen password in many hands: a dozen addresses, two messages each."""
    for number in range(24):
        yield sent(start + 16 * HOUR + number * MINUTE, f"198.51.100.{60 + number // 2}", USERS[11])


def harvester(start: float) -> Happened:
    """Three names an hour, from changing addresses of one network."""
    for number in range(72):
        yield mail(start + number * 20 * MINUTE, f"2001:db8:bad:1::{number:x}", "",
                   recipient_exists=[f"name{number}@example.org"])  # fmt: skip


def prober(start: float) -> Happened:
    """What programs that look for open relays send."""
    for number in range(12):
        yield mail(start + 13 * HOUR + number, "198.51.100.210", f"test{number % 3}@probe{number % 2}.example",
                   relay=[f"check@drop{number % 4}.example"])  # fmt: skip


ATTACKS: list[Callable[[float], Happened]] = [
    slow_spray, stubborn, botnet, stolen, infected, shared_out, harvester, prober,
]  # fmt: skip


def the_day(*attacks: Callable[[float], Happened]) -> list[tuple[float, Event]]:
    """The day before and the day, with `attacks` on the latter, in the order of time."""
    happened: list[tuple[float, Any]] = [*honest(BEFORE, 1), *honest(MIDNIGHT, 2)]
    for attack in attacks:
        happened += attack(MIDNIGHT)
    return sorted(happened, key=lambda item: item[0])
