"""Grants at the command line: listed, revoked, refused; each end on the record."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.conftest import CONFIG, Command
from tests.cli.test_accounts import acts

from gatepost.standing.grants import Grant, Held
from gatepost.store.data_folder import prepare
from gatepost.store.lmdb.standing import LmdbStanding

ADA, BOB = "ada@example.org", "bob@example.org"
ENABLED = '[relay.pop_before_smtp]\nenabled = true\nnetworks = ["192.0.2.0/24"]\n'
HOME, LAN = "192.0.2.7", "2001:db8:0:1::/64"


def grant(account: str, seconds: float = 1000.0, **more: Any) -> Grant:
    now = time.time()
    return Grant(account, f"01ARZ3NDEKTSV4RRFFQ69G5{account[:3].upper()}", now - 60, now + seconds, "pop3s", **more)


@pytest.fixture(autouse=True)
def kept(folder: Path) -> None:
    """ada and bob at one address, ada in a /64, and one that is over."""
    (folder / "gatepost.toml").write_text(CONFIG + ENABLED)
    standing = LmdbStanding(prepare(folder / "data").standing)
    for address, grants in ((HOME, (grant(ADA), grant(BOB, credential="printer"))), (LAN, (grant(ADA),)),
                            ("192.0.2.9", (grant(BOB, -1.0),))):  # fmt: skip
        asyncio.run(standing.remember("grant", address, msgspec.json.encode(Held(grants)), time.time() + 9999))
    standing.close()


def ends_recorded(folder: Path) -> list[dict[str, Any]]:
    files = (folder / "data" / "audit").glob("*-*-*/*.jsonl")
    events = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted(
        ({"login": event["login"], **event["details"]} for event in events if event["kind"] == "grant"), key=str
    )


def listed(gatepost: Command) -> list[tuple[str, str]]:
    return [(each["address"], each["account"]) for each in gatepost("grant", "list", "--json").json]


def test_those_that_count_are_listed(gatepost: Command) -> None:
    assert sorted(listed(gatepost)) == [(HOME, ADA), (HOME, BOB), (LAN, ADA)]
    found = {each["account"]: each for each in gatepost("grant", "list", "--json").json if each["address"] == HOME}
    assert found[BOB]["app_password"] == "printer"
    assert found[ADA]["app_password"] is None
    assert found[ADA]["event"].endswith("ADA")
    text = gatepost("grant", "list").out
    assert HOME in text
    assert "pop3s" in text


@pytest.mark.parametrize(
    ("which", "ended", "left"),
    [
        (ADA, [(HOME, ADA), (LAN, ADA)], [(HOME, BOB)]),
        ("Ada@Example.ORG", [(HOME, ADA), (LAN, ADA)], [(HOME, BOB)]),
        (HOME, [(HOME, ADA), (HOME, BOB)], [(LAN, ADA)]),
        ("2001:db8:0:1::99", [(LAN, ADA)], [(HOME, ADA), (HOME, BOB)]),
        (LAN, [(LAN, ADA)], [(HOME, ADA), (HOME, BOB)]),
    ],
)
def test_all_of_an_account_or_all_at_an_address_are_revoked(
    gatepost: Command,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    ended: list[tuple[str, str]],
    left: list[tuple[str, str]],
) -> None:
    monkeypatch.setenv("SUDO_USER", "grace")
    ran = gatepost("grant", "revoke", which, "--json")
    assert ran.code == 0
    assert sorted((each["address"], each["account"]) for each in ran.json["grants"]) == ended
    assert sorted(listed(gatepost)) == left
    (act,) = acts(folder)
    assert (act["act"], act["by"]) == ("grant revoke", "grace")
    events = ends_recorded(folder)
    assert sorted((event["address"], event["login"]) for event in events) == ended
    assert {(event["what"], event["why"], event["by"]) for event in events} == {("ended", "revoked", "grace")}


def test_the_text_says_what_ended(gatepost: Command) -> None:
    assert gatepost("grant", "revoke", BOB).out == f"Ended: {BOB} at {HOME}.\n"


@pytest.mark.parametrize(
    ("which", "code", "said"),
    [
        ("192.0.2.9", 1, 'there is no grant for 192.0.2.9; "gatepost grant list" shows'),
        ("carol@example.org", 1, "there is no grant for carol@example.org"),
        ("mail.example.org", 2, "neither an IP address nor a mail address; write 192.0.2.7"),
        ("192.0.2.0/24", 2, "neither an IP address nor a mail address"),
        ("2001:db8::/32", 2, "neither an IP address nor a mail address"),
        ("@example.org", 2, "is not an address"),
    ],
)
def test_what_cannot_be_revoked_is_told_and_nothing_is_recorded(
    gatepost: Command, folder: Path, which: str, code: int, said: str
) -> None:
    ran = gatepost("grant", "revoke", which)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ends_recorded(folder) == []
    assert len(listed(gatepost)) == 3


def test_switched_off_they_are_listed_as_what_does_not_count(gatepost: Command, folder: Path) -> None:
    (folder / "gatepost.toml").write_text(CONFIG)
    assert "POP-before-SMTP is switched off" in gatepost("grant", "list").err


def test_nothing_is_listed_where_there_is_nothing(gatepost: Command) -> None:
    gatepost("grant", "revoke", HOME)
    gatepost("grant", "revoke", LAN)
    assert gatepost("grant", "list", "--json").json == []
    assert gatepost("grant", "list").err == "There are no grants.\n"
