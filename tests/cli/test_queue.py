"""The queue at the command line, over a spool that nobody holds; and over one that a worker holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.cli.test_accounts import acts
from tests.conformance.spool import add

from gatepost.cli import queue
from gatepost.net.clock import SystemClock
from gatepost.net.control import ControlServer
from gatepost.spool.control import CHANGE, change_handler
from gatepost.spool.model import Hold, Settlement, State
from gatepost.spool.settings import SpoolSettings
from gatepost.store.data_folder import prepare
from gatepost.store.sqlite.spool import SqliteSpool

NEVER = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def opened(data: Path, socket: str = "") -> SqliteSpool:
    return SqliteSpool.open(data, "0", SpoolSettings(), SystemClock(), socket=socket)


@pytest.fixture
def waiting(folder: Path) -> list[str]:
    """Two messages: the first was deferred at one of its recipients, the second is due."""

    async def fill() -> list[str]:
        spool = opened(prepare(folder / "data").root)
        ids = [
            await add(spool, "ada@far.example", "eve@far.example"),
            await add(spool, *(f"u{n}@far.example" for n in range(9))),
        ]
        (leased,) = await spool.lease(2e9, 1)
        reply = "451 4.7.1 Come back \x1b[2J later"
        await spool.settle(
            [
                Settlement(leased.id, leased.recipients[0].number, State.DEFERRED, 2e9, reply, "mx.far.example"),
                *(Settlement(leased.id, item.number, State.DEFERRED, 2e9, "450 no") for item in leased.recipients[1:]),
            ]
        )
        await spool.close()
        return ids

    return asyncio.run(fill())


def test_the_list_says_who_waits_since_when_and_why(gatepost: Command, waiting: list[str]) -> None:
    found = gatepost("queue", "list", "--json").json
    assert [row["id"] for row in found] == waiting
    assert found[0]["recipients"] == ["ada@far.example", "eve@far.example"]
    assert found[0]["waits"] == "2 deferred"
    assert found[0]["reply"].startswith("451 4.7.1 Come back")
    assert [row["id"] for row in gatepost("queue", "list", "--state", "due", "--json").json] == waiting[1:]
    text = gatepost("queue", "list").out
    assert "u2@far.example, and 6 more" in text
    assert text.replace("\n", "").isprintable()  # a next hop's reply moves no cursor


def test_an_empty_queue_is_an_empty_list(gatepost: Command) -> None:
    ran = gatepost("queue", "list", "--json")
    assert (ran.code, ran.json) == (0, [])
    ran = gatepost("queue", "list")
    assert (ran.code, ran.out, ran.err) == (0, "", "Nothing waits.\n")


def test_one_message_is_shown_with_every_recipient_and_its_content(gatepost: Command, waiting: list[str]) -> None:
    shown = gatepost("queue", "show", waiting[0].lower(), "--json").json
    assert [(item["recipient"], item["state"], item["attempts"]) for item in shown["recipients"]] == [
        ("ada@far.example", "deferred", 1),
        ("eve@far.example", "deferred", 1),
    ]
    assert "    mx.far.example: 451 4.7.1 Come back" in gatepost("queue", "show", waiting[0]).out


def test_the_content_comes_octet_for_octet(gatepost: Command, waiting: list[str]) -> None:
    assert gatepost("queue", "show", waiting[0], "--content").out.endswith("From: bob@example.net\r\n\r\nHello.\r\n")


@pytest.mark.parametrize(
    ("action", "state"),
    [("hold", "held"), ("retry", "due"), ("bounce", "due"), ("drop", None)],
)
def test_a_message_is_changed_and_the_change_recorded(
    gatepost: Command, folder: Path, waiting: list[str], action: str, state: str | None
) -> None:
    ran = gatepost("queue", action, waiting[0])
    assert ran.code == 0
    assert ran.out.startswith(f"{waiting[0]} is ")
    if state is None:
        assert gatepost("queue", "show", waiting[0]).code == 1
    else:
        assert {item["state"] for item in gatepost("queue", "show", waiting[0], "--json").json["recipients"]} == {state}
    (act,) = acts(folder)
    assert (act["act"], act["message"], act["sender"]) == (f"queue {action}", waiting[0], "bob@example.net")


def test_what_is_held_goes_on_when_it_is_released(gatepost: Command, waiting: list[str]) -> None:
    gatepost("queue", "hold", waiting[0])
    gatepost("queue", "retry", "--all")
    assert gatepost("queue", "show", waiting[0], "--json").json["recipients"][0]["state"] == "held"
    gatepost("queue", "release", waiting[0])
    assert gatepost("queue", "show", waiting[0], "--json").json["recipients"][0]["state"] == "due"


def test_the_list_says_why_something_is_held(gatepost: Command, folder: Path, waiting: list[str]) -> None:
    async def fill() -> None:
        spool = opened(folder / "data")
        await add(spool, held_by=Hold.CHECK, hold_reason="sender.rate: too many")
        await add(spool, held_by=Hold.QUARANTINE, hold_reason="content.scan: a virus")
        await spool.close()

    asyncio.run(fill())
    gatepost("queue", "hold", waiting[0])
    lines = [line.rstrip() for line in gatepost("queue", "list", "--state", "held").out.splitlines()]
    reasons = ("by a person, after: 451 4.7.1 Come back \ufffd[2J later", "  sender.rate: too many",
               "  in quarantine: content.scan: a virus")  # fmt: skip
    assert {reason for reason in reasons for line in lines if line.endswith(reason)} == set(reasons)
    rows = gatepost("queue", "list", "--state", "held", "--json").json
    assert {(row["held_by"], row["hold_reason"]) for row in rows} == {
        ("person", None), ("check", "sender.rate: too many"), ("quarantine", "content.scan: a virus"),
    }  # fmt: skip
    assert "  by a person, after: 451" in gatepost("queue", "show", waiting[0]).out


def test_a_retry_of_what_is_held_says_that_it_stays_held(gatepost: Command, waiting: list[str]) -> None:
    gatepost("queue", "hold", waiting[0])
    ran = gatepost("queue", "retry", waiting[0])
    assert ran.code == 1
    assert f"gatepost queue release {waiting[0]}" in ran.err


def test_all_that_is_deferred_is_tried_again(gatepost: Command, waiting: list[str]) -> None:
    ran = gatepost("queue", "retry", "--all", "--json")
    assert ran.json == {"ok": True, "ids": waiting[:1]}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("queue", "show", NEVER), 1, f'{NEVER} does not wait here (any more); "gatepost audit show {NEVER}" tells'),
        (("queue", "drop", NEVER), 1, "does not wait here"),
        (("queue", "drop", "../../etc/passwd"), 2, "is not the ID of a message"),
        (("queue", "retry"), 2, "--all"),
        (("queue", "retry", NEVER, "--all"), 2, "--all"),
        (("queue", "list", "--state", "lost"), 2, "write one of due, leased, deferred, held"),
    ],
)
def test_a_refusal_says_what_to_do(
    gatepost: Command, folder: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = gatepost(*words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert acts(folder) == []


@pytest.fixture
def worker(folder: Path, waiting: list[str]) -> Iterator[list[str]]:
    """A worker that holds the spool and answers at its socket; the changes that it was asked for."""
    asked: list[str] = []
    serving = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(stop.set))
        spool = opened(folder / "data", socket="worker-0.sock")
        handler = change_handler(spool, lambda: 2e9, lambda: asked.append("changed"))
        server = ControlServer(folder / "data" / "run" / "worker-0.sock", {CHANGE: handler}, lambda verb, error: None)
        await server.start()
        serving.set()
        await stop.wait()
        await server.close()
        await spool.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert serving.wait(10)
    yield asked
    ends[0]()
    thread.join(10)


def test_a_worker_that_holds_the_spool_is_asked(gatepost: Command, worker: list[str], waiting: list[str]) -> None:
    assert gatepost("queue", "hold", waiting[0]).code == 0
    assert worker == ["changed"]
    assert gatepost("queue", "show", waiting[0], "--json").json["recipients"][0]["state"] == "held"


def test_the_words_of_the_states_are_those_of_the_spool() -> None:
    """The help of --state names them without loading the spool."""
    hints = str(queue.list_entries.__annotations__["state"])
    assert all(state.value in hints for state in State if state not in (State.DONE, State.BOUNCED))
