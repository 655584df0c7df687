"""Passing mail on before it is accepted: one attempt on content that is in no spool, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from tests.delivery.parts import BODY, HOSTNAME, Post, refuses_to_connect, result
from tests.support.scripted_peer import ScriptedPeer
from tests.support.virtual_time import run

from gatepost.delivery.assembly import assemble_hosts, assemble_passage
from gatepost.delivery.passage import LONGEST_SECONDS, Passage
from gatepost.delivery.probe import Line
from gatepost.delivery.settings import parse_hop_url
from gatepost.mail.address import Path, parse_mailbox
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.protocol.smtp.client_transaction import RecipientResult
from gatepost.spool.model import NewEntry

ADA, BEA = Path("ada", "inner.example"), Path("bea", "inner.example")
INNER: dict[str, Any] = {"relay_to": {"inner.example": parse_hop_url("smtp://10.0.0.5:2525")}}
PREFIX = b"Received: from client.example.net\r\n\tby mx.example.org; Tue, 24 Nov 2026 10:00:00 +0000\r\n"


def passage(post: Post, peer: ScriptedPeer | None = None) -> Passage:
    connector = peer or ScriptedPeer(post.clock)
    draw = random.Random(7).random
    hosts = assemble_hosts(post.settings, post.resolver, connector, post.clock, draw)
    return assemble_passage(
        post.settings, hosts, post.loop.pool, spool=post.spool, addresses=post.addresses, resolver=post.resolver,
        clock=post.clock, ids=post.ids, draw=draw,
    )  # fmt: skip


def entry(post: Post, *to: Path | Recipient, sender: str = "bob@far.example", **mail: Any) -> NewEntry:
    recipients = tuple(one if isinstance(one, Recipient) else Recipient(one) for one in to)
    return NewEntry(
        id="01ARZ3NDEKTSV4RRFFQ69G5FAV", envelope=Envelope(parse_mailbox(sender), recipients, **mail),
        received_at=post.clock.unix(), prefix=PREFIX, octets=len(PREFIX) + len(BODY),
        destinations=("inner.example",) * len(recipients),
    )  # fmt: skip


def content(post: Post, octets: bytes = BODY) -> Any:
    made = post.spool.new_content()
    made.write(octets)
    return made


async def handed(post: Post, *to: Path | Recipient, **mail: Any) -> tuple[list[tuple[str, str, int]], list[Any]]:
    results, events = await passage(post).hand_over(entry(post, *to, **mail), content(post))
    return [(one.kind, one.at, one.reply.code) for one in results], list(events)


def test_the_next_hop_gets_our_trace_and_the_content_and_its_answer_is_told_for_each_recipient() -> None:
    async def main() -> None:
        post = Post(**INNER)
        post.world.answers["10.0.0.5"] = lambda job: [result(250, "2.0.0", "kept"), result(550, "5.1.1", "no")]
        results, (event,) = await handed(post, ADA, BEA)
        assert results == [("delivered", "data", 250), ("failed", "data", 550)]
        assert post.world.contents == [PREFIX + BODY]
        ((address, job),) = post.world.jobs
        assert (address, str(job.envelope.reverse_path)) == ("10.0.0.5", "bob@far.example")
        assert post.world.opened[0].port == 2525
        assert not post.spool.entries
        assert event.kind == "delivery.attempt"
        assert event.message == "01ARZ3NDEKTSV4RRFFQ69G5FAV"
        assert event.details["cut_through"] is True
        assert event.details["verdict"] == "mixed"
        assert [one["reply"] for one in event.details["results"]] == ["250 2.0.0 kept", "550 5.1.1 no"]

    run(main())


def test_a_next_hop_that_is_down_or_breaks_in_the_middle_is_to_be_tried_later() -> None:
    async def main() -> None:
        post = Post(**INNER)
        post.world.down["10.0.0.5"] = refuses_to_connect()
        results, (event,) = await handed(post, ADA)
        assert results == [("deferred", "connect", 451)]
        assert event.details["verdict"] == "deferred"
        del post.world.down["10.0.0.5"]
        post.world.answers["10.0.0.5"] = lambda job: [result(451, "4.4.2", "broke", by_peer=False)]
        results, _ = await handed(post, ADA)
        assert results == [("deferred", "data", 451)]

    run(main())


def test_a_next_hop_that_never_ends_holds_the_peer_no_longer_than_it_waits() -> None:
    async def main() -> None:
        post = Post(**INNER)
        post.world.gates["10.0.0.5"] = asyncio.Event()
        began = post.clock.monotonic()
        results, _ = await handed(post, ADA)
        assert results == [("deferred", "data", 451)]
        assert LONGEST_SECONDS <= post.clock.monotonic() - began < 600
        assert post.loop.pool.open_sessions == 0

    run(main())


def test_a_notice_of_success_that_the_next_hop_does_not_send_is_ours_to_send() -> None:
    """RFC 3461 §5.2.2: the next hop knows no DSN, so "relayed" is told by whoever passed the message to it."""

    async def main() -> None:
        post = Post(**INNER)
        results, events = await handed(post, Recipient(ADA, notify=("SUCCESS",)))
        assert results == [("delivered", "data", 250)]
        (notice,) = post.spool.entries.values()
        assert notice.envelope.reverse_path.is_null
        assert str(notice.recipients[0].recipient.path) == "bob@far.example"
        assert b"Action: relayed" in post.spool.octets[notice.id]
        assert [event.kind for event in events] == ["delivery.attempt", "smtp.message"]
        assert events[0].details["made"] == [notice.id]

    run(main())


def test_a_refusal_is_told_to_nobody_but_the_peer() -> None:
    async def main() -> None:
        post = Post(**INNER)
        post.world.answers["10.0.0.5"] = lambda job: [result(550, "5.7.1", "spam")]
        await handed(post, ADA)
        assert not post.spool.entries

    run(main())


def test_a_line_leads_to_the_next_hop_on_the_real_sender() -> None:
    async def main() -> None:
        post = Post(**INNER)
        peer = ScriptedPeer(post.clock, RCPT=["250 2.1.5 Ok", "550 5.1.1 No"])
        through = passage(post, peer)
        line = await through.line("inner.example", Envelope(Path("bob", "far.example")))
        assert isinstance(line, Line)
        assert [(await line.ask(Recipient(one))).kind for one in (ADA, BEA)] == ["delivered", "failed"]
        through.part(line)
        await asyncio.sleep(0)
        assert peer.asked["host"] == "10.0.0.5"
        assert peer.lines[0] == f"EHLO {HOSTNAME}"
        assert peer.lines[1] == "MAIL FROM:<bob@far.example>"

    run(main())


def test_no_line_to_a_next_hop_that_is_down() -> None:
    async def main() -> None:
        post = Post(**INNER)
        peer = ScriptedPeer(post.clock)
        peer.refuses_connection = True
        found = await passage(post, peer).line("inner.example", Envelope(Path("bob", "far.example")))
        assert isinstance(found, RecipientResult)
        assert (found.kind, found.at) == ("deferred", "connect")

    run(main())


class Pieces:
    """Content that comes in pieces."""

    octets = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in (b"Subject: a\r\n\r\n", b"one\r\n", b"two\r\n"):
            yield piece


def test_content_is_read_in_pieces_as_the_spool_keeps_it() -> None:
    async def main() -> None:
        post = Post(**INNER)
        await passage(post).hand_over(entry(post, ADA), Pieces())  # type: ignore[arg-type]  # it is only read
        assert post.world.contents == [PREFIX + b"Subject: a\r\n\r\none\r\ntwo\r\n"]

    run(main())
