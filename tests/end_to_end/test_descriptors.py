"""A server that has few file descriptors: whoever comes when they are in use is told so, and who is there goes on."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.end_to_end.test_troubles import CONFIG, LARGE, connected, send, wait_for_trouble
from tests.support.server import HOST, Server, any_certificate

from gatepost.app.troubles import FILES

LIMIT = 200
KEPT = LIMIT // 10
SERVICES = ("mx", "submissions", "pop3")


def with_few_descriptors(words: Sequence[str]) -> list[str]:
    """Root may raise the limit again, unless that right is taken too."""
    without_right = ["setpriv", "--bounding-set=-sys_resource"] if os.geteuid() == 0 else []
    return [*without_right, "prlimit", f"--nofile={LIMIT}:{LIMIT}", *words]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, SERVICES, config=CONFIG, watched_by=with_few_descriptors) as running:
        yield running


def heard(sock: socket.socket) -> bytes:
    """The first words; b"" when there are none."""
    try:
        return sock.recv(1000)
    except ConnectionError:
        return b""


def crowd(server: Server) -> list[socket.socket]:
    """As many connections as are greeted."""
    greeted: list[socket.socket] = []
    while True:
        sock = server.connect()
        said = heard(sock)
        if not said.startswith(b"220 "):
            sock.close()
            assert said.startswith(b"421 4.3.2 Too many connections"), (len(greeted), said)
            return greeted
        greeted.append(sock)


def close(socks: list[socket.socket]) -> None:
    for sock in socks:
        sock.close()


def test_who_comes_when_descriptors_are_short_is_told_so_and_who_is_there_goes_on(server: Server) -> None:
    with connected(server) as client:
        assert send(client, "before") == 250
        server.wait_for_mail()
        standing = crowd(server)
        assert len(standing) > LIMIT // 3
        with server.connect("pop3") as sock:
            assert heard(sock).startswith(b"-ERR [SYS/TEMP] Too many connections")
        with any_certificate().wrap_socket(server.connect("submissions")) as sock:
            assert heard(sock).startswith(b"421 4.3.2 Too many connections")
        assert send(client, "large", LARGE * 9000) == 250, "above 256 KiB content needs a descriptor of its own"
        server.wait_for_mail(count=2)
        assert f"of {LIMIT} are open" in wait_for_trouble(server, FILES)
        close(standing)
        assert server.wait_for(lambda: greets(server), "there is room again")
    server.stop()
    shed: Counter[str] = Counter()
    for event in server.events("server"):
        if event["details"].get("what") == "load shed":
            shed.update(event["details"]["refused"])
    assert shed["file descriptors"] >= 3
    assert "Traceback" not in server.logged()


def greets(server: Server) -> bool:
    with server.connect() as sock:
        return heard(sock).startswith(b"220 ")


def test_of_many_that_come_at_once_each_is_greeted_or_told(server: Server) -> None:
    coming = [socket.socket() for _ in range(2 * LIMIT)]
    for sock in coming:
        sock.setblocking(False)
        sock.connect_ex((HOST, server.port("mx")))
    for sock in coming:
        sock.settimeout(20)
    said = Counter(heard(sock)[:3] for sock in coming)
    close(coming)
    assert set(said) == {b"220", b"421"}, said
    assert server.wait_for(lambda: greets(server), "there is room again")
