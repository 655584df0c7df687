"""The delivery loop is stopped, in virtual time: no copy twice, nothing lost, and what happened is on the record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.delivery.parts import Post, result
from tests.support.virtual_time import run

from gatepost.accounts.model import Target
from gatepost.delivery.local import WHOLE_OCTETS
from gatepost.delivery.loop import ANSWER_SECONDS
from gatepost.mail.address import Path
from gatepost.spool.model import State

HOST = "203.0.113.1"
NET: dict[str, Any] = {"example.net": {"MX": ["10 mx.example.net"]}, "mx.example.net": {"A": [HOST]}}
BOOK = {f"{name}@example.org": [Target("maildrop", Path(name, "example.org"))] for name in ("ada", "bea", "cid")}


async def stopped(post: Post, drain: float = 0.0) -> float:
    """The seconds that the loop took to stop."""
    began = post.clock.monotonic()
    await post.loop.stop(drain)
    return post.clock.monotonic() - began


def test_a_next_hop_that_has_the_whole_message_is_heard_before_the_end() -> None:
    """A message arrived twice: its next hop said 250 in the moment in which the server was stopped."""

    async def main() -> None:
        post = Post(NET)
        late = post.world.late[HOST] = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        entry_id = await post.send("eve@example.net")
        await post.passes(1)
        asyncio.get_running_loop().call_later(ANSWER_SECONDS - 1, late.set)
        assert await stopped(post) == pytest.approx(ANSWER_SECONDS - 1)
        await running
        assert entry_id in post.spool.left
        assert [event.details["verdict"] for event in post.record.attempts()] == ["delivered"]
        assert post.world.open_now[HOST] == 0

    run(main())


def test_a_next_hop_that_never_answers_holds_nobody_up_and_its_doubt_is_on_the_record() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.late[HOST] = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        entry_id = await post.send("eve@example.net")
        await post.passes(1)
        assert await stopped(post) == pytest.approx(ANSWER_SECONDS)
        await running
        assert post.spool.recipients(entry_id)["eve@example.net"].state is State.DEFERRED
        (event,) = post.record.attempts()
        assert event.details["verdict"] == "deferred"
        assert "no answer to the end of data" in event.reply
        assert post.world.open_now[HOST] == 0

    run(main())


def test_what_nobody_has_yet_is_cut_off_at_once() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.gates[HOST] = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        entry_id = await post.send("eve@example.net")
        await post.passes(1)
        assert await stopped(post) == 0
        await running
        assert post.spool.recipients(entry_id)["eve@example.net"].state is State.LEASED
        assert post.record.attempts() == []

    run(main())


def test_maildrops_that_are_being_written_are_written_to_the_end() -> None:
    """Their thread went on and delivered, and the entry was delivered again after the start."""

    async def main() -> None:
        post = Post(book=BOOK)
        slow = post.maildrops.slow = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        ids = [await post.send("ada@example.org", "bea@example.org"), await post.send("cid@example.org")]
        await post.passes(1)
        asyncio.get_running_loop().call_later(10 * ANSWER_SECONDS, slow.set)
        assert await stopped(post) == pytest.approx(10 * ANSWER_SECONDS)
        await running
        assert set(ids) == post.spool.left.keys()
        assert {account: len(kept) for account, kept in post.maildrops.kept.items()} == {
            "ada@example.org": 1,
            "bea@example.org": 1,
            "cid@example.org": 1,
        }

    run(main())


def test_maildrops_whose_turn_had_not_come_are_left_for_the_next_owner() -> None:

    async def main() -> None:
        post = Post(book=BOOK)
        slow = post.maildrops.slow = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        large = b"x" * 998 + b"\r\n"
        to = ("ada@example.org", "bea@example.org", "cid@example.org")
        entry_id = await post.send(*to, body=large * (WHOLE_OCTETS // 1000 + 1))
        await post.passes(1)
        asyncio.get_running_loop().call_later(10 * ANSWER_SECONDS, slow.set)
        assert await stopped(post) == pytest.approx(10 * ANSWER_SECONDS)
        await running
        await post.passes(10)
        states = {address: recipient.state for address, recipient in post.spool.recipients(entry_id).items()}
        assert states == {
            "ada@example.org": State.DONE,
            "bea@example.org": State.LEASED,
            "cid@example.org": State.LEASED,
        }
        assert list(post.maildrops.kept) == ["ada@example.org"]
        assert [event.recipients for event in post.record.attempts()] == [("ada@example.org",)]

    run(main())


def test_what_one_host_settled_counts_when_the_next_one_is_cut_off() -> None:
    async def main() -> None:
        two: dict[str, Any] = {
            "example.net": {"MX": ["10 mx.example.net", "20 b.example.net"]},
            "mx.example.net": {"A": [HOST]},
            "b.example.net": {"A": ["203.0.113.2"]},
        }
        post = Post(two)
        taken, lost = result(250, "2.0.0", "taken"), result(451, "4.4.2", "lost", "rcpt", by_peer=False)
        post.world.answers[HOST] = lambda job: [taken, lost]
        post.world.gates["203.0.113.2"] = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        entry_id = await post.send("eve@example.net", "zoe@example.net")
        await post.passes(1)
        await stopped(post)
        await running
        states = {address: recipient.state for address, recipient in post.spool.recipients(entry_id).items()}
        assert states == {"eve@example.net": State.DONE, "zoe@example.net": State.LEASED}
        assert [event.recipients for event in post.record.attempts()] == [("eve@example.net",)]

    run(main())


def test_the_first_attempt_that_ends_does_not_end_the_drain_of_the_others() -> None:
    async def main() -> None:
        post = Post({**NET, "example.com": {"MX": ["10 mx.example.com"]}, "mx.example.com": {"A": ["203.0.113.2"]}})
        gates = post.world.gates
        gates[HOST], gates["203.0.113.2"] = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        first, second = await post.send("eve@example.net"), await post.send("max@example.com")
        await post.passes(1)
        asyncio.get_running_loop().call_later(2, gates[HOST].set)
        asyncio.get_running_loop().call_later(9, gates["203.0.113.2"].set)
        assert await stopped(post, 30) == pytest.approx(9)
        await running
        assert {first, second} <= post.spool.left.keys()

    run(main())


def test_a_stop_can_be_made_shorter_while_it_runs() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.gates[HOST] = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        await post.send("eve@example.net")
        await post.passes(1)
        asyncio.get_running_loop().call_later(3, post.loop.hurry, 4)
        assert await stopped(post, 600) == pytest.approx(7)
        await running

    run(main())
