"""Holds on accounts at the command line: laid, shown and ended, each on the record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.cli.test_accounts import acts
from tests.cli.test_bans import bans_recorded, events
from tests.support.clock import HandClock

from gatepost.mail.address import parse_mailbox
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.net.clock import SystemIds
from gatepost.spool.model import Hold, NewEntry
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool

ADA = "ada@example.org"


@pytest.fixture
def account(gatepost: Command, folder: Path) -> str:
    assert gatepost("account", "add", ADA, "--no-password").code == 0
    return ADA


def put_held(folder: Path, reason: str) -> str:
    """A message of ada's, frozen for `reason`, or waiting to be sent for none; its ID."""

    async def put() -> str:
        spool = SqliteSpool.open(folder / "data", "0", SpoolSettings(), HandClock(1_764_000_000.0))
        content = spool.new_content()
        content.write(b"Subject: x\r\n\r\nx\r\n")
        content.finish()
        entry_id = SystemIds().new()
        envelope = Envelope(reverse_path=parse_mailbox(ADA), recipients=(Recipient(parse_mailbox("b@far.example")),))
        await spool.add(
            NewEntry(entry_id, envelope, 1_764_000_000.0, b"", content.octets, ("far.example",), ADA, "203.0.113.66",
                     held_by=Hold.CHECK if reason else None, hold_reason=reason),
            content,
        )  # fmt: skip
        await spool.close()
        return entry_id

    return asyncio.run(put())


def test_an_account_is_held_shown_and_released_with_what_was_frozen(
    gatepost: Command, folder: Path, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "grace")
    assert "on_hold" not in gatepost("account", "show", ADA, "--json").json
    assert gatepost("account", "hold", ADA, "--why", "sends spam").code == 0
    shown = gatepost("account", "show", ADA, "--json").json["on_hold"]
    assert (shown["by"], shown["reason"], shown["event"]) == ("grace", "sends spam", None)
    assert "sends spam" in gatepost("account", "show", ADA).out

    mine = put_held(folder, f"sender.held: {ADA} is held by grace: sends spam")
    put_held(folder, "sender.rate: too much")
    ran = gatepost("account", "release", ADA, "--json")
    assert (ran.code, ran.json["messages"]) == (0, [mine])
    assert "on_hold" not in gatepost("account", "show", ADA, "--json").json
    assert [act["act"] for act in acts(folder)][-2:] == ["account hold", "account release"]
    assert [(ban["what"], ban["by"]) for ban in bans_recorded(folder)] == [
        ("account held", "grace"), ("account released", "grace"),
    ]  # fmt: skip


def test_what_an_account_has_in_the_queue_is_frozen_with_it_and_goes_on_with_it(
    gatepost: Command, folder: Path, account: str
) -> None:
    waiting, stays = put_held(folder, ""), put_held(folder, "")
    assert gatepost("queue", "hold", stays).code == 0
    ran = gatepost("account", "hold", ADA, "--why", "sends spam", "--json")
    assert ran.json["messages"] == [waiting]
    (shown,) = gatepost("queue", "show", waiting, "--json").json["recipients"]
    assert (shown["state"], shown["held_by"]) == ("held", "account")
    assert "its account is held" in gatepost("queue", "show", waiting).out
    recorded = [event["details"] for event in events(folder, "server") if "account" in event["details"]]
    assert recorded == [{"what": "queued messages held", "account": ADA, "messages": [waiting], "count": 1}]
    assert gatepost("account", "release", ADA, "--json").json["messages"] == [waiting]
    states = {row["id"]: row["waits"] for row in gatepost("queue", "list", "--json").json}
    assert states == {waiting: "1 due", stays: "1 held"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("release", ADA), 1, "is not held"),
        (("hold", "nobody@example.org", "--why", "x"), 1, "is no account"),
        (("hold", ADA, "--why", " "), 2, "the reason is empty"),
    ],
)
def test_a_refusal_says_what_to_do(
    gatepost: Command, account: str, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = gatepost("account", *words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_an_account_is_held_once(gatepost: Command, account: str) -> None:
    gatepost("account", "hold", ADA, "--why", "sends spam")
    assert "is held already" in gatepost("account", "hold", ADA, "--why", "again").err
