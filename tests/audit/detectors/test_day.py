"""A whole day on the record: every attack that was planted is found, and an honest day raises no alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tests.audit.detectors import day
from tests.audit.detectors.day import ATTACKS, USERS, Happened, the_day
from tests.audit.parts import DAY, writer
from tests.support.clock import HandClock

from gatepost.audit.detectors.engine import WANTED, Detectors, Ruling
from gatepost.audit.event import Event
from gatepost.audit.settings import DetectorSettings, Guessing
from gatepost.audit.watcher import RecordWatcher
from gatepost.mail.network import NetworkSet

LOOKS = 300.0  # seconds between two looks at the record; a live server looks much more often
TRUSTED = NetworkSet(["127.0.0.0/8", "::1/128"])


def watched(
    folder: Path, happened: Iterable[tuple[float, Event]], settings: DetectorSettings | None = None
) -> Iterator[Ruling]:
    """What is ruled while the events are written; the alerts go on the record as they do in a server."""
    clock = HandClock(day.BEFORE)
    record = writer(folder, clock)
    detectors = Detectors(settings or DetectorSettings(), TRUSTED)
    reader = RecordWatcher(folder, WANTED, detectors.window_seconds, clock.at)
    look_at = day.BEFORE
    for at, event in [*happened, (day.MIDNIGHT + DAY, Event("server"))]:
        while at >= look_at:
            detectors.take(reader.news())
            for ruling in detectors.rulings():
                record.record(ruling.event())
                yield ruling
            look_at += LOOKS
        clock.at = at
        record.record(event)
    record.close()


def found(rulings: Iterable[Ruling]) -> set[tuple[str, str]]:
    return {(ruling.finding.pattern, ruling.finding.subject) for ruling in rulings}


EXPECTED: dict[Callable[[float], Happened], tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    day.slow_spray: ("one address, many accounts", "198.51.100.200", ("198.51.100.200",), ()),
    day.stubborn: ("one address, one account", "198.51.100.201", ("198.51.100.201",), ()),
    day.botnet: ("many addresses, one account", USERS[8], (), ()),
    day.stolen: ("sudden rise", USERS[9], (), (USERS[9],)),
    day.infected: ("sudden rise", USERS[10], (), ()),
    day.shared_out: ("many addresses", USERS[11], (), (USERS[11],)),
    day.harvester: ("unknown recipients", "2001:db8:bad:1::/64", ("2001:db8:bad:1::/64",), ()),
    day.prober: ("foreign recipients", "198.51.100.210", ("198.51.100.210",), ()),
}
"""By attack: how it is noticed, of whom, who is banned, and which accounts are held (at the end)."""


def test_an_honest_day_raises_no_alarm(tmp_path: Path) -> None:
    assert found(watched(tmp_path, the_day())) == set()


def test_every_attack_of_a_day_is_found_and_nobody_else_is_blamed(tmp_path: Path) -> None:
    rulings = list(watched(tmp_path, the_day(*ATTACKS)))
    assert set(EXPECTED) == set(ATTACKS)
    guessed = ("guessed password", USERS[8])
    assert found(rulings) == {(pattern, subject) for pattern, subject, _, _ in EXPECTED.values()} | {guessed}
    for pattern, subject, networks, accounts in EXPECTED.values():
        mine = [each.finding for each in rulings if (each.finding.pattern, each.finding.subject) == (pattern, subject)]
        assert set(networks) == {network for each in mine for network in each.networks}
        assert set(accounts) == {account for each in mine for account in each.accounts}
        assert all(each.events for each in mine)


def test_a_guess_that_was_right_holds_the_account_before_it_sends(tmp_path: Path) -> None:
    ruling = next(each for each in watched(tmp_path, the_day(day.botnet)) if each.finding.accounts)
    assert ruling.finding.pattern == "guessed password"
    assert (ruling.finding.networks, ruling.finding.accounts) == (("203.0.113.150",), (USERS[8],))


def test_what_goes_on_after_a_ban_is_found_again_and_banned_for_longer(tmp_path: Path) -> None:
    def patient(start: float) -> Happened:
        for turn in range(100):
            yield day.failure(start + turn * 10 * 60, "198.51.100.220", f"name{turn}@example.org")

    bans = [ruling.ban for ruling in watched(tmp_path, the_day(patient))]
    assert 3 <= len(bans) <= 10  # ten new names each time
    assert bans[:3] == [3600.0, 7200.0, 14400.0]


def test_what_goes_on_is_not_told_again_and_again(tmp_path: Path) -> None:
    def hasty(start: float) -> Happened:
        for turn in range(600):
            yield day.failure(start + turn * 3, "198.51.100.220", f"name{turn}@example.org")

    assert len(list(watched(tmp_path, the_day(hasty)))) == 1


def test_a_restart_repeats_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    """The second process has nothing but the record."""
    rulings = list(watched(tmp_path, the_day(day.harvester, day.prober)))
    assert rulings
    again = Detectors(DetectorSettings(), TRUSTED)
    now = day.MIDNIGHT + DAY
    for lines in RecordWatcher(tmp_path, WANTED, again.window_seconds, now).past():
        again.take(lines)
    assert found(again.rulings()) == set()
    forgetful = Detectors(DetectorSettings(), TRUSTED)  # without the alerts, that is: as if nobody had looked
    for lines in RecordWatcher(tmp_path, WANTED, again.window_seconds, now).past():
        forgetful.take(line for line in lines if line.kind != "alert")
    assert ("unknown recipients", "2001:db8:bad:1::/64") in found(forgetful.rulings())


@pytest.mark.parametrize(
    ("mode", "tells", "bans"), [("enforce", True, True), ("shadow", True, False), ("off", False, False)]
)
def test_a_detector_acts_tells_or_does_not_look(tmp_path: Path, mode: str, tells: bool, bans: bool) -> None:
    settings = DetectorSettings(guessing=Guessing(mode=mode))  # type: ignore[arg-type]
    rulings = list(watched(tmp_path, the_day(day.slow_spray), settings))
    assert bool(rulings) == tells
    assert any("ban" in each.event().details for each in rulings) == bans
