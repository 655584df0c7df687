"""Recipients of ours: maildrops, aliases, lists, the role addresses, and rings of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.delivery.parts import BODY, Post, result
from tests.support.virtual_time import run

from gatepost.accounts.model import Target
from gatepost.accounts.port import AccountsError
from gatepost.delivery.local import trace_prefix
from gatepost.delivery.schedule import Schedule
from gatepost.mail.address import NULL_PATH, Path, parse_mailbox
from gatepost.mail.envelope import EVERYBODY, Recipient
from gatepost.maildrop.port import MaildropError
from gatepost.spool.model import Entry, State

OWNER = Path("owner", "example.org")


def drop(name: str, reverse_path: Path | None = None) -> Target:
    return Target("maildrop", Path(name, "example.org"), reverse_path)


def remote(address: str, reverse_path: Path | None = None) -> Target:
    return Target("remote", parse_mailbox(address), reverse_path)


BOOK: dict[str, list[Target]] = {
    "ada@example.org": [drop("ada")],
    "bea@example.org": [drop("bea")],
    "info@example.org": [drop("ada")],
    "all@example.org": [drop("ada"), drop("bea"), remote("eve@example.net")],
    "away@example.org": [remote("ada@example.net")],
    "Away@example.org": [remote("ada@example.net")],
    "club@example.org": [drop("ada", OWNER), remote("eve@example.net", OWNER), remote("zoe@example.net", OWNER)],
    "solo@example.org": [drop("ada", OWNER)],
    "postmaster@example.org": [Target("aside", Path("postmaster", "mx.example.org"))],
    "ghost@example.org": [Target("unknown", Path("gone", "example.org"), None, ("ghost@example.org",))],
}
NET: dict[str, Any] = {"example.net": {"MX": ["10 mx.example.net"]}, "mx.example.net": {"A": ["203.0.113.1"]}}


def children(post: Post, entry_id: str) -> list[Entry]:
    return [entry for entry, _ in post.spool.made(but={entry_id})]


def test_an_alias_of_one_is_delivered_at_once_under_the_address_that_was_written() -> None:
    async def main() -> None:
        post = Post(book=BOOK)
        async with post.running():
            entry_id = await post.send("info@example.org")
            await post.passes(1)
        (octets,) = post.maildrops.kept["ada@example.org"].values()
        assert octets.startswith(b"Return-Path: <bob@example.org>\r\nDelivered-To: info@example.org\r\n")
        assert children(post, entry_id) == []

    run(main())


def test_an_alias_of_several_reaches_each_once_with_the_sender_kept() -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            entry_id = await post.send("all@example.org", mail={"ret": "HDRS", "envid": "E1"})
            await post.passes(1)
        (child,) = children(post, entry_id)
        assert str(child.envelope.reverse_path) == "bob@example.org"
        assert (child.envelope.ret, child.envelope.envid) == ("HDRS", "E1")
        assert [recipient.recipient.orcpt for recipient in child.recipients] == ["rfc822;all@example.org"] * 3
        assert [recipient.destination for recipient in child.recipients] == ["local", "local", "example.net"]
        assert {name: len(kept) for name, kept in post.maildrops.kept.items()} == {
            "ada@example.org": 1,
            "bea@example.org": 1,
        }
        assert post.world.contents == [b"Delivered-To: all@example.org\r\n" + BODY]

    run(main())


def test_a_list_sends_under_its_owner_and_carries_no_wishes_of_the_sender_on() -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        club = Recipient(Path("club", "example.org"), ("SUCCESS", "FAILURE"))
        async with post.running():
            entry_id = await post.send(club, mail={"ret": "FULL", "envid": "E1"})
            await post.passes(1)
        child = next(entry for entry in children(post, entry_id) if len(entry.recipients) == 3)
        assert child.envelope.reverse_path == OWNER
        assert (child.envelope.ret, child.envelope.envid) == ("", "")
        assert {(r.recipient.notify, r.recipient.orcpt) for r in child.recipients} == {((), "")}
        ((to, notice),) = post.notices()
        assert str(to) == "bob@example.org"
        assert b"Action: delivered" in notice  # to the list (RFC 3461 §5.2.7.1)
        (octets,) = post.maildrops.kept["ada@example.org"].values()
        assert octets.startswith(b"Return-Path: <owner@example.org>\r\n")

    run(main())


def test_a_bounce_from_a_list_goes_to_its_owner() -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        post.world.answers["203.0.113.1"] = lambda job: [
            result(550, "5.1.1", "gone", "rcpt") for _ in job.envelope.recipients
        ]
        async with post.running():
            await post.send("club@example.org")
            await post.passes(1)
        ((to, notice),) = post.notices()
        assert to == OWNER
        assert b"eve@example.net" in notice
        assert b"zoe@example.net" in notice

    run(main())


def test_a_list_of_one_bounces_to_its_owner_too() -> None:
    async def main() -> None:
        post = Post(book=BOOK, schedule=Schedule(lifetime=timedelta(minutes=1)))
        post.maildrops.quota = 10
        async with post.running():
            await post.send("solo@example.org")
            await post.passes(3600)
        assert [str(to) for to, _ in post.notices()] == ["owner@example.org"]

    run(main())


def test_a_null_reverse_path_stays_null_through_a_list() -> None:
    """A bounce that reached a list was sent on under the owner's name, and bounced for ever."""

    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            entry_id = await post.send("club@example.org", sender="")
            await post.passes(1)
        assert {entry.envelope.reverse_path for entry in children(post, entry_id)} == {NULL_PATH}
        assert post.addresses.notices[0] == "club@example.org"  # so that the directory can name the owners instead

    run(main())


