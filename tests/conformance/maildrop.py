"""What every engine of the maildrop port does: inherit `MaildropSuite` and give a `make` that builds the engine."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from gatepost.mail.ids import make_id
from gatepost.maildrop.port import Arrival, Maildrop, MaildropBusyError, MaildropError, MaildropFullError, MaildropStore

ADA = "ada@example.org"
PREFIX = b"Return-Path: <bob@example.net>\r\nDelivered-To: ada@example.org\r\n"
SMALL = b"Subject: small\r\n\r\n.leading dot\r\n..\r\n.\r\nend\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%d of a long message\r\n" % n for n in range(60_000))
EIGHT_BIT = b"Subject: \xc3\xa4\r\n\r\n\x00\xff\xfe octets of any kind\r\n\r\n\r\n"


async def pieces(octets: bytes, size: int = 7777) -> AsyncIterator[bytes]:
    for at in range(0, len(octets), size):
        yield octets[at : at + size]


async def content_of(maildrop: Maildrop, index: int) -> bytes:
    return b"".join([piece async for piece in maildrop.read(index)])


class MaildropSuite:
    """One test each for what the port promises."""

    def make(self, quota: int | None) -> MaildropStore:
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> MaildropStore:
        return self.make(None)

    async def deliver(self, store: MaildropStore, content: bytes, account: str = ADA, size: int = 7777) -> str:
        return await store.deliver(account, "01JD0000000000000000000000.0", PREFIX, pieces(content, size))

    @pytest.mark.parametrize("content", [SMALL, LARGE, EIGHT_BIT, b"", b"Subject: only\r\n"])
    @pytest.mark.parametrize("size", [1 << 20, 7777])
    async def test_what_was_delivered_is_read_octet_for_octet(
        self, store: MaildropStore, content: bytes, size: int
    ) -> None:
        await self.deliver(store, content, size=size)
        maildrop = await store.open(ADA)
        assert await content_of(maildrop, 0) == PREFIX + content
        assert maildrop.messages[0].octets == len(PREFIX + content)

    async def test_a_cr_and_its_lf_may_come_in_two_pieces(self, store: MaildropStore) -> None:
        await self.deliver(store, SMALL, size=1)
        assert await content_of(await store.open(ADA), 0) == PREFIX + SMALL

    async def test_a_last_line_without_its_end_gets_one(self, store: MaildropStore) -> None:
        await self.deliver(store, b"Subject: chunk\r\n\r\nno line end")
        maildrop = await store.open(ADA)
        assert (await content_of(maildrop, 0)).endswith(b"no line end\r\n")
        assert maildrop.messages[0].octets == len(await content_of(maildrop, 0))

    async def test_messages_are_listed_oldest_first(self, store: MaildropStore) -> None:
        for number in range(12):
            await self.deliver(store, b"%d\r\n" % number)
        maildrop = await store.open(ADA)
        assert [await content_of(maildrop, index) for index in range(12)] == [PREFIX + b"%d\r\n" % n for n in range(12)]

    async def test_uids_are_unique_and_the_same_in_the_next_session(self, store: MaildropStore) -> None:
        for _ in range(5):
            await self.deliver(store, SMALL)
        maildrop = await store.open(ADA)
        uids = [message.uid for message in maildrop.messages]
        await maildrop.remove((0, 2))
        maildrop.close()
        await self.deliver(store, SMALL)
        again = [message.uid for message in (await store.open(ADA)).messages]
        assert len(set(uids)) == 5
        assert all(re.fullmatch(r"[\x21-\x7e]{1,70}", uid) for uid in uids)
        assert again[:3] == [uids[1], uids[3], uids[4]]
        assert again[3] not in uids

    async def test_a_locked_maildrop_is_busy_until_it_is_closed(self, store: MaildropStore) -> None:
        first = await store.open(ADA)
        with pytest.raises(MaildropBusyError):
            await store.open(ADA)
        with pytest.raises(MaildropBusyError):
            await store.open("ADA@example.ORG")
        (await store.open("bob@example.org")).close()
        first.close()
        (await store.open(ADA)).close()

    async def test_mail_arrives_while_a_session_has_the_lock_and_shows_in_the_next(self, store: MaildropStore) -> None:
        await self.deliver(store, SMALL)
        maildrop = await store.open(ADA)
        await self.deliver(store, LARGE)
        assert len(maildrop.messages) == 1
        maildrop.close()
        assert len((await store.open(ADA)).messages) == 2

    async def test_removing_takes_those_and_no_others(self, store: MaildropStore) -> None:
        for number in range(4):
            await self.deliver(store, b"%d\r\n" % number)
        maildrop = await store.open(ADA)
        assert await maildrop.remove((1, 3)) == 2
        maildrop.close()
        maildrop = await store.open(ADA)
        assert [await content_of(maildrop, index) for index in (0, 1)] == [PREFIX + b"0\r\n", PREFIX + b"2\r\n"]

    async def test_closing_removes_nothing(self, store: MaildropStore) -> None:
        await self.deliver(store, SMALL)
        (await store.open(ADA)).close()
        assert len((await store.open(ADA)).messages) == 1

    async def test_a_message_that_is_gone_counts_as_removed_and_cannot_be_read(self, store: MaildropStore) -> None:
        await self.deliver(store, SMALL)
        maildrop = await store.open(ADA)
        await maildrop.remove((0,))
        assert await maildrop.remove((0,)) == 1
        with pytest.raises(MaildropError):
            await content_of(maildrop, 0)

    async def test_accounts_do_not_see_each_other(self, store: MaildropStore) -> None:
        await self.deliver(store, SMALL)
        assert (await store.open("bob@example.org")).messages == ()
        assert (await store.open("ada@example.net")).messages == ()

    async def test_what_is_over_quota_is_refused_and_leaves_nothing(self) -> None:
        store = self.make(2000)
        await self.deliver(store, b"x" * 1000 + b"\r\n")
        with pytest.raises(MaildropFullError):
            await self.deliver(store, b"x" * 1000 + b"\r\n")
        with pytest.raises(MaildropFullError):
            await self.deliver(store, LARGE)
        await self.deliver(store, SMALL)
        assert len((await store.open(ADA)).messages) == 2

    async def test_many_come_at_once_each_to_its_account(self, store: MaildropStore) -> None:
        accounts = [ADA, "bob@example.org", ADA, "eve@example.org"]
        arrivals = [
            Arrival(account, make_id(1000, number) + "-0", PREFIX, b"%d\r\n" % number)
            for number, account in enumerate(accounts)
        ]
        places = await store.deliver_all(arrivals)
        assert all(isinstance(place, str) for place in places)
        assert len(set(places)) == 4
        for account, numbers in ((ADA, (0, 2)), ("bob@example.org", (1,)), ("eve@example.org", (3,))):
            maildrop = await store.open(account)
            assert [await content_of(maildrop, index) for index in range(len(maildrop.messages))] == [
                PREFIX + b"%d\r\n" % number for number in numbers
            ]

    async def test_of_many_that_come_at_once_one_that_has_no_room_keeps_no_other_out(self) -> None:
        store = self.make(2000)
        contents = [SMALL, b"x" * 1500 + b"\r\n", b"x" * 1000 + b"\r\n", SMALL]
        arrivals = [
            Arrival(ADA, make_id(1000, number) + "-0", PREFIX, content) for number, content in enumerate(contents)
        ]
        arrivals.append(Arrival("no address", make_id(1000, 9) + "-0", PREFIX, SMALL))
        places = await store.deliver_all(arrivals)
        assert [type(place) for place in places[:4]] == [str, str, MaildropFullError, str]
        assert isinstance(places[4], MaildropError)
        maildrop = await store.open(ADA)
        kept = [await content_of(maildrop, index) for index in range(len(maildrop.messages))]
        assert kept == [PREFIX + contents[number] for number in (0, 1, 3)]

    async def test_what_is_removed_makes_room(self) -> None:
        store = self.make(2000)
        for _ in range(5):
            await self.deliver(store, b"x" * 1000 + b"\r\n")
            maildrop = await store.open(ADA)
            await maildrop.remove((0,))
            maildrop.close()
        assert await store.used(ADA) == 0

    async def test_used_grows_with_what_is_kept(self, store: MaildropStore) -> None:
        assert await store.used(ADA) == 0
        await self.deliver(store, SMALL)
        one = await store.used(ADA)
        await self.deliver(store, SMALL)
        assert one > 0
        assert await store.used(ADA) == 2 * one
