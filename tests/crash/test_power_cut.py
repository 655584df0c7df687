"""The power goes while a real server works: at every moment, what it had answered 250 is on the disk, in the spool or
in the maildrop, whole; and a server that starts from there delivers it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.crash.load import Clients, Harvest, copy_of
from tests.support.power_cut import Disk, read_trace, with_strace
from tests.support.server import Server, event_id

from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

MESSAGES: Final = 24
RESTARTS: Final = 3


class Run:
    """A server that took MESSAGES messages, and what its disk saw. said: when each 250 was sent, with its entry."""

    def __init__(self, folder: Path) -> None:
        trace, before = folder / "trace" / "of", folder / "before"
        trace.parent.mkdir()
        server = Server(folder / "server", ("mx",), watched_by=lambda words: with_strace(words, trace))
        shutil.copytree(server.data, before)
        with server:
            clients = Clients(server, count=2)
            with clients.sending():
                clients.wait_for_more(MESSAGES)
            server.wait_for_mail(count=MESSAGES)
        self.disk = Disk(server.data, read_trace(trace), before)
        self.said = [(moment, event_id(text)) for moment, text in self.disk.moments(b"250 2.0.0 Message accepted")]

    def promised(self, moment: float) -> set[str]:
        return {entry for since, entry in self.said if since <= moment}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("power")
    yield Run(folder)
    shutil.rmtree(folder)


def on_the_disk(data: Path) -> set[str]:
    """The entries that are in a spool or in a maildrop, each read to its end."""
    reader = SqliteSpoolReader(data)
    waiting = {entry.id for entry in reader.list(limit=1000)}
    for entry in waiting:
        assert reader.content(entry)
    mails = [path.read_bytes() for path in data.glob("maildrops/*/*/new/*")]
    return waiting | {copy_of(mail).entry for mail in mails}


def test_at_every_moment_what_was_promised_is_on_the_disk(run: Run, tmp_path: Path) -> None:
    assert len(run.said) >= MESSAGES
    first = run.said[0][0]
    moments = [moment for moment, _ in run.said] + [moment for moment in run.disk.syncs if moment >= first]
    for number, moment in enumerate(moments):
        left = run.disk.after_the_cut(moment, tmp_path / str(number))
        assert run.promised(moment) <= on_the_disk(left)
        shutil.rmtree(left)
    print(f"{len(run.said)} messages answered 250, {len(moments)} moments of a power cut, nothing lost")


def deliver(server: Server, promised: set[str]) -> None:
    harvest = Harvest(server)

    def is_delivered() -> bool:
        harvest.gather()
        return promised <= harvest.entries.keys()

    server.wait_for(is_delivered, "all that was promised")


def test_a_server_that_starts_after_it_delivers_what_was_promised(run: Run, tmp_path: Path) -> None:
    moments = random.Random(5).sample([moment for moment, _ in run.said], RESTARTS)
    for number, moment in enumerate(moments):
        data = run.disk.after_the_cut(moment, tmp_path / f"data-{number}")
        (data / "standing" / "boot").write_text("another boot")
        with Server(tmp_path / str(number), ("mx",), data=data) as server:
            deliver(server, run.promised(moment))
            server.command("audit", "verify")
