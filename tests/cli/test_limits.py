"""What an account may still send, at the command line."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.cli.conftest import CONFIG, Command
from tests.conformance.spool import add

from gatepost.net.clock import SystemClock
from gatepost.spool.model import Hold
from gatepost.spool.settings import SpoolSettings
from gatepost.standing.port import Charge, Rate
from gatepost.store.data_folder import prepare
from gatepost.store.lmdb.standing import LmdbStanding
from gatepost.store.sqlite.spool import SqliteSpool

ADA = "account add ada@example.org --no-password"
HOUR = Rate(200, 3600.0)


def charge(folder: Path, *charges: Charge) -> None:
    store = LmdbStanding(folder / "data" / "standing")
    store.tally(charges, time.time())
    store.close()


def test_an_account_is_shown_with_what_is_left_and_when_it_refills(gatepost: Command, folder: Path) -> None:
    gatepost(*ADA.split())
    charge(folder, Charge("sent:account:ada@example.org:messages:3600", HOUR, 20))
    charge(folder, Charge("sent:account:ada@example.org:recipients:3600", Rate(500, 3600.0), 500))
    charge(folder, Charge("spare:account:ada@example.org:messages:3600", HOUR, 50))
    before = time.time()
    hour, day, recipients = gatepost("account", "show", "ada@example.org", "--json").json["limits"]
    assert (hour["limit"], hour["rate"], hour["allowed"], hour["left"]) == ("messages", "200/1h", 200, 180)
    assert (hour["attempts_left"], hour["next_at"]) == (150, None)
    assert abs(moment(hour["full_at"]) - before - 360) < 5
    assert (day["rate"], day["left"], day["full_at"]) == ("1000/1d", 1000, None)
    assert (recipients["left"], recipients["rate"]) == (0, "500/1h")
    assert abs(moment(recipients["next_at"]) - before - 7.2) < 5
    text = gatepost("account", "show", "ada@example.org").out
    assert "messages/1h:   180 of 200 left; all of them at 2" in text
    assert "messages/1d:   1000 of 1000 left\n" in text
    assert "recipients/1h: 0 of 500 left; more at 2" in text


def moment(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_looking_at_an_account_counts_nothing(gatepost: Command) -> None:
    gatepost(*ADA.split())
    for _ in range(3):
        limits = gatepost("account", "show", "ada@example.org", "--json").json["limits"]
        assert [limit["left"] for limit in limits] == [200, 1000, 500]


def test_limits_are_those_of_the_configuration(gatepost: Command, folder: Path) -> None:
    gatepost(*ADA.split())
    own = '[policy."sender.rate".accounts."Ada@example.org"]\nmessages = ["5/1m"]\noctets = ["20MB/1d"]\n'
    (folder / "gatepost.toml").write_text(f"{CONFIG}[limits.account]\nrecipients = []\n{own}")
    limits = gatepost("account", "show", "ada@example.org", "--json").json["limits"]
    assert [(limit["limit"], limit["rate"]) for limit in limits] == [("messages", "5/1m"), ("octets", "20 MB/1d")]
    assert "octets/1d:     20 MB of 20 MB left\n" in gatepost("account", "show", "ada@example.org").out
    (folder / "gatepost.toml").write_text(f'{CONFIG}[policy."sender.rate"]\nmode = "off"\n')
    assert gatepost("account", "show", "ada@example.org", "--json").json["limits"] == []


@pytest.mark.usefixtures("folder")
def test_an_account_is_shown_with_the_number_of_its_messages_that_are_held(gatepost: Command, folder: Path) -> None:
    gatepost(*ADA.split())

    async def fill() -> None:
        spool = SqliteSpool.open(prepare(folder / "data").root, "0", SpoolSettings(), SystemClock())
        await add(
            spool, "x@far.example", login="ada@example.org", held_by=Hold.CHECK, hold_reason="sender.rate: too many"
        )
        await add(
            spool, "x@far.example", login="bob@example.org", held_by=Hold.CHECK, hold_reason="sender.rate: too many"
        )
        await add(spool, "x@far.example", login="ada@example.org")
        await spool.close()

    asyncio.run(fill())
    assert gatepost("account", "show", "ada@example.org", "--json").json["held_messages"] == 1
    ran = gatepost("account", "show", "ada@example.org")
    assert "held messages: 1" in ran.out
    assert "gatepost queue release ID" in ran.err
    (held,) = gatepost("queue", "list", "--state", "held", "--json").json[:1]
    assert (held["held_by"], held["hold_reason"]) == ("check", "sender.rate: too many")
    assert gatepost("queue", "release", held["id"]).code == 0
    assert len(gatepost("queue", "list", "--state", "held", "--json").json) == 1
