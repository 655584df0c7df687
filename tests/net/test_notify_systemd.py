"""What systemd is told does not depend on how quickly it listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gatepost.net.notify_systemd import Notify


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(systemd: socket.socket) -> list[str]:
    """All that waits to be read."""
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(systemd.recv(4096).decode().partition("\n")[0])
    return found


def test_a_systemd_that_does_not_listen_holds_nobody_up_and_hears_the_rest_later(
    tmp_path: Path, systemd: socket.socket
) -> None:
    notify = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for _ in range(1000):  # more than any queue of datagrams holds
        notify.alive()
    notify.ready("Serving")
    notify.reloading()
    notify.ready("Serving")
    assert set(heard(systemd)) == {"WATCHDOG=1"}
    notify.alive()
    assert heard(systemd) == ["READY=1", "RELOADING=1", "READY=1", "WATCHDOG=1"]
    notify.alive()
    assert heard(systemd) == ["WATCHDOG=1"]


def test_whoever_has_no_systemd_or_one_that_is_gone_goes_on(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}):
        notify = Notify(environment)
        notify.ready("Serving")
        notify.alive()
        notify.stopping()
