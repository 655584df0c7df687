"""The clock of the machine is set by a day while a real server runs (libfaketime does it, the time that only grows goes
on as it is): waiting mail is not given up for it, and the record keeps its order."""

from __future__ import annotations

import os
import re
import smtplib
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.programs import program
from tests.support.server import ADA, HOST, Server
from tests.support.sink import Sink

from gatepost.app.troubles import CLOCK

DAY = 86400
AWAY = "dave@far.example"
LOOKS = 40.0  # seconds within which troubles are looked for


class Faked:
    """A clock that is ahead of the machine's by as much as is set."""

    def __init__(self, folder: Path) -> None:
        libraries = list(program("faketime").parents[1].glob("lib/*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            pytest.skip("libfaketime is not beside its program")
        self._file = folder / "ahead"
        self._library = libraries[0]
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        os.replace(new, self._file)  # it is read at any moment


def submit(server: Server, to: str, subject: str) -> None:
    with smtplib.SMTP(HOST, server.port("mx"), "client.example.net", timeout=30) as client:
        text = f"From: {ADA}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nhello\r\n"
        assert client.sendmail(ADA, [to], text) == {}


def attempts(server: Server) -> int:
    return sum(event["recipients"] == [AWAY] for event in server.events("delivery.attempt"))


def clock_alerts(server: Server) -> list[str]:
    return [each["details"]["problem"] for each in server.events("alert") if each["details"]["what"] == CLOCK]


def test_a_clock_that_is_set_by_a_day_gives_no_mail_up_and_leaves_the_record_in_order(tmp_path: Path) -> None:
    clock = Faked(tmp_path)
    with Sink(others="451 4.3.0 Not now") as hop:
        config = (
            '[domain."example.org"]\n[relay]\nnetworks = ["127.0.0.0/8"]\n[delivery]\nlifetime = "12h"\n'
            f'delay_notice = "11h"\n[route."far.example"]\nto = "smtp://{hop.address}"\n'
        )
        with Server(tmp_path / "server", ("mx",), config=config, environment=clock.environment) as server:
            submit(server, AWAY, "waits")
            server.wait_for(lambda: attempts(server) == 1, "it is deferred")
            clock.set(DAY)
            submit(server, ADA, "a day ahead")
            server.wait_for_subject("a day ahead")  # and what waits is looked at again
            server.wait_for(lambda: attempts(server) == 2, "the next attempt is due by the new clock")
            server.wait_for(lambda: clock_alerts(server), CLOCK, LOOKS)
            waiting = server.command("queue", "list", "--json")
            assert AWAY in waiting
            assert "deferred" in waiting, "not given up, though it seems to be older than its lifetime"
            clock.set(0)
            submit(server, ADA, "back")
            server.wait_for_subject("back")
            server.wait_for(lambda: len(clock_alerts(server)) == 2, CLOCK, LOOKS)
            first, second = clock_alerts(server)
            assert re.search(r"forward by 86(39|40)\d seconds", first)
            assert re.search(r"back by 86(39|40)\d seconds", second)
            server.command("queue", "retry", "--all")
            server.wait_for(lambda: attempts(server) == 3, "it is tried at once when somebody asks for it")
            assert [mail for mail in server.mail() if b"Return-Path: <>" in mail and b"waits" in mail] == []
            assert len(server.mail()) < 10, "an alert each, no more"
            assert attempts(server) == 3, "nothing was tried over and over"
            server.command("audit", "verify")
