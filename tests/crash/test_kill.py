"""SIGKILL at any moment while clients are being answered: what was answered 250 is there afterwards, whole. Workers
die, the supervisor dies, everything dies at once, as at a power cut that the disk survives."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.crash.load import Clients, Harvest
from tests.support.server import Server

LONGEST_BEFORE_KILL: Final = 0.4
DELIVERED_WITHIN: Final = 60.0


def check(server: Server, clients: Clients) -> None:
    """What was answered is in the Maildir, and all that is there is whole."""
    harvest = Harvest(server)

    def delivered() -> bool:
        harvest.gather()
        return clients.answered.keys() <= harvest.serials.keys()

    try:
        server.wait_for(delivered, "all that was answered 250", DELIVERED_WITHIN)
    finally:
        missing = sorted(clients.answered.keys() - harvest.serials.keys())
        twice = sum(count - 1 for count in harvest.serials.values())
        print(
            f"{len(clients.answered)} answered 250, {clients.cut_off} cut off; {len(harvest.serials)} delivered, "
            f"{twice} of them again, {len(missing)} missing: {missing[:10]}"
        )
    assert clients.surprises == []
    assert not list(server.data.glob("spool/*/damaged/*"))
    assert not [event for event in server.events("alert") if "spool" in str(event["details"])]


def _wait_a_while() -> None:
    time.sleep(random.uniform(0.05, LONGEST_BEFORE_KILL))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, ("mx",), workers=2) as server:
        yield server


def test_workers_are_killed(server: Server) -> None:
    clients = Clients(server)
    with clients.sending():
        for _ in range(6):
            clients.wait_for_more(10)
            _wait_a_while()
            os.kill(random.choice(server.workers()), signal.SIGKILL)
        clients.wait_for_more(20)
        server.wait_for(lambda: len(server.workers()) == 2, "both workers are back")
    check(server, clients)
    assert clients.cut_off
    assert [event for event in server.events("alert") if "worker" in str(event["details"])], "a death on the record"


def test_the_supervisor_is_killed(server: Server) -> None:
    """Those below it end by themselves; nothing is left behind that would be in the way of the next start."""
    clients = Clients(server)
    with clients.sending():
        for _ in range(2):
            clients.wait_for_more(10)
            _wait_a_while()
            server.kill_supervisor()
            server.start()
        clients.wait_for_more(20)
    check(server, clients)
    assert clients.cut_off


def test_everything_is_killed_at_once(server: Server) -> None:
    clients = Clients(server)
    with clients.sending():
        for _ in range(4):
            clients.wait_for_more(10)
            _wait_a_while()
            server.kill()
            server.start()
        clients.wait_for_more(20)
    check(server, clients)
    assert clients.cut_off


def test_everything_is_killed_and_starts_with_fewer_workers(server: Server) -> None:
    """The spool of a worker that does not come back is adopted, with all that it holds."""
    clients = Clients(server)
    with clients.sending():
        clients.wait_for_more(60)
        _wait_a_while()
        server.kill()
    server.file.write_text(server.file.read_text().replace("workers = 2", "workers = 1"))
    server.start()
    check(server, clients)
