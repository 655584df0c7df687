"""Peers that want the server's time, memory or descriptors, and an honest client of another address beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.overload.attackers import ONE_ADDRESS
from tests.overload.visitor import (
    NOBODY_TRUSTED,
    assert_unhurried,
    attack,
    open_files,
    resident_octets,
    visit,
)
from tests.support.server import Server

MIB = 1024 * 1024


def test_2000_connections_of_one_address_do_not_slow_another_one_down(tmp_path: Path, control: Server) -> None:
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED) as server:
        with attack("crowd", server, 2000) as seen:
            assert_unhurried(server, control)
        assert seen["connected"] >= 2000
        assert seen.get("220", 0) <= 120  # client.rate
        assert seen["421"] > 1000
        server.stop()  # what was counted goes on the record
        sessions = [event for event in server.events("smtp.session") if event["client"]["ip"] == ONE_ADDRESS]
        summed = sum(event["details"].get("sessions", 0) for event in sessions)
        assert summed >= seen["421"] - 100
        assert len(sessions) < 200, "a line for each refused connection"


def test_peers_that_send_an_octet_a_second_do_not_slow_others_down(tmp_path: Path, control: Server) -> None:
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED) as server:
        before = resident_octets(server)
        with attack("trickle", server, 500):
            assert_unhurried(server, control)
            held = resident_octets(server) - before
        assert held < 500 * 64 * 1024


@pytest.mark.parametrize("budget", ["enforce", "off"])
def test_peers_that_never_read_are_not_read_any_more(tmp_path: Path, control: Server, budget: str) -> None:
    # Without a budget a peer may ask for answers without end: only that it does not take them stops it.
    config = f'[domain."example.org"]\n[policy."command.budget"]\nmode = "{budget}"\n'
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED, config=config) as server:
        visit(server)
        files, before = open_files(server), resident_octets(server)
        with attack("deaf", server, 40) as seen:
            assert_unhurried(server, control)
            held = resident_octets(server) - before
            if budget == "enforce":  # who does not take its last words either is stuck, until it is cut off
                server.wait_for(lambda: open_files(server) <= files, "all of them are cut off")
        assert seen.get("cut off", 0) + seen.get("stuck", 0) == 40, seen
        assert budget == "enforce" or seen["stuck"] == 40, seen
        assert held < 40 * MIB


def test_10000_connections_opened_and_dropped_leave_nothing_behind(tmp_path: Path) -> None:
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED) as server:
        visit(server)
        files, before = open_files(server), resident_octets(server)
        with attack("burst", server, 10_000) as seen:
            assert visit(server) < 5.0
        assert seen["connected"] >= 10_000
        server.wait_for(lambda: open_files(server) <= files, "the descriptors are given back")
        assert resident_octets(server) - before < 64 * MIB
        server.wait_for(lambda: visit(server) < 0.1, "the server is quick again")


def test_floods_of_commands_do_not_slow_another_client_down(tmp_path: Path, control: Server) -> None:
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED) as server:
        before = resident_octets(server)
        with attack("flood", server, 20) as seen:
            assert_unhurried(server, control)
            held = resident_octets(server) - before
        assert seen["connected"] > 20
        assert held < 64 * MIB


def test_most_guesses_are_refused_before_a_password_is_hashed(tmp_path: Path, control: Server) -> None:
    with Server(tmp_path, ("submission", "mx"), top=NOBODY_TRUSTED) as server:
        with attack("guess", server, 30, "submission") as seen:
            server.wait_for_event("ban")  # the network was over its limit of names
            assert_unhurried(server, control)
        server.stop()
        hashed = [event for event in server.events("auth") if event["reply"].startswith("535")]
        assert 0 < len(hashed) <= 25, "auth.attempts allows 20 different names"
        assert seen["guesses"] > len(hashed)
        assert seen["421"] > 0
