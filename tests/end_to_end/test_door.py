"""Who may start a session, at a server with two workers: bans, rates and tables are the same at each of them."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.server import HOST, Server

NOBODY_TRUSTED = "trusted = []\n"
ROUNDS = 12  # connections go to either worker


def greeting(server: Server, source: str) -> str:
    """What a peer with that address hears first; loopback has sixteen million of them."""
    with socket.create_connection((HOST, server.port("mx")), 10.0, source_address=(source, 0)) as sock:
        return sock.recv(512).decode()[:3]


def greetings(server: Server, source: str, times: int = ROUNDS) -> list[str]:
    return [greeting(server, source) for _ in range(times)]


def test_a_ban_holds_at_once_at_every_worker_and_after_a_restart_until_it_is_lifted(tmp_path: Path) -> None:
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED, workers=2) as server:
        assert set(greetings(server, "127.0.0.5")) == {"220"}
        server.command("ban", "add", "127.0.0.5", "--why", "test")
        server.command("ban", "add", "127.9.0.0/16", "--why", "a network, of a size that no ban had before")
        assert set(greetings(server, "127.0.0.5")) == {"554"}
        assert set(greetings(server, "127.9.1.1")) == {"554"}
        assert greeting(server, "127.0.0.6") == "220"
        server.stop()
        server.start()
        assert set(greetings(server, "127.0.0.5")) == {"554"}
        server.command("ban", "lift", "127.0.0.5")
        assert set(greetings(server, "127.0.0.5")) == {"220"}
        assert {event["details"]["what"] for event in server.events("ban")} == {"laid", "lifted"}


def test_a_ban_ends_the_sessions_that_are_there_at_every_worker(tmp_path: Path) -> None:
    def peers(service: str, source: str, count: int) -> list[socket.socket]:
        """All at once, so that one worker is too busy to take each of them."""
        where = HOST, server.port(service)
        socks = [socket.create_connection(where, 10.0, source_address=(source, 0)) for _ in range(count)]
        for sock in socks:
            sock.recv(512)
        return socks

    with Server(tmp_path, ("mx", "pop3"), top=NOBODY_TRUSTED, workers=2) as server:
        smtp, pop3 = peers("mx", "127.0.0.5", 2 * ROUNDS), peers("pop3", "127.0.0.5", ROUNDS)
        (neighbour,) = peers("mx", "127.0.0.6", 1)
        server.command("ban", "add", "127.0.0.5", "--why", "test")
        for sock, beginning in [*((one, b"421 4.7.0 ") for one in smtp), *((one, b"-ERR ") for one in pop3)]:
            with sock:
                assert sock.makefile("rb").read().startswith(beginning)  # it says nothing, and is told all the same
        with neighbour:
            neighbour.sendall(b"NOOP\r\n")
            assert neighbour.recv(512).startswith(b"250 ")
        ended = [event for event in server.events("smtp.session") if event["client"]["ip"] == "127.0.0.5"]
        workers = {event["worker"] for event in [*ended, *server.events("pop3.session")]}
        assert len(workers) == 2, workers
        assert all(event["verdicts"][-1]["check"] == "client.banned" for event in ended)


def test_the_rate_of_connections_is_exact_over_workers_and_outlives_a_restart(tmp_path: Path) -> None:
    config = '[policy."client.rate"]\nper_address = "15/1h"\nper_prefix = "10000/1h"\n'
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED, config=config, workers=2) as server:
        assert greetings(server, "127.0.0.5", 40).count("220") == 15
        server.stop()
        server.start()
        assert greetings(server, "127.0.0.5", 3) == ["421"] * 3
        assert greeting(server, "127.0.0.6") == "220"


def test_a_table_is_in_force_from_the_first_connection_on_and_read_again_when_it_changes(tmp_path: Path) -> None:
    table = tmp_path / "denied.cidr"
    table.write_text("127.0.0.5\n")
    config = '[policy."client.access"]\ndeny = ["file:denied.cidr"]\n'
    with Server(tmp_path, ("mx",), config=config, workers=2) as server:
        assert set(greetings(server, "127.0.0.5")) == {"554"}
        new = tmp_path / "new.cidr"
        new.write_text("127.0.0.6\nno entry\n")
        new.rename(table)
        server.wait_for(lambda: set(greetings(server, "127.0.0.6")) == {"554"}, "the new table is in force")
        server.wait_for(lambda: set(greetings(server, "127.0.0.5")) == {"220"}, "the old table is forgotten")
        alert = server.wait_for_event("alert")
        assert alert["details"]["problem"].startswith(f"{table}:2: 'no entry' is neither")
        refused = [event for event in server.events("smtp.session") if event["verdicts"][-1]["verdict"] == "reject"]
        assert refused[0]["verdicts"][0]["reason"] == f"denied by {table}"


def test_a_server_whose_table_is_gone_does_not_start(tmp_path: Path) -> None:
    table = tmp_path / "allowed.cidr"
    table.write_text(f"{HOST}\n")
    config = '[policy."client.access"]\nonly_listed = true\nallow = ["file:allowed.cidr"]\n'
    server = Server(tmp_path, ("mx",), config=config)
    with server:
        assert greeting(server, HOST) == "220"
        assert greeting(server, "127.0.0.9") == "554"
    table.unlink()
    assert "allowed.cidr cannot be read (No such file or directory)" in server.command("check", "config", status=1)
