"""Troubles: an alert when one begins, nothing while it goes on, an event when it is over."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.clock import HandClock

from gatepost.app.troubles import CLOCK, DNS, DO, FILES, OVER, ROOM, SPOOL, UNANSWERED, Troubles
from gatepost.audit.event import RecordError

NOW = 1_795_000_000.0


class Resolver:
    unanswered = 0


class WallAndTicks(HandClock):
    """A clock that can be set, beside a time that only grows."""

    def __init__(self, at: float) -> None:
        super().__init__(at)
        self.ticks = 1000.0

    def monotonic(self) -> float:
        return self.ticks

    def passes(self, seconds: float) -> None:
        self.at += seconds
        self.ticks += seconds


class Scene:
    """What was recorded, in short: "! what" for an alert, "- what" for its end."""

    def __init__(self, folder: Path, free_limit: int = 0) -> None:
        self.clock = WallAndTicks(NOW)
        self.resolver = Resolver()
        self.told: list[str] = []
        self.details: list[dict[str, Any]] = []
        self.is_broken = False
        self.troubles = Troubles(folder, free_limit, self.resolver, self.clock, self._record)

    def _record(self, kind: str, details: dict[str, Any]) -> None:
        if self.is_broken:
            raise RecordError("the disk is full")
        self.details.append(details)
        self.told.append(f"! {details['what']}" if kind == "alert" else f"- {details['trouble']}")
        assert kind == "alert" or details["what"] == OVER


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_all_is_well(scene: Scene) -> None:
    await scene.troubles.look()
    assert scene.told == []
    assert scene.troubles.problems == ()


async def test_a_message_that_could_not_be_kept_is_a_trouble_for_a_minute(scene: Scene) -> None:
    for _ in range(3):
        scene.troubles.message_not_kept("spool.db: disk I/O error")
        await scene.troubles.look()
    assert scene.told == [f"! {SPOOL}"]
    assert scene.details[0]["problem"] == "spool.db: disk I/O error"
    assert scene.troubles.problems == (f"{SPOOL}: spool.db: disk I/O error",)
    scene.clock.passes(61)
    await scene.troubles.look()
    assert scene.told == [f"! {SPOOL}", f"- {SPOOL}"]
    assert scene.troubles.problems == ()


async def test_little_room_is_told_with_what_to_do(tmp_path: Path) -> None:
    scene = Scene(tmp_path, free_limit=1 << 60)
    await scene.troubles.look()
    await scene.troubles.look()
    assert scene.told == [f"! {ROOM}"]
    assert scene.details[0]["do"] == DO[ROOM]
    assert str(tmp_path) in scene.details[0]["problem"]


async def test_one_answer_ends_the_trouble_with_the_dns(scene: Scene) -> None:
    scene.resolver.unanswered = UNANSWERED - 1
    await scene.troubles.look()
    assert scene.told == []
    scene.resolver.unanswered = UNANSWERED
    await scene.troubles.look()
    scene.resolver.unanswered = 0
    await scene.troubles.look()
    assert scene.told == [f"! {DNS}", f"- {DNS}"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3600.0, "back by 3600 seconds"), (86400.0, "forward by 86400 seconds")]
)
async def test_a_clock_that_is_set_is_told_once(scene: Scene, seconds: float, words: str) -> None:
    scene.clock.passes(10)
    await scene.troubles.look()
    scene.clock.at += seconds
    await scene.troubles.look()
    await scene.troubles.look()
    assert scene.told == [f"! {CLOCK}"]
    assert words in scene.details[0]["problem"]


async def test_what_cannot_be_recorded_is_told_later(scene: Scene) -> None:
    scene.resolver.unanswered = UNANSWERED
    scene.is_broken = True
    await scene.troubles.look()
    scene.is_broken = False
    await scene.troubles.look()
    assert scene.told == [f"! {DNS}"]


@contextmanager
def few_files() -> Iterator[None]:
    """One more file may be opened. Not a fixture: the loop, which needs some, is made after those."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_files_that_run_out_are_told_before_and_when_none_is_left(scene: Scene) -> None:
    with few_files():
        await scene.troubles.look()
        held = []
        with suppress(OSError):  # there is one at most
            held += [os.open("/dev/null", os.O_RDONLY)]
            held += [os.open("/dev/null", os.O_RDONLY)]
        await scene.troubles.look()
        for descriptor in held:
            os.close(descriptor)
    assert scene.told == [f"! {FILES}"]
    assert " are open" in scene.details[0]["problem"]
