"""The delivery loop in virtual time: who gets what, when, and what a bad host does to others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.delivery.parts import BODY, Post, refuses_to_connect, result
from tests.support.virtual_time import run

from gatepost.accounts.model import Target
from gatepost.delivery.loop import LOCAL_TOGETHER
from gatepost.delivery.outbound import OpenFailed
from gatepost.delivery.schedule import Schedule
from gatepost.mail.address import Path
from gatepost.mail.envelope import Recipient
from gatepost.maildrop.port import Arrival, MaildropError
from gatepost.ports.resolver import Outcome
from gatepost.spool.model import State
from gatepost.spool.port import SpoolError

ADA = {"ada@example.org": [Target("maildrop", Path("ada", "example.org"))]}
BEA = {"bea@example.org": [Target("maildrop", Path("bea", "example.org"))]}
NET: dict[str, Any] = {
    "example.net": {"MX": ["10 mx.example.net"]},
    "mx.example.net": {"A": ["203.0.113.1"]},
    "example.com": {"MX": ["10 mx.example.com"]},
    "mx.example.com": {"A": ["203.0.113.2"]},
}


def test_mail_for_an_account_lands_in_its_maildrop_with_the_fields_of_final_delivery() -> None:
    async def main() -> None:
        post = Post(book=ADA)
        async with post.running():
            entry_id = await post.send("ada@example.org")
            await post.passes(1)
        (octets,) = post.maildrops.kept["ada@example.org"].values()
        assert octets == b"Return-Path: <bob@example.org>\r\nDelivered-To: ada@example.org\r\n" + BODY
        assert entry_id in post.spool.left

    run(main())


def test_mail_for_others_goes_to_their_mx_and_leaves_the_spool() -> None:
    async def main() -> None:
        post = Post(NET)
        async with post.running():
            entry_id = await post.send("eve@example.net", "zoe@example.net", "max@example.com")
            await post.passes(1)
        by_address = {address: [str(r.path) for r in job.envelope.recipients] for address, job in post.world.jobs}
        assert by_address == {
            "203.0.113.1": ["eve@example.net", "zoe@example.net"],  # one transaction for one destination
            "203.0.113.2": ["max@example.com"],
        }
        assert post.world.contents == [BODY, BODY]
        assert {r.state for r in post.spool.recipients(entry_id).values()} == {State.DONE}

    run(main())


def test_what_a_host_defers_is_tried_again_on_schedule_and_what_it_refuses_comes_back() -> None:
    async def main() -> None:
        post = Post(NET)
        tries: list[float] = []

        def answers(job: Any) -> list[Any]:
            tries.append(post.clock.unix())
            later = result(451, "4.7.1", "greylisted", "rcpt")
            never = result(550, "5.1.1", "no such user", "rcpt")
            if len(tries) == 1:
                return [later if recipient.path.local_part == "eve" else never for recipient in job.envelope.recipients]
            return [later] if len(tries) == 2 else [result(250, "2.0.0", "taken")]

        post.world.answers["203.0.113.1"] = answers
        async with post.running():
            entry_id = await post.send("eve@example.net", "nobody@example.net")
            await post.passes(3600)
            recipients = post.spool.recipients(entry_id)
            assert recipients["eve@example.net"].state is State.DONE
            assert recipients["nobody@example.net"].state is State.BOUNCED
            assert [round(after - tries[0]) for after in tries[1:]] == [300, 900]
        ((to, notice),) = post.notices()
        assert str(to) == "bob@example.org"
        assert b"nobody@example.net" in notice
        assert b"eve@example.net" not in notice

    run(main())


def test_after_four_hours_the_sender_hears_of_the_delay_once_and_after_five_days_of_the_end() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.down["203.0.113.1"] = refuses_to_connect()
        async with post.running():
            entry_id = await post.send("eve@example.net")
            await post.passes(4 * 3600 - 1)
            assert post.notices() == []
            await post.passes(timedelta(days=4, hours=19).total_seconds())
            ((_, delayed),) = post.notices()
            assert b"Action: delayed" in delayed
            assert entry_id in post.spool.entries
            await post.passes(3600 * 2)
            assert post.spool.recipients(entry_id)["eve@example.net"].state is State.BOUNCED
        _, failed = post.notices()[1]
        assert b"Action: failed\r\nStatus: 4.4.7" in failed
        assert len(post.notices()) == 2

    run(main())


def test_an_unreachable_destination_is_tried_by_one_message_for_all() -> None:
    """A thousand messages to a dead host each waited for its own connect timeout."""

    async def main() -> None:
        post = Post(NET)
        post.world.down["203.0.113.1"] = refuses_to_connect("timed out")
        post.world.opening_seconds["203.0.113.1"] = 30
        async with post.running():
            ids = [await post.send(f"u{number}@example.net") for number in range(100)]
            await post.passes(45)
            states = {post.spool.recipients(entry_id)[f"u{n}@example.net"].state for n, entry_id in enumerate(ids)}
        assert states == {State.DEFERRED}
        assert len(post.world.opened) <= 5

    run(main())


def test_a_destination_that_comes_back_is_served_again() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.down["203.0.113.1"] = refuses_to_connect()
        async with post.running():
            for number in range(10):
                await post.send(f"u{number}@example.net")
            await post.passes(200)
            del post.world.down["203.0.113.1"]
            await post.passes(3600)
        assert len(post.world.jobs) == 10

    run(main())


def test_a_host_that_never_answers_does_not_delay_mail_for_others() -> None:
    async def main() -> None:
        post = Post(NET, ADA)
        post.world.gates["203.0.113.1"] = asyncio.Event()
        async with post.running():
            for number in range(500):
                await post.send(f"u{number}@example.net")
            await post.passes(1)
            await post.send("max@example.com", "ada@example.org")
            await post.passes(1)
            assert [address for address, _ in post.world.jobs] == ["203.0.113.2"]
            assert "ada@example.org" in post.maildrops.kept
            assert post.world.most_open["203.0.113.1"] <= post.settings.per_destination
            post.world.gates["203.0.113.1"].set()
            await post.passes(10)
        assert len(post.world.jobs) == 501

    run(main())


def test_many_domains_behind_one_slow_host_do_not_take_every_worker() -> None:
    async def main() -> None:
        zone: dict[str, Any] = dict(NET)
        for number in range(300):
            zone[f"d{number}.example.net"] = {"MX": ["10 mx.example.net"]}
        post = Post(zone, total=100, per_address=10)
        post.world.gates["203.0.113.1"] = asyncio.Event()
        async with post.running():
            for number in range(300):
                await post.send(f"eve@d{number}.example.net")
            await post.passes(1)
            await post.send("max@example.com")
            await post.passes(1)
            assert "203.0.113.2" in {address for address, _ in post.world.jobs}
            assert post.world.most_open["203.0.113.1"] == 10
            await post.passes(600)
            post.world.gates["203.0.113.1"].set()
            await post.passes(600)
        assert len(post.world.jobs) == 301
        assert {result["failures"] for event in post.record.attempts() for result in event.details["results"]} == {0}

    run(main())


def test_sessions_are_reused_and_closed_when_idle() -> None:
    async def main() -> None:
        post = Post(NET, per_destination=1)
        async with post.running():
            for number in range(50):
                await post.send(f"u{number}@example.net")
            await post.passes(1)
            assert len(post.world.jobs) == 50
            assert len(post.world.opened) == 1
            assert post.world.open_now["203.0.113.1"] == 1
            await post.passes(20)
            assert post.world.open_now["203.0.113.1"] == 0
            assert post.pool.open_sessions == 0

    run(main())


def test_a_session_is_not_used_for_ever() -> None:
    async def main() -> None:
        post = Post(NET, per_destination=1, per_connection=20)
        async with post.running():
            for number in range(50):
                await post.send(f"u{number}@example.net")
            await post.passes(1)
        assert len(post.world.opened) == 3

    run(main())


def test_a_reused_session_that_the_peer_had_closed_costs_nobody_a_retry() -> None:
    async def main() -> None:
        post = Post(NET, per_destination=1)
        post.world.stale.add("203.0.113.1")
        async with post.running():
            first = await post.send("eve@example.net")
            await post.passes(1)
            second = await post.send("eve@example.net")
            await post.passes(1)
            assert first in post.spool.left
            assert second in post.spool.left

    run(main())


def test_the_next_mx_is_tried_when_the_first_cannot_be_reached() -> None:
    async def main() -> None:
        zone: dict[str, Any] = {
            "example.net": {"MX": ["10 a.example.net", "20 b.example.net"]},
            "a.example.net": {"A": ["203.0.113.1"]},
            "b.example.net": {"A": ["203.0.113.2"]},
        }
        post = Post(zone)
        post.world.down["203.0.113.1"] = refuses_to_connect()
        async with post.running():
            await post.send("eve@example.net")
            await post.passes(1)
        assert [address for address, _ in post.world.jobs] == ["203.0.113.2"]
        (event,) = post.record.attempts()
        assert event.details["tried"][0]["hop"] == "a.example.net[203.0.113.1]:25"
        assert event.details["hop"] == "b.example.net[203.0.113.2]:25"

    run(main())


TWO_HOSTS: dict[str, Any] = {
    "example.net": {"MX": ["10 a.example.net", "20 b.example.net"]},
    "a.example.net": {"A": ["203.0.113.1"]},
    "b.example.net": {"A": ["203.0.113.2"]},
}


@pytest.mark.parametrize(
    ("at", "by_peer", "goes_on"),
    [
        ("mail", False, True),
        ("rcpt", False, True),
        ("data", False, False),  # the host may have it: elsewhere it might arrive twice
        ("rcpt", True, False),  # what one host defers, the domain defers
    ],
)
def test_a_session_that_breaks_before_the_content_goes_on_at_the_next_host(
    at: str, by_peer: bool, goes_on: bool
) -> None:
    async def main() -> None:
        post = Post(TWO_HOSTS)
        post.world.answers["203.0.113.1"] = lambda job: [
            result(451, "4.4.2", "lost", at, by_peer=by_peer),
            result(250, "2.0.0", "ok"),
        ][: len(job.envelope.recipients)]
        async with post.running():
            entry_id = await post.send("eve@example.net", "zoe@example.net")
            await post.passes(1)
            others = [job.envelope.recipients for address, job in post.world.jobs if address == "203.0.113.2"]
            assert [[str(r.path) for r in recipients] for recipients in others] == [["eve@example.net"]] * goes_on
            if not goes_on:
                assert post.spool.recipients(entry_id)["eve@example.net"].state is State.DEFERRED

    run(main())


@pytest.mark.parametrize("silent", ["203.0.113.1", "203.0.113.2"])
def test_a_refusing_greeting_bounces_only_when_every_host_refuses(silent: str) -> None:
    async def main() -> None:
        refusal = OpenFailed(result(554, "5.7.1", "go away", "connect"), [])
        post = Post(TWO_HOSTS)
        post.world.down = {"203.0.113.1": refusal, "203.0.113.2": refusal, silent: refuses_to_connect()}
        async with post.running():
            entry_id = await post.send("eve@example.net")
            await post.passes(1)
            assert post.spool.recipients(entry_id)["eve@example.net"].state is State.DEFERRED
            post.world.down[silent] = refusal
            await post.passes(3600)
            assert post.spool.recipients(entry_id)["eve@example.net"].state is State.BOUNCED

    run(main())


def test_broken_starttls_falls_back_to_clear_and_says_so() -> None:
    async def main() -> None:
        post = Post(NET)
        opening = post.world.open

        async def open_session(hop: Any) -> Any:
            if hop.tls == "may":
                post.world.opened.append(hop)
                raise OpenFailed(result(454, "4.7.5", "handshake failed", "helo", by_peer=False), [], tls_failed=True)
            return await opening(hop)

        post.pool._open = open_session
        async with post.running():
            await post.send("eve@example.net")
            await post.passes(1)
            assert [hop.tls for hop in post.world.opened] == ["may", "off"]
            await post.send("eve@example.net", require_tls=True)  # though a session in clear is open
            await post.passes(1)
            assert [hop.tls for hop in post.world.opened] == ["may", "off", "verify"]
        assert "without" in post.record.attempts()[0].details["tried"][0]["what"]

    run(main())


def test_a_host_with_few_places_gets_all_mail_over_those() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.limit["203.0.113.1"] = 2
        async with post.running():
            ids = [await post.send(f"u{number}@example.net") for number in range(60)]
            await post.passes(5)
            assert all(entry_id in post.spool.left for entry_id in ids)
        assert post.world.most_open["203.0.113.1"] == 2
        assert len(post.world.opened) < 10  # it is not asked again and again

    run(main())


@pytest.mark.parametrize(
    ("zone", "code", "state"),
    [
        ({}, "5.1.2", State.BOUNCED),
        ({"example.net": Outcome.FAILED}, "4.4.3", State.DEFERRED),
        ({"example.net": {"MX": ["0 ."]}}, "5.1.10", State.BOUNCED),
        ({"example.net": {"A": ["127.0.0.1"]}}, "5.4.4", State.BOUNCED),
        (
            {"example.net": {"MX": ["10 mx.example.org"]}, "mx.example.org": {"A": ["203.0.113.9"]}},
            "5.4.6",
            State.BOUNCED,
        ),
    ],
)
def test_a_destination_without_next_hop_ends_as_the_dns_says(zone: Any, code: str, state: State) -> None:
    async def main() -> None:
        post = Post(zone)
        async with post.running():
            entry_id = await post.send("eve@example.net")
            await post.passes(1)
            recipient = post.spool.recipients(entry_id)["eve@example.net"]
            assert recipient.state is state
            assert code in recipient.reply
        assert len(post.notices()) == (state is State.BOUNCED)

    run(main())


def test_no_notice_answers_a_notice() -> None:
    async def main() -> None:
        post = Post()
        async with post.running():
            await post.send("eve@example.net", sender="")
            await post.passes(1)
        assert post.notices() == []
        assert post.record.attempts()[0].details["verdict"] == "failed"

    run(main())


def test_notify_decides_who_hears_of_what() -> None:
    async def main() -> None:
        post = Post(NET, ADA)
        eve = Path("eve", "example.net")
        async with post.running():
            await post.send(Recipient(Path("gone", "nowhere.example"), ("NEVER",)))
            await post.send(Recipient(Path("gone", "nowhere.example"), ("SUCCESS",)))
            await post.passes(1)
            assert post.notices() == []
            await post.send(Recipient(eve, ("SUCCESS",)))
            await post.passes(1)
            assert b"Action: relayed" in post.notices()[-1][1]
            post.world.answers["203.0.113.1"] = lambda job: [result(250, "2.0.0", "ok", dsn=True)]
            await post.send(Recipient(eve, ("SUCCESS",)))
            await post.passes(1)
            assert len(post.notices()) == 1  # the next hop does DSN: it will tell
            await post.send(Recipient(Path("ada", "example.org"), ("SUCCESS", "FAILURE")))
            await post.passes(1)
            assert b"Action: delivered" in post.notices()[-1][1]

    run(main())


def test_a_full_mailbox_is_tried_until_the_end_and_then_told_as_full() -> None:
    async def main() -> None:
        post = Post(book=ADA, schedule=Schedule(lifetime=timedelta(hours=1)))
        post.maildrops.quota = 10
        async with post.running():
            entry_id = await post.send("ada@example.org", sender="eve@example.org")
            await post.passes(60)
            recipient = post.spool.recipients(entry_id)["ada@example.org"]
            assert (recipient.state, recipient.reply) == (State.DEFERRED, "452 4.2.2 the mailbox is full")
            await post.passes(3700)
        ((_, notice),) = post.notices()
        assert b"Status: 5.2.2" in notice
        assert b"mailbox is full" in notice

    run(main())


def test_a_damaged_entry_is_held_and_the_rest_is_served() -> None:
    async def main() -> None:
        post = Post(NET, ADA)
        async with post.running():
            bad = [await post.send("eve@example.net", sender=""), await post.send("ada@example.org", sender="")]
            post.spool.unreadable.update(bad)
            good = await post.send("zoe@example.net")
            await post.passes(1)
            assert good in post.spool.left
            for entry_id in bad:
                (recipient,) = post.spool.recipients(entry_id).values()
                assert recipient.state is State.HELD

    run(main())


def test_a_defect_in_one_attempt_neither_loses_the_mail_nor_stops_others() -> None:
    async def main() -> None:
        post = Post(NET, ADA)
        post.addresses.error = ZeroDivisionError()
        async with post.running():
            entry_id = await post.send("ada@example.org")
            other = await post.send("eve@example.net")
            await post.passes(1)
            assert post.spool.recipients(entry_id)["ada@example.org"].state is State.DEFERRED
            assert other in post.spool.left
            post.addresses.error = None
            await post.passes(600)
            assert entry_id in post.spool.left

    run(main())


def test_settlements_that_come_together_share_commits() -> None:
    async def main() -> None:
        post = Post(book=ADA)
        async with post.running():
            for _ in range(300):
                await post.send("ada@example.org")
            await post.passes(1)
        assert len(post.spool.left) == 300
        assert post.spool.commits < 150

    run(main())


def test_what_comes_while_maildrops_are_written_goes_there_together_afterwards() -> None:
    async def main() -> None:
        post = Post(book=ADA)
        loads = noted_loads(post)
        post.maildrops.slow = asyncio.Event()
        async with post.running():
            for _ in range(11):
                await post.send("ada@example.org")
                await post.passes(0.01)
            post.maildrops.slow.set()
            await post.passes(1)
        assert loads == [1, 10]

    run(main())


def test_a_maildrop_that_takes_long_delays_mail_for_others_by_a_quarter_of_a_second() -> None:
    async def main() -> None:
        post = Post(book=ADA | BEA)
        kept = post.maildrops.kept
        slow = post.maildrops.slow = asyncio.Event()
        async with post.running():
            await post.send("ada@example.org")
            await post.passes(0.01)
            post.maildrops.slow = None
            await post.send("bea@example.org")
            await post.passes(0.2)
            before = list(kept)
            await post.passes(0.1)
            after = list(kept)
            slow.set()
        assert (before, after) == ([], ["bea@example.org"])

    run(main())


def test_as_much_as_fits_into_one_go_does_not_wait_for_the_one_before() -> None:
    async def main() -> None:
        post = Post(book=ADA)
        loads = noted_loads(post)
        post.maildrops.slow = asyncio.Event()
        async with post.running():
            await post.send("ada@example.org")
            await post.passes(0.01)
            for _ in range(LOCAL_TOGETHER):
                await post.send("ada@example.org")
            await post.passes(0.01)
            before = list(loads)
            post.maildrops.slow.set()
        assert before == [1, LOCAL_TOGETHER]

    run(main())


def noted_loads(post: Post) -> list[int]:
    """How many messages came to the maildrops in each go, from now on."""
    loads: list[int] = []
    deliver_all = post.maildrops.deliver_all

    async def noted(arrivals: Sequence[Arrival]) -> list[str | MaildropError]:
        loads.append(len(arrivals))
        return await deliver_all(arrivals)

    post.maildrops.deliver_all = noted  # type: ignore[method-assign]
    return loads


def test_an_idle_loop_asks_the_spool_only_when_something_is_due() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.answers["203.0.113.1"] = lambda job: [result(451, "4.7.1", "later", "rcpt")]
        async with post.running():
            await post.send("eve@example.net")
            await post.passes(24 * 3600)
        assert post.spool.leases < 100

    run(main())


def test_paused_delivery_attempts_nothing_and_loses_nothing() -> None:
    async def main() -> None:
        post = Post(NET, ADA, paused=True)
        async with post.running():
            entries = [await post.send("eve@example.net"), await post.send("ada@example.org")]
            await post.passes(24 * 3600)
        assert post.world.opened == []
        assert post.record.attempts() == []
        assert post.spool.leases == 0
        due = await post.spool.lease(post.clock.unix(), 10, [], 10)
        assert {entry.id for entry in due} == set(entries)

    run(main())


def test_a_spool_that_does_not_give_out_what_is_due_is_asked_once_a_second() -> None:
    async def main() -> None:
        post = Post(NET)
        asked = []

        async def lease(*what: Any) -> list[Any]:
            asked.append(what)
            return []

        post.spool.lease = lease  # type: ignore[assignment,method-assign]
        async with post.running():
            await post.send("eve@example.net")
            await post.passes(60)
        assert 50 < len(asked) < 70

    run(main())


def test_while_a_destination_is_left_alone_new_mail_for_it_waits_as_long() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.down["203.0.113.1"] = refuses_to_connect()
        async with post.running():
            await post.send("eve@example.net")
            await post.passes(6 * 3600)
            tries = len(post.world.opened)
            while len(post.world.opened) == tries:
                await post.passes(1)
            entry_id = await post.send("zoe@example.net")
            await post.passes(1)
            recipient = post.spool.recipients(entry_id)["zoe@example.net"]
            assert recipient.due - post.clock.unix() > 1700
            assert "connection refused" in recipient.reply
            assert len(post.world.opened) == tries + 1

    run(main())


def test_a_spool_that_cannot_be_written_stops_nothing_for_good_and_loses_nothing() -> None:
    async def main() -> None:
        post = Post(NET)
        async with post.running():
            entry_id = await post.send("eve@example.net")
            post.spool.broken = SpoolError("the disk is full")
            await post.passes(60)
            leases = post.spool.leases
            await post.passes(60)
            assert post.spool.leases == leases
            post.spool.broken = None
            await post.passes(10)
            assert entry_id in post.spool.left
        assert len(post.world.jobs) == 1

    run(main())


def test_a_record_that_cannot_be_written_pauses_new_attempts_but_settles_what_was_done() -> None:
    async def main() -> None:
        post = Post(NET)
        post.record.broken = True
        async with post.running():
            first = await post.send("eve@example.net")
            await post.passes(0.5)
            assert first in post.spool.left
            second = await post.send("eve@example.net")
            await post.passes(1)
            assert second in post.spool.entries
            post.record.broken = False
            await post.passes(10)
            assert second in post.spool.left

    run(main())


def test_stop_lets_attempts_end_and_leaves_the_rest_for_the_next_owner() -> None:
    async def main() -> None:
        post = Post(NET, per_destination=1)
        gate = post.world.gates["203.0.113.1"] = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        under_way = await post.send("eve@example.net")
        waiting = await post.send("zoe@example.net")
        await post.passes(1)
        stopping = asyncio.create_task(post.loop.stop(30))
        await post.passes(5)
        gate.set()
        await stopping
        await running
        assert under_way in post.spool.left
        assert post.spool.recipients(waiting)["zoe@example.net"].state is State.LEASED
        assert post.world.open_now["203.0.113.1"] == 0

    run(main())


def test_stop_cuts_off_what_does_not_end_in_time() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.gates["203.0.113.1"] = asyncio.Event()
        running = asyncio.create_task(post.loop.run())
        entry_id = await post.send("eve@example.net")
        await post.passes(1)
        await post.loop.stop(30)
        await running
        assert post.spool.recipients(entry_id)["eve@example.net"].state is State.LEASED
        assert post.world.open_now["203.0.113.1"] == 0

    run(main())


def test_a_person_can_give_mail_back_to_its_sender() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.answers["203.0.113.1"] = lambda job: [result(451, "4.7.1", "later", "rcpt")]
        async with post.running():
            entry_id = await post.send("eve@example.net")
            await post.passes(10)
            await post.spool.change(entry_id, "bounce", post.clock.unix())
            post.loop.notify()
            await post.passes(1)
        assert len(post.world.jobs) == 1
        ((_, notice),) = post.notices()
        assert b"given up by the postmaster" in notice
        assert b"451 4.7.1 later" in notice

    run(main())


def test_each_attempt_is_one_event_with_hop_tls_replies_and_next_time() -> None:
    async def main() -> None:
        post = Post(NET)
        post.world.answers["203.0.113.1"] = lambda job: [
            result(250, "2.0.0", "ok"),
            result(451, "4.7.1", "greylisted", "rcpt"),
        ]
        async with post.running():
            entry_id = await post.send("eve@example.net", "zoe@example.net")
            await post.passes(1)
        (event,) = post.record.attempts()
        assert event.message == entry_id
        assert event.recipients == ("eve@example.net", "zoe@example.net")
        assert event.details["verdict"] == "mixed"
        assert event.details["hop"] == "mx.example.net[203.0.113.1]:25"
        assert event.details["tls"]["version"] == "TLSv1.3"
        eve, zoe = event.details["results"]
        assert (eve["verdict"], eve["reply"]) == ("delivered", "250 2.0.0 ok")
        assert (zoe["verdict"], zoe["at"]) == ("deferred", "rcpt")
        assert zoe["next"] == "2026-11-24T10:21:40Z"
        assert event.dialogue

    run(main())