@pytest.mark.parametrize(
    ("notify", "told", "passed_on"),
    [
        ((), [], ()),
        (("FAILURE",), [], ("FAILURE",)),
        (("SUCCESS", "DELAY"), [b"expanded"], ("DELAY",)),
        (("SUCCESS",), [b"expanded"], ("NEVER",)),
        (("NEVER",), [], ("NEVER",)),
    ],
)
def test_behind_an_alias_of_several_success_is_told_once(notify: Any, told: list[bytes], passed_on: Any) -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            entry_id = await post.send(Recipient(Path("all", "example.org"), notify))
            await post.passes(1)
        child = next(entry for entry in children(post, entry_id) if len(entry.recipients) == 3)
        assert {recipient.recipient.notify for recipient in child.recipients} == {passed_on}
        assert [b"Action: " + action in notice for action in told for _, notice in post.notices()] == [True] * len(told)
        assert len(post.notices()) == len(told)

    run(main())


def test_a_forward_hands_the_wish_for_a_notice_on() -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            entry_id = await post.send(Recipient(Path("away", "example.org"), ("SUCCESS",)))
            await post.passes(1)
        forward = next(entry for entry in children(post, entry_id) if entry.recipients[0].destination == "example.net")
        assert forward.recipients[0].recipient.notify == ("SUCCESS",)
        assert [b"Action: relayed" in notice for _, notice in post.notices()] == [True]

    run(main())


@pytest.mark.parametrize("address", ["away@example.org", "Away@example.org"])
@pytest.mark.parametrize("case", [str, str.upper])
def test_mail_that_comes_back_to_an_alias_is_a_loop(address: str, case: Any) -> None:
    """away@ours forwarded to a host that forwarded it back, until the Received fields were too many."""

    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            body = f"Delivered-To: {case('away@example.org')}\r\n".encode() + BODY
            entry_id = await post.send(address, body=body)
            await post.passes(1)
            (recipient,) = post.spool.recipients(entry_id).values()
            assert recipient.state is State.BOUNCED
            assert "5.4.6" in recipient.reply
        assert post.world.jobs == []

    run(main())


def test_a_delivered_to_in_the_body_or_of_another_address_is_no_loop() -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            body = b"Delivered-To: other@example.org\r\n" + BODY + b"Delivered-To: away@example.org\r\n"
            await post.send("away@example.org", body=body)
            await post.passes(1)
        assert len(post.world.jobs) == 1

    run(main())


@pytest.mark.parametrize("address", ["nobody@example.org", "ghost@example.org"])
def test_an_address_of_ours_that_is_nobody_s_comes_back(address: str) -> None:
    async def main() -> None:
        post = Post(book=BOOK)
        async with post.running():
            await post.send(address)
            await post.passes(1)
        ((_, notice),) = post.notices()
        assert b"Status: 5.1.1" in notice

    run(main())


def test_mail_for_a_role_without_postmaster_is_kept_aside_with_one_alert_an_hour() -> None:
    async def main() -> None:
        post = Post(book=BOOK)
        async with post.running():
            for _ in range(3):
                await post.send("postmaster@example.org")
                await post.passes(1)
            assert len(post.maildrops.kept["postmaster@mx.example.org"]) == 3
            alerts = [event for event in post.record.events if event.kind == "alert"]
            assert len(alerts) == 1
            assert "postmaster" in alerts[0].details["do"]
            await post.passes(3600)
            await post.send("postmaster@example.org")
            await post.passes(1)
        assert len([event for event in post.record.events if event.kind == "alert"]) == 2

    run(main())


