"""One worker watches: what detectors find is put on the record, and acted upon as far as their mode says."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.audit.detectors import day
from tests.audit.detectors.day import the_day
from tests.audit.parts import Ids, lines_of, writer
from tests.support.clock import HandClock
from tests.support.memory_standing import MemoryStanding

from gatepost.app import watching
from gatepost.app.watching import SEAT_FILE, Watching
from gatepost.audit.alerts import Alert, Courier
from gatepost.audit.detectors.engine import WANTED, Detectors
from gatepost.audit.event import Event
from gatepost.audit.settings import DetectorSettings, Guessing, Relaying
from gatepost.audit.watcher import RecordWatcher
from gatepost.audit.writer import AuditWriter
from gatepost.gate.bans import Bans
from gatepost.gate.holds import Holds
from gatepost.mail.network import NetworkSet
from gatepost.store.data_folder import DataFolder, prepare

NOBODY = NetworkSet()
LOOPBACK = NetworkSet(["127.0.0.0/8"])


class Scene:
    """A data folder with a record, and what acts on it."""

    def __init__(self, folder: Path, settings: DetectorSettings | None = None, trusted: NetworkSet = NOBODY) -> None:
        self.clock = HandClock(day.BEFORE)
        self.data: DataFolder = prepare(folder / "data")
        self.record: AuditWriter = writer(self.data.audit, self.clock)
        standing = MemoryStanding()
        ids = Ids()
        self.bans = Bans(standing, self.record, self.clock, ids, trusted)
        self.holds = Holds(standing, self.record, self.clock, ids)
        self.told: list[str] = []
        self.frozen: list[str] = []
        self.detectors = Detectors(settings or DetectorSettings(), LOOPBACK)
        self.watching = Watching(
            self.data,
            self.detectors,
            [Courier("mail", self._tell, 0.0)],
            self.record,
            self.bans,
            self.holds,
            self.clock,
            self._freeze,
        )
        self.reader = RecordWatcher(self.data.audit, WANTED, self.detectors.window_seconds, self.clock.at)

    async def _freeze(self, account: str) -> list[str]:
        self.frozen.append(account)
        return ["A-MESSAGE"]

    async def _tell(self, alerts: Sequence[Alert], more: int) -> str:
        self.told += [alert.what for alert in alerts]
        return ""

    def happens(self, happened: Iterator[tuple[float, Event]] | list[tuple[float, Event]]) -> None:
        """It is written, and looked at now and then."""
        asyncio.run(self._happens(list(happened)))

    async def _happens(self, happened: list[tuple[float, Event]]) -> None:
        look_at = day.BEFORE
        for at, event in happened:
            while at >= look_at:
                self.clock.at = look_at
                await self.watching.look(self.detectors, self.reader)
                look_at += 300
            self.clock.at = at
            self.record.record(event)
        self.clock.at = look_at
        for _ in range(2):  # our own alerts come back to us
            await self.watching.look(self.detectors, self.reader)
            self.clock.at += 60

    def events(self, kind: str) -> list[dict[str, Any]]:
        found = [event for file in sorted(self.data.audit.glob("*-*/*.jsonl")) for event in lines_of(file)]
        return [event for event in found if event["kind"] == kind]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.record.close()


def test_what_is_found_is_an_alert_and_bans_and_holds_name_it(scene: Scene) -> None:
    scene.happens(the_day(day.prober, day.stolen))
    alerts = {event["details"]["subject"]: event for event in scene.events("alert")}
    assert set(alerts) == {"198.51.100.210", day.USERS[9]}
    ban = next(event["details"] for event in scene.events("ban") if event["details"]["what"] == "laid")
    assert (ban["network"], ban["event"]) == ("198.51.100.210", alerts["198.51.100.210"]["id"])
    assert ban["reason"].startswith("relaying: wanted mail passed on")
    assert ban["until"] == pytest.approx(day.MIDNIGHT + 13 * 3600 + 3600, abs=600)
    hold = asyncio.run(scene.holds.find(day.USERS[9]))
    assert scene.frozen == [day.USERS[9]]
    assert hold is not None
    assert hold.event == alerts[day.USERS[9]]["id"]
    assert scene.told == ["relaying: 198.51.100.210", f"sending: {day.USERS[9]}"]
    told = [event["details"]["alerts"] for event in scene.events("server") if event["details"]["what"] == "alerts told"]
    assert told == [[alerts["198.51.100.210"]["id"]], [alerts[day.USERS[9]]["id"]]]


def test_in_shadow_it_tells_and_does_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, DetectorSettings(relaying=Relaying(mode="shadow")))
    scene.happens(the_day(day.prober))
    (alert,) = scene.events("alert")
    assert alert["details"]["mode"] == "shadow"
    assert scene.events("ban") == []
    scene.record.close()


def test_no_time_at_all_is_no_ban(tmp_path: Path) -> None:
    scene = Scene(tmp_path, DetectorSettings(guessing=Guessing(ban=0.0)))
    scene.happens(the_day(day.slow_spray))
    assert scene.events("alert")
    assert scene.events("ban") == []
    scene.record.close()


def test_who_must_not_be_banned_is_not(tmp_path: Path) -> None:
    scene = Scene(tmp_path, trusted=NetworkSet(["198.51.100.210/32"]))
    scene.happens(the_day(day.prober))
    assert [event["details"]["what"] for event in scene.events("ban")] == ["not laid"]
    scene.record.close()


def test_one_of_all_workers_watches_and_another_one_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SEAT_SECONDS", 0.01)

    async def main() -> None:
        began = asyncio.Event()

        async def look(*_: Any) -> None:
            began.set()

        monkeypatch.setattr(scene.watching, "look", look)
        with (scene.data.run / SEAT_FILE).open("w") as seat:
            fcntl.flock(seat, fcntl.LOCK_SH)  # so that a lock that is shared would be noticed
            task = asyncio.create_task(scene.watching.run())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(began.wait(), 0.2)
        await asyncio.wait_for(began.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with (scene.data.run / SEAT_FILE).open("w") as seat:
        fcntl.flock(seat, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back


def test_a_look_that_fails_is_made_again_from_the_beginning(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting twice what was read twice would make honest people suspects."""
    monkeypatch.setattr(watching, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.0)
    used: list[Detectors] = []

    async def main() -> None:
        async def look(detectors: Detectors, _: Any) -> None:
            used.append(detectors)
            if len(used) == 2:
                raise ValueError("a defect")
            if len(used) == 3:
                raise asyncio.CancelledError

        monkeypatch.setattr(scene.watching, "look", look)
        with pytest.raises(asyncio.CancelledError):
            await scene.watching.run()

    asyncio.run(main())
    assert used[0] is used[1]
    assert used[2] is not used[1]
