"""Processes: who dies is replaced, who hangs is ended, a reload cuts nobody off, the end is in order."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.net.echo_client import LOOPBACK, PATIENCE_SECONDS, Server, Talk, eventually, is_alive, serving


def test_every_worker_serves_and_sigterm_ends_all_of_them_with_status_0(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        pids = set(server.workers().values())
        assert len(pids) == 2
        assert eventually(lambda: {server.connect().who()[2] for _ in range(20)} == pids)
        leader = server.status()["leader"]
        server.process.send_signal(signal.SIGTERM)
        assert server.exit_status() == 0
        assert not [pid for pid in (*pids, leader) if is_alive(pid)]
        assert not (tmp_path / "supervisor.sock").exists()


def test_a_worker_that_is_killed_is_replaced_and_the_record_says_how_it_ended(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        victim = server.workers()["0"]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: server.workers()["0"] not in (0, victim) and len(server.workers()) == 2)
        told = eventually(server.told)
        assert told == [f"alert|worker replaced|worker 0 (process {victim}) was killed by signal 9 (SIGKILL)"]


def test_the_others_serve_while_one_hangs_and_the_hanging_one_is_killed_and_replaced(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        hanging = server.connect()
        _, number, pid = hanging.who()
        assert hanging.say("hang") == "hanging"  # from now on it takes no connection, not even one
        assert pid not in {server.connect().who()[2] for _ in range(5)}
        eventually(lambda: server.workers()[str(number)] not in (0, pid))
        assert not is_alive(pid)
        assert "hung for 4 seconds" in eventually(server.told)[0]
        assert "in _session" in server.said()  # the log shows where


def test_sigterm_for_one_worker_ends_it_in_order_and_another_takes_its_place(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        pid = server.workers()["1"]
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: server.workers()["1"] not in (0, pid))
        assert "ended with status 0" in eventually(server.told)[0]


def test_a_reload_cuts_no_connection_and_new_ones_meet_the_new_configuration(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        old = [server.connect() for _ in range(6)]
        assert {talk.who()[0] for talk in old} == {"one"}
        server.write(version="two")
        assert server.reload() == {"ok": True}
        assert eventually(lambda: server.connect().who()[0] == "two")
        assert {talk.who()[0] for talk in old} == {"one"}, "a connection from before the reload goes on undisturbed"
        former = server.status()["draining"]
        assert former
        server.forget()
        eventually(lambda: not server.status()["draining"])
        assert not is_alive(former[0])


def test_no_connection_is_refused_or_lost_while_generations_change(tmp_path: Path) -> None:
    lost: list[str] = []
    done = threading.Event()
    with serving(tmp_path) as server:
        host, _, port = server.status()["listeners"]["a"].rpartition(":")

        def call() -> None:
            while not done.is_set():
                try:
                    talk = Talk(socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS))
                    if not talk.say("who"):
                        lost.append("cut off")
                    talk.close()
                except OSError as error:
                    lost.append(str(error))

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        try:
            for version in ("two", "three", "four"):
                server.write(version=version)
                assert server.reload() == {"ok": True}
        finally:
            done.set()
            for caller in callers:
                caller.join()
    assert not lost


def test_workers_of_two_generations_never_have_the_same_number(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        old = [server.connect() for _ in range(8)]
        before = {talk.who()[1] for talk in old}
        server.reload()
        assert before.isdisjoint(int(number) for number in server.workers())


def test_a_configuration_that_does_not_load_is_told_and_all_goes_on_as_before(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        pids = server.workers()
        server.write(broken="settings.json:3: workers: -1 is too few; write 1 or more", version="two")
        assert server.reload() == {"ok": False, "error": "settings.json:3: workers: -1 is too few; write 1 or more"}
        assert server.workers() == pids
        assert server.connect().who()[0] == "one"
        assert eventually(server.told)[0].startswith("alert|reload failed|settings.json:3: workers: -1")
        server.write(broken="", version="three")
        server.process.send_signal(signal.SIGHUP)  # asks for the same, without an answer
        eventually(lambda: server.connect().who()[0] == "three")


def test_a_generation_whose_workers_cannot_start_changes_nothing_either(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.write(worker_fails=True)
        answer = server.reload()
        assert not answer["ok"]
        assert "has no luck" in answer["error"]
        assert server.connect().who()[0] == "one"


def test_what_prevents_the_start_is_told_and_the_status_is_1(tmp_path: Path) -> None:
    wrongs: list[dict[str, Any]] = [{"broken": "line 3: what is this?"}, {"worker_fails": True}]
    for number, wrong in enumerate(wrongs):
        folder = tmp_path / str(number)
        folder.mkdir()
        server = Server(folder, **wrong)
        assert server.exit_status() == 1
        assert ("what is this?" if number == 0 else "has no luck") in server.said()
        server.forget()


def test_a_server_that_is_still_starting_can_be_stopped(tmp_path: Path) -> None:
    server = Server(tmp_path, starts_in=600)
    eventually((tmp_path / "supervisor.sock").exists)
    server.process.send_signal(signal.SIGTERM)
    assert server.exit_status() == 0
    assert [line.rpartition("] ")[2].partition(":")[0] for line in server.said().splitlines()] == [
        "told to stop", "stopped",
    ]  # fmt: skip


def test_a_reload_binds_a_new_listener_and_closes_one_that_is_gone(tmp_path: Path) -> None:
    with serving(tmp_path, places={"a": f"{LOOPBACK}:0", "b": f"unix:{tmp_path}/b.sock"}) as server:
        assert (tmp_path / "b.sock").exists()
        server.write(places={"a": f"{LOOPBACK}:0", "c": f"{LOOPBACK}:0"})
        before = server.status()["listeners"]["a"]
        assert server.reload() == {"ok": True}
        assert server.connect("c").who()[0] == "one"
        assert server.status()["listeners"]["a"] == before
        assert "b" not in server.status()["listeners"]
        assert not (tmp_path / "b.sock").exists()
        started, reloaded = [line for line in server.said().splitlines() if "serving" in line]
        assert f"serving echo on {before}, unix:{tmp_path}/b.sock" in started
        assert f"serving echo on {before}, {server.status()['listeners']['c']} " in reloaded
        assert reloaded.rstrip().endswith("closed=b")
        assert server.reload() == {"ok": True}, "what a leader has bound is inherited by the next one"
        assert server.connect("c").who()[0] == "one"


def test_a_reload_that_cannot_bind_says_so_and_gives_back_what_it_could(tmp_path: Path) -> None:
    with serving(tmp_path) as server, socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        server.write(places={"a": f"{LOOPBACK}:0", "b": f"unix:{tmp_path}/b.sock", "c": f"{LOOPBACK}:{port}"})
        answer = server.reload()
        assert not answer["ok"]
        assert f"{LOOPBACK}:{port}: the address is in use" in answer["error"]
        assert not (tmp_path / "b.sock").exists()
        assert set(server.status()["listeners"]) == {"a"}


def test_an_address_that_this_server_itself_occupies_is_answered_with_the_advice_to_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        port = server.status()["listeners"]["a"].rpartition(":")[2]
        server.write(places={"everywhere": f"0.0.0.0:{port}"})
        answer = server.reload()
        assert f"this server itself listens on {LOOPBACK}:{port} until then: restart it" in answer["error"]


def test_a_leader_that_dies_takes_nobody_with_it(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.connect()
        before = talk.who()
        leader = server.status()["leader"]
        server.write(broken="not now")  # the file is being edited: no leader can start, and the workers go on
        os.kill(leader, signal.SIGKILL)
        eventually(lambda: "no leader yet" in server.said())
        assert server.connect().who()[0] == "one"
        server.write(broken="", version="two")
        eventually(lambda: server.connect().who()[0] == "two")
        assert talk.who() == before
        assert "the leader (process" in eventually(server.told)[0]


def test_a_leader_that_stands_still_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        leader = server.status()["leader"]
        os.kill(leader, signal.SIGSTOP)
        eventually(lambda: server.status()["leader"] != leader and server.is_up())
        assert not is_alive(leader)


def test_nobody_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        status = server.status()
        server.process.kill()
        eventually(lambda: not any(is_alive(pid) for pid in (status["leader"], *status["workers"].values())))


def test_a_session_is_ended_in_order_when_the_server_stops(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.connect()
        talk.who()
        server.process.send_signal(signal.SIGINT)
        assert talk.hear() == "bye"
        assert server.exit_status() == 0


def test_the_former_generation_ends_too_when_the_server_stops_after_a_reload(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.connect()
        _, _, pid = talk.who()
        server.reload()
        server.process.send_signal(signal.SIGTERM)
        assert talk.hear() == "bye"
        assert server.exit_status() == 0
        assert not is_alive(pid)


def test_a_second_signal_ends_at_once_what_would_not_end_by_itself(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.connect()
        _, _, pid = talk.who()
        os.kill(pid, signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not (tmp_path / "supervisor.sock").exists())
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.exit_status() == 0
        assert time.monotonic() - began < 2.5, "less than the limits of a drain"
        assert not is_alive(pid)


def test_a_worker_that_does_not_end_within_its_limit_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        pid = server.workers()["0"]
        os.kill(pid, signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        assert server.exit_status() == 0
        assert "did not end within its limit" in server.said()
        assert not is_alive(pid)


def test_systemd_hears_what_the_server_does(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_SECONDS)

        def next_that_is_no_watchdog() -> str:
            while (heard := systemd.recv(4096).decode()) == "WATCHDOG=1":
                pass
            return heard

        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with serving(tmp_path, environment) as server:
            assert next_that_is_no_watchdog() == "READY=1\nSTATUS=Serving"
            assert systemd.recv(4096) == b"WATCHDOG=1"
            server.reload()
            heard = next_that_is_no_watchdog().splitlines()
            assert heard[0] == "RELOADING=1"
            assert 0 < time.monotonic_ns() // 1000 - int(heard[1].removeprefix("MONOTONIC_USEC=")) < 60_000_000
            assert next_that_is_no_watchdog() == "READY=1\nSTATUS=Serving"
            server.process.send_signal(signal.SIGTERM)
            assert next_that_is_no_watchdog().startswith("STOPPING=1")


PASSING = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="smtp")
os.execv(sys.executable, [sys.executable, "-m", "tests.net.echo_server", "serve", sys.argv[2]])
"""


def test_a_socket_that_systemd_has_bound_is_served_and_a_stray_one_is_an_error(tmp_path: Path) -> None:
    for fits in (True, False):
        folder = tmp_path / str(fits)
        folder.mkdir()
        with socket.create_server((LOOPBACK, 0)) as passed:
            port = passed.getsockname()[1]
            server = Server(
                folder,
                command=(sys.executable, "-c", PASSING, str(passed.fileno()), str(folder)),
                pass_fds=(passed.fileno(),),
                places={"a": f"{LOOPBACK}:{port if fits else 0}"},
                version="passed",
            )
            if fits:
                eventually(server.is_up)
                assert server.connect().who()[0] == "passed"
                server.process.terminate()
                assert server.exit_status() == 0
            else:
                assert server.exit_status() == 1
                assert f"systemd passes a socket that listens on {LOOPBACK}:{port}" in server.said()
            server.forget()