def test_the_postmaster_without_a_domain_is_ours() -> None:
    assert b"Delivered-To: postmaster@mx.example.org\r\n" in trace_prefix(
        NULL_PATH, Path("postmaster", ""), "mx.example.org"
    )
    assert trace_prefix(NULL_PATH, Path("a", "example.org"), "x").startswith(b"Return-Path: <>\r\n")


@pytest.mark.parametrize("error", [AccountsError("locked"), None])
def test_trouble_of_ours_defers_and_is_over_when_it_is_over(error: Exception | None) -> None:
    async def main() -> None:
        post = Post(book=BOOK)
        deliver = post.maildrops.deliver

        async def broken(*args: Any) -> str:
            raise MaildropError("read-only file system")

        post.addresses.error = error
        if error is None:
            post.maildrops.deliver = broken  # type: ignore[assignment,method-assign]
        async with post.running():
            entry_id = await post.send("ada@example.org")
            await post.passes(1)
            (recipient,) = post.spool.recipients(entry_id).values()
            assert recipient.state is State.DEFERRED
            assert recipient.reply.startswith("451 4.3.0")
            post.addresses.error = None
            post.maildrops.deliver = deliver  # type: ignore[method-assign]
            await post.passes(600)
            assert len(post.maildrops.kept["ada@example.org"]) == 1

    run(main())


def test_a_full_member_delays_no_other_member() -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        post.maildrops.put("ada@example.org", b"x" * 1000)
        post.maildrops.quota = 1000
        async with post.running():
            await post.send("all@example.org")
            await post.passes(1)
            assert len(post.maildrops.kept["bea@example.org"]) == 1
            assert len(post.world.jobs) == 1
            await post.passes(3600)
            assert len(post.maildrops.kept["bea@example.org"]) == 1
        assert len(post.world.jobs) == 1

    run(main())


def test_a_list_of_thousands_is_several_entries_in_one_commit() -> None:
    async def main() -> None:
        members = [remote(f"u{number}@example.net", OWNER) for number in range(2500)]
        post = Post(NET, {**BOOK, "huge@example.org": members})
        async with post.running():
            entry_id = await post.send("huge@example.org")
            await post.passes(1)
        sizes = [len(entry.recipients) for entry in children(post, entry_id)]
        assert sorted(sizes) == [500, 1000, 1000]
        assert sum(len(job.envelope.recipients) for _, job in post.world.jobs) == 2500

    run(main())


def test_entries_that_delivery_made_are_on_the_record_with_their_parent() -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            entry_id = await post.send("away@example.org", "nobody@example.org")
            await post.passes(1)
        made = {event.details["why"]: event for event in post.record.events if event.kind == "smtp.message"}
        assert set(made) == {"expansion", "notice"}
        assert {event.message for event in made.values()} == {entry_id}
        (attempt,) = [event for event in post.record.attempts() if event.message == entry_id]
        assert set(attempt.details["made"]) == {event.id for event in made.values()}

    run(main())


@pytest.mark.parametrize(("name", "told"), [("all@example.org", b"expanded"), ("club@example.org", b"delivered")])
def test_who_has_a_copy_of_their_own_gets_no_other_one(name: str, told: bytes) -> None:
    """Members whose mail is encrypted when it is accepted had it twice, once in clear."""

    async def main() -> None:
        post = Post(NET, BOOK)
        local_part = name.partition("@")[0]
        async with post.running():
            entry_id = await post.send(
                Recipient(Path(local_part, "example.org"), ("SUCCESS",), served=("ada@example.org", "eve@example.net"))
            )
            await post.passes(1)
        child = next(entry for entry in children(post, entry_id) if entry.recipients[0].destination != "example.org")
        names = [str(each.recipient.path) for each in child.recipients]
        assert names == (["bea@example.org"] if local_part == "all" else ["zoe@example.net"])
        assert "ada@example.org" not in post.maildrops.kept
        ((_, notice),) = [pair for pair in post.notices() if b"Action: " + told in pair[1]]
        assert b"Action: relayed" not in notice  # one left of several is no forward

    run(main())


@pytest.mark.parametrize("name", ["all", "club", "ghost", "unheard-of"])
@pytest.mark.parametrize("notify", [(), ("SUCCESS",)])
def test_an_entry_whose_members_are_all_served_only_tells_of_success(name: str, notify: Any) -> None:
    async def main() -> None:
        post = Post(NET, BOOK)
        async with post.running():
            await post.send(Recipient(Path(name, "example.org"), notify, served=EVERYBODY))
            await post.passes(1)
        assert post.world.jobs == []
        assert [each for each in post.maildrops.kept if each != "bob@example.org"] == []
        assert all(b"Action: failed" not in notice for _, notice in post.notices())
        if name in ("all", "club"):
            assert len(post.notices()) == len(notify)

    run(main())
