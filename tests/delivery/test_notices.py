"""Notices: what is returned of a message, where they go, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.delivery.parts import BODY, Post
from tests.support.virtual_time import run

from gatepost.accounts.model import Target
from gatepost.accounts.port import AccountsError
from gatepost.mail.address import Path
from gatepost.mail.envelope import Recipient
from gatepost.spool.model import State
from gatepost.spool.port import SpoolError, SpoolFullError

BOB = {"bob@example.org": [Target("maildrop", Path("bob", "example.org"))]}
NOWHERE = "eve@nowhere.example"


@pytest.mark.parametrize(
    ("ret", "octets", "whole"),
    [("", 100, False), ("HDRS", 100, False), ("FULL", 100, True), ("FULL", 300_000, False)],
)
def test_ret_decides_what_is_returned_up_to_a_size(ret: Any, octets: int, whole: bool) -> None:
    async def main() -> None:
        post = Post()
        async with post.running():
            await post.send(NOWHERE, mail={"ret": ret}, body=BODY + b"x" * octets + b"\r\n")
            await post.passes(1)
        ((_, notice),) = post.notices()
        assert (b"Content-Type: message/rfc822" in notice) is whole
        assert (b"At noon?" in notice) is whole
        assert b"Subject: Lunch" in notice

    run(main())


def test_a_notice_about_success_returns_the_header_only() -> None:
    async def main() -> None:
        post = Post(book=BOB)
        async with post.running():
            await post.send(Recipient(Path("bob", "example.org"), ("SUCCESS",)), mail={"ret": "FULL"})
            await post.passes(1)
        ((_, notice),) = post.notices()
        assert b"At noon?" not in notice

    run(main())


def test_a_notice_is_kept_in_the_commit_of_the_bounce_with_a_null_reverse_path_and_asks_for_none() -> None:
    async def main() -> None:
        post = Post(book=BOB)
        commits: list[tuple[Any, Any]] = []
        settle = post.spool.settle

        async def noted(settlements: Any, new: Any = ()) -> None:
            commits.append((settlements, new))
            await settle(settlements, new)

        post.spool.settle = noted  # type: ignore[method-assign]
        async with post.running():
            await post.send(NOWHERE)
            await post.passes(1)
        (settlement,), ((notice, _),) = commits[0]
        assert settlement.state is State.BOUNCED
        assert notice.envelope.reverse_path.is_null
        assert notice.envelope.recipients == (Recipient(Path("bob", "example.org"), ("NEVER",)),)
        assert notice.destinations == ("local",)
        (octets,) = post.maildrops.kept["bob@example.org"].values()
        assert octets.startswith(b"Return-Path: <>\r\nDelivered-To: bob@example.org\r\nFrom: Mail delivery")

    run(main())


@pytest.mark.parametrize("sender", ["bob@far.example", "gone@example.org"])
def test_a_notice_that_cannot_be_delivered_ends_there(sender: str) -> None:
    async def main() -> None:
        post = Post(book=BOB)
        async with post.running():
            await post.send(NOWHERE, sender=sender)
            await post.passes(10)
        assert len(post.notices()) == 1
        assert post.spool.entries == {}

    run(main())


def test_recipients_that_fail_together_share_one_notice() -> None:
    async def main() -> None:
        post = Post()
        async with post.running():
            await post.send(NOWHERE, "zoe@nowhere.example", "max@nowhere.example")
            await post.passes(1)
        ((_, notice),) = post.notices()
        assert notice.count(b"Action: failed") == 3

    run(main())


def test_without_room_for_the_notice_the_bounce_waits_and_nothing_is_lost() -> None:
    async def main() -> None:
        post = Post()
        new_content = post.spool.new_content

        def full() -> Any:
            raise SpoolFullError("the disk is full")

        post.spool.new_content = full  # type: ignore[method-assign]
        async with post.running():
            entry_id = await post.send(NOWHERE, content=new_content())
            await post.passes(60)
            assert post.spool.recipients(entry_id)[NOWHERE].attempts == 0
            assert entry_id in post.spool.entries
            post.spool.new_content = new_content  # type: ignore[method-assign]
            await post.passes(70)
            assert entry_id in post.spool.left
        assert len(post.notices()) == 1

    run(main())


def test_a_message_that_is_gone_is_reported_without_it() -> None:
    async def main() -> None:
        post = Post()
        async with post.running():
            entry_id = await post.send(NOWHERE, mail={"ret": "FULL"})
            post.spool.unreadable.add(entry_id)
            await post.passes(1)
        ((_, notice),) = post.notices()
        assert b"cannot be read any more" in notice

    run(main())


def test_a_report_to_a_utf8_sender_is_an_smtputf8_message() -> None:
    async def main() -> None:
        post = Post(book={"jürgen@example.org": [Target("maildrop", Path("jürgen", "example.org"))]})
        async with post.running():
            entry_id = await post.send(NOWHERE, sender="jürgen@example.org", mail={"smtputf8": True})
            await post.passes(1)
        ((notice, _),) = post.spool.made(but={entry_id})
        assert notice.envelope.smtputf8
        assert notice.has_8bit

    run(main())


def test_trouble_with_one_notice_does_not_hold_up_others() -> None:
    """One bounce whose sender could not be looked up stopped every settlement behind it."""

    async def main() -> None:
        post = Post(book=BOB)
        resolve = post.addresses.resolve

        def broken(path: Path) -> Any:
            if path.local_part == "odd":
                raise AccountsError("locked")
            return resolve(path)

        post.addresses.resolve = broken  # type: ignore[method-assign]
        async with post.running():
            odd = await post.send(NOWHERE, sender="odd@example.org")
            other = await post.send("bob@example.org")
            await post.passes(1)
            assert other in post.spool.left
            assert odd in post.spool.entries

    run(main())


@pytest.mark.parametrize("address", [NOWHERE, "both@example.org"])
def test_an_attempt_whose_new_entries_cannot_be_added_is_made_again_and_holds_up_nobody(address: str) -> None:
    async def main() -> None:
        both = [Target("maildrop", Path(name, "example.org")) for name in ("bob", "bea")]
        post = Post(book={**BOB, "bea@example.org": both[1:], "both@example.org": both})
        settle = post.spool.settle

        async def picky(settlements: Any, new: Any = ()) -> None:
            if new:
                raise SpoolError("there is an entry of that ID already")
            await settle(settlements, new)

        post.spool.settle = picky  # type: ignore[method-assign]
        async with post.running():
            entry_id = await post.send(address)
            other = await post.send("bob@example.org")
            await post.passes(30)
            assert other in post.spool.left
            assert post.spool.recipients(entry_id)[address].state is State.DUE
            post.spool.settle = settle  # type: ignore[method-assign]
            await post.passes(120)
            assert entry_id in post.spool.left
        assert len(post.spool.made(but={entry_id, other})) == 1

    run(main())
