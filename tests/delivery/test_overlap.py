"""The commands of the next message leave with the content of one (RFC 2920 §3.1): what that may never cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.delivery.parts import FakeSession, Post, result
from tests.support.scripted_peer import ALL, CLOSE, SILENT, ScriptedPeer
from tests.support.virtual_time import LoopClock, run

from gatepost.delivery.next_hop import Job, NextHop
from gatepost.delivery.outbound import OutboundSession, RecipientResult
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.spool.model import State

HOP = NextHop("192.0.2.7", "mx.example.net")
DELIVERED = ("delivered", 250)
ROUTE: dict[str, Any] = {"example.net": {"MX": ["10 mx.example.net"]}, "mx.example.net": {"A": ["203.0.113.1"]}}


def message(name: str, **more: Any) -> Job:
    body = f"Subject: {name}\r\n\r\n.\r\n".encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    return Job(Envelope(Path(name, "example.org"), (Recipient(Path("eve", "example.net")),)), pieces, len(body), **more)


def chain(*names: str) -> list[Job]:
    """Jobs of which each is followed by the next."""
    jobs: list[Job] = []
    for name in reversed(names):
        jobs.insert(0, message(name, **({"following": lambda job=jobs[0]: job} if jobs else {})))
    return jobs


def brief(results: list[RecipientResult]) -> list[tuple[str, int]]:
    return [(result.kind, result.reply.code) for result in results]


async def opened(**replies: Any) -> tuple[OutboundSession, ScriptedPeer]:
    peer = ScriptedPeer(LoopClock(), **replies)
    return await OutboundSession.open(peer, HOP, "mx.example.org", peer.clock), peer


async def test_commands_of_the_next_message_leave_with_the_content_and_each_has_its_own_answers() -> None:
    session, peer = await opened(dot=["250 2.0.0 first", "550 5.7.1 second", "250 2.0.0 third"])
    first, second, third = chain("one", "two", "three")
    assert brief(await session.deliver(first)) == [DELIVERED]
    assert not any("two" in line for line in peer.lines), "the first answers of a peer show whether it is one to trust"
    session.take_dialogue()
    await session.deliver(second)
    assert peer.lines[-3:] == ["MAIL FROM:<three@example.org> SIZE=21", "RCPT TO:<eve@example.net>", "DATA"]
    dialogue = session.take_dialogue()
    assert not any("three" in line for line in dialogue)
    assert dialogue[-1] == "S: 550 5.7.1 second"
    assert brief(await session.deliver(third)) == [DELIVERED]
    assert session.take_dialogue()[0] == "C: MAIL FROM:<three@example.org> SIZE=21"
    assert [content.split(b"\r\n")[0] for content in peer.contents] == [
        b"Subject: one",
        b"Subject: two",
        b"Subject: three",
    ]
    assert session.is_reusable


@pytest.mark.parametrize("end", ["421 4.3.2 Closing", CLOSE, SILENT, "what?"])
async def test_a_session_that_ends_with_the_message_before_leaves_the_next_one_untried(end: str) -> None:
    session, _ = await opened(dot=["250 2.0.0 first", end])
    first, second, third = chain("one", "two", "three")
    await session.deliver(first)
    await session.deliver(second)
    assert brief(await session.deliver(third)) == [("deferred", 451)]
    assert session.was_stale


@pytest.mark.parametrize(
    "offer",
    [
        [word for word in ALL if word != "PIPELINING"],
        [*ALL, "LIMITS MAILMAX=2"],
    ],
)
async def test_nothing_is_ahead_where_the_peer_does_not_offer_it(offer: list[str]) -> None:
    session, peer = await opened(offer=offer)
    first, second, _ = chain("one", "two", "three")
    await session.deliver(first)
    await session.deliver(second)
    assert not any("three" in line for line in peer.lines)


async def test_a_message_whose_recipient_was_refused_is_followed_by_nothing() -> None:
    """Who was one too many has the next transaction."""
    session, peer = await opened(RCPT=["250 2.1.5 Ok", "250 2.1.5 Ok", "452 4.5.3 Too many", "250 2.1.5 Ok"])
    first, second, _ = chain("one", "two", "three")
    two = (Recipient(Path("eve", "example.net")), Recipient(Path("zoe", "example.net")))
    second = msgspec.structs.replace(second, envelope=msgspec.structs.replace(second.envelope, recipients=two))
    await session.deliver(first)
    assert brief(await session.deliver(second)) == [DELIVERED, DELIVERED]
    assert len(peer.contents) == 3
    assert not any("three" in line for line in peer.lines[:-3])


class Overlapping(FakeSession):
    """A session that asks what follows, and at `ends_at` messages goes with what was ahead."""

    ahead = 0
    ends_at = 1_000_000
    _begun: Job | None = None

    async def deliver(self, job: Job) -> list[RecipientResult]:
        if self._begun is not None:
            assert self._begun is job, "what was taken ahead comes next"
            type(self).ahead += 1
        self._begun = None
        if not self.is_reusable:
            self.was_stale = True
            return [result(451, "4.4.2", "gone", "mail", by_peer=False)]
        results = await super().deliver(job)
        self._begun = job.following()
        if self.messages >= self.ends_at:
            self.close()
        return results


def _post(monkeypatch: pytest.MonkeyPatch, ends_at: int) -> Post:
    monkeypatch.setattr("tests.delivery.parts.FakeSession", Overlapping)
    monkeypatch.setattr(Overlapping, "ahead", 0)
    monkeypatch.setattr(Overlapping, "ends_at", ends_at)
    return Post(ROUTE)


@pytest.mark.parametrize("ends_at", [1_000_000, 3])
def test_a_backlog_goes_over_overlapping_sessions_and_each_message_once(
    monkeypatch: pytest.MonkeyPatch, ends_at: int
) -> None:
    async def main() -> None:
        post = _post(monkeypatch, ends_at)
        ids = [await post.send(f"u{number}@example.net") for number in range(60)]
        async with post.running():
            await post.passes(2)
            states = {post.spool.recipients(entry_id)[f"u{n}@example.net"].state for n, entry_id in enumerate(ids)}
            assert states == {State.DONE}
        to = [str(job.envelope.recipients[0].path) for _, job in post.world.jobs]
        assert sorted(to) == sorted(f"u{number}@example.net" for number in range(60))
        assert Overlapping.ahead > (30 if ends_at > 60 else 0)

    run(main())
