"""The quarantine at the command line: only what a check kept back, what was said about it, and two ways out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.cli.test_accounts import acts
from tests.conformance.spool import add

from gatepost.audit.event import Event
from gatepost.audit.writer import AuditWriter
from gatepost.net.clock import SystemClock, SystemIds
from gatepost.spool.model import Hold
from gatepost.spool.settings import SpoolSettings
from gatepost.store.data_folder import prepare
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

NEVER = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
BODY = b"From: bob@example.net\r\nSubject: \x1b[2Jinvoice\r\n\r\nHello.\r\n"
FOUND = {"check": "content.scan", "mode": "enforce", "verdict": "quarantine", "reason": "Eicar", "facts": {"octets": 9}}


@pytest.fixture
def kept(folder: Path) -> list[str]:
    """In this order: one in quarantine, one held by a check, one held by a person, one that is due."""

    async def fill() -> list[str]:
        data = prepare(folder / "data")
        spool = SqliteSpool.open(data.root, "0", SpoolSettings(), SystemClock())
        ids = [
            await add(spool, body=BODY, client="192.0.2.7", held_by=Hold.QUARANTINE, hold_reason="content.scan: Eicar"),
            await add(spool, held_by=Hold.CHECK, hold_reason="sender.rate: too many"),
            await add(spool),
            await add(spool, at=4e9),
        ]
        await spool.change(ids[2], "hold", 0.0)
        await spool.close()
        writer = AuditWriter(data.audit, "mx.example.org", 0, SystemClock(), SystemIds())
        writer.record(Event("smtp.message", id=ids[0], sender="bob@example.net", recipients=("ada@example.org",),
                            verdicts=[{"check": "relay", "mode": "enforce", "verdict": "pass"}, FOUND],
                            reply=f"250 2.0.0 Message accepted ({ids[0]})"))  # fmt: skip
        writer.close()
        return ids

    return asyncio.run(fill())


def states(folder: Path) -> dict[str, str]:
    return {entry.id: str(entry.recipients[0].state) for entry in SqliteSpoolReader(folder / "data").list()}


def test_only_what_a_check_put_there_is_in_quarantine(gatepost: Command, kept: list[str]) -> None:
    (row,) = gatepost("quarantine", "list", "--json").json
    assert (row["id"], row["sender"], row["recipients"]) == (kept[0], "bob@example.net", ["ada@example.org"])
    assert (row["check"], row["reason"]) == ("content.scan", "Eicar")
    assert "content.scan" in gatepost("quarantine", "list").out


@pytest.mark.usefixtures("folder")
def test_an_empty_quarantine_is_an_empty_list(gatepost: Command) -> None:
    assert gatepost("quarantine", "list", "--json").json == []
    ran = gatepost("quarantine", "list")
    assert (ran.code, ran.out, ran.err) == (0, "", "Nothing is in quarantine.\n")


def test_one_is_shown_with_what_each_check_said_and_its_header(gatepost: Command, kept: list[str]) -> None:
    shown = gatepost("quarantine", "show", kept[0].lower(), "--json").json
    assert shown["verdicts"][1] == FOUND
    assert shown["header"].startswith("Received: ")
    assert "Hello." not in shown["header"]
    text = gatepost("quarantine", "show", kept[0]).out
    assert "quarantine content.scan: Eicar" in text
    assert "client: 192.0.2.7" in text
    assert "  Subject: \N{REPLACEMENT CHARACTER}[2Jinvoice\n" in text
    assert "Hello." not in text
    assert gatepost("quarantine", "show", kept[0], "--content").out.endswith("invoice\r\n\r\nHello.\r\n")


def test_without_its_event_a_message_is_shown_all_the_same(gatepost: Command, folder: Path, kept: list[str]) -> None:
    for file in (folder / "data" / "audit").rglob("*.jsonl"):
        file.unlink()
    assert gatepost("quarantine", "show", kept[0], "--json").json["verdicts"] == []
    assert "not on the record any more" in gatepost("quarantine", "show", kept[0]).out


def test_what_is_released_is_due_and_its_release_is_part_of_its_story(
    gatepost: Command, folder: Path, kept: list[str]
) -> None:
    ran = gatepost("quarantine", "release", kept[0])
    assert (ran.code, ran.out) == (0, f"{kept[0]} leaves the quarantine and is delivered now.\n")
    assert states(folder)[kept[0]] == "due"
    (act,) = acts(folder)
    assert (act["act"], act["message"], act["recipients"]) == ("quarantine release", kept[0], ["ada@example.org"])
    assert "admin: quarantine release" in gatepost("audit", "show", kept[0]).out
    assert gatepost("quarantine", "list", "--json").json == []


def test_what_is_dropped_is_gone(gatepost: Command, folder: Path, kept: list[str]) -> None:
    assert gatepost("quarantine", "drop", kept[0]).code == 0
    assert kept[0] not in states(folder)
    assert [act["act"] for act in acts(folder)] == ["quarantine drop"]


@pytest.mark.parametrize("verb", ["show", "release", "drop"])
def test_what_a_person_or_another_check_holds_is_not_the_quarantines_to_let_go(
    gatepost: Command, folder: Path, kept: list[str], verb: str
) -> None:
    for entry_id in kept[1:]:
        ran = gatepost("quarantine", verb, entry_id)
        assert ran.code == 1
        assert f'"gatepost queue show {entry_id}"' in ran.err
    assert [states(folder)[entry_id] for entry_id in kept[1:]] == ["held", "held", "due"]
    assert acts(folder) == []


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "bounce", "drop"])
def test_the_queue_refuses_what_is_in_quarantine_and_says_where_to_go(
    gatepost: Command, folder: Path, kept: list[str], verb: str
) -> None:
    ran = gatepost("queue", verb, kept[0])
    assert ran.code == 1
    assert f"gatepost quarantine release {kept[0]}" in ran.err
    assert states(folder)[kept[0]] == "held"
    assert acts(folder) == []


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("release", NEVER), 1, f'{NEVER} does not wait here (any more); "gatepost audit show {NEVER}" tells'),
        (("drop", "../../etc/passwd"), 2, "is not the ID of a message"),
    ],
)
def test_a_refusal_says_what_to_do(gatepost: Command, words: tuple[str, ...], code: int, said: str) -> None:
    ran = gatepost("quarantine", *words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
