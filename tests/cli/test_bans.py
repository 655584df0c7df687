"""Bans at the command line: laid, listed, lifted, refused; each on the record."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command
from tests.cli.test_accounts import acts

from gatepost.gate.bans import remember_admin
from gatepost.store.data_folder import prepare
from gatepost.store.lmdb.standing import LmdbStanding


def bans_recorded(folder: Path) -> list[dict[str, Any]]:
    return [event["details"] for event in events(folder, "ban")]


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = (folder / "data" / "audit").glob("*-*-*/*.jsonl")
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    found.sort(key=lambda event: str(event["time"]))
    return [event for event in found if event["kind"] == kind]


def test_a_ban_is_laid_listed_and_lifted(gatepost: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "grace")
    ran = gatepost("ban", "add", "192.0.2.7/32", "--for", "2h", "--why", "guesses addresses", "--json")
    assert (ran.code, ran.json["network"]) == (0, "192.0.2.7")
    (ban,) = gatepost("ban", "list", "--json").json
    assert (ban["network"], ban["by"], ban["reason"], ban["event"]) == ("192.0.2.7", "grace", "guesses addresses", None)
    assert ban["until"] == ran.json["until"]
    assert "guesses addresses" in gatepost("ban", "list").out

    assert gatepost("ban", "lift", "192.0.2.7").out == "192.0.2.7 is not banned any more.\n"
    assert gatepost("ban", "list", "--json").json == []
    assert gatepost("ban", "list").err == "Nobody is banned.\n"

    assert [act["act"] for act in acts(folder)] == ["ban add", "ban lift"]
    laid, lifted = bans_recorded(folder)
    assert (laid["what"], laid["network"], laid["by"], laid["reason"]) == (
        "laid", "192.0.2.7", "grace", "guesses addresses",
    )  # fmt: skip
    assert (lifted["what"], lifted["by"]) == ("lifted", "grace")


def test_of_ipv6_the_whole_64_is_banned(gatepost: Command) -> None:
    ran = gatepost("ban", "add", "2001:db8::7", "--why", "x")
    assert ran.out.startswith("2001:db8::/64 is banned until ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ban", "add", "127.0.0.1", "--why", "x"], 1, "127.0.0.1 is not banned: 127.0.0.1 is in `trusted`"),
        (["ban", "add", "0.0.0.0/0", "--why", "x"], 2, "the largest network to ban is a /8"),
        (["ban", "add", "192.0.2.7/24", "--why", "x"], 2, "has host bits set; write an address or a network"),
        (["ban", "add", "mail.example.net", "--why", "x"], 2, "write an address or a network"),
        (["ban", "add", "192.0.2.7", "--why", "x", "--for", "soon"], 2, "--for: 'soon' is not a duration"),
        (["ban", "add", "192.0.2.7", "--why", "x", "--for", "0s"], 2, "no time at all"),
        (["ban", "add", "192.0.2.7", "--why", " "], 2, "--why: the reason is empty"),
        (["ban", "add", "192.0.2.7"], 2, "--why"),
        (["ban", "lift", "192.0.2.7"], 1, 'there is no ban on 192.0.2.7; "gatepost ban list" shows'),
    ],
)
def test_what_cannot_be_done_says_why_and_bans_nobody(
    gatepost: Command, folder: Path, words: list[str], code: int, said: str
) -> None:
    ran = gatepost(*words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err.replace("\n", " ")
    assert gatepost("ban", "list", "--json").json == []
    assert acts(folder) == []


def test_nobody_bans_where_an_administrator_came_from_today(gatepost: Command, folder: Path) -> None:
    async def log_in() -> None:
        standing = LmdbStanding(prepare(folder / "data").standing)
        await remember_admin(standing, "192.0.2.7", "ada@example.org", time.time())
        standing.close()

    asyncio.run(log_in())
    ran = gatepost("ban", "add", "192.0.2.7", "--why", "x")
    assert ran.code == 1
    assert "an administrator logged in from 192.0.2.7 within the last day" in ran.err
