"""What every SpoolStore does. An engine's test module subclasses this and gives `spool`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

import pytest

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.ids import make_id
from gatepost.spool.model import Entry, EntryRecipient, Hold, NewEntry, Settlement, State
from gatepost.spool.port import Content, SpoolError, SpoolStore
from gatepost.spool.transitions import is_at_end

NOW = 1_764_000_000.0
PREFIX = b"Received: from client.example.net by mx.example.org; Mon, 24 Nov 2025 16:00:00 +0000\r\n"
BODY = b"From: bob@example.net\r\n\r\nHello.\r\n"

_entropy = itertools.count(1)


def new_entry(
    *recipients: str,
    octets: int = len(BODY),
    at: float = NOW,
    sender: str = "bob",
    prefix: bytes = PREFIX,
    **more: bool | str | Hold | None,
) -> NewEntry:
    """An entry for `recipients` (default ada@example.org), each with its domain as destination."""
    names = recipients or ("ada@example.org",)
    paths = [Path(*name.rsplit("@", 1)) for name in names]
    return NewEntry(
        id=make_id(int(at * 1000), next(_entropy)),
        envelope=Envelope(Path(sender, "example.net"), tuple(Recipient(path) for path in paths)),
        received_at=at,
        prefix=prefix,
        octets=len(prefix) + octets,
        destinations=tuple(path.domain for path in paths),
        **more,  # type: ignore[arg-type]
    )


def written(spool: SpoolStore, *pieces: bytes) -> Content:
    content = spool.new_content()
    for piece in pieces:
        content.write(piece)
    content.finish()
    return content


async def add(spool: SpoolStore, *recipients: str, body: bytes = BODY, **more: object) -> str:
    entry = new_entry(*recipients, octets=len(body), **more)  # type: ignore[arg-type]
    await spool.add(entry, written(spool, body))
    return entry.id


async def whole(spool: SpoolStore, entry_id: str) -> bytes:
    return b"".join([piece async for piece in spool.read(entry_id)])


def end(entries: Iterable[Entry], state: State, due: float = 0.0, **more: object) -> list[Settlement]:
    return [
        Settlement(entry.id, recipient.number, state, due, **more)  # type: ignore[arg-type]
        for entry in entries
        for recipient in entry.recipients
    ]


def ids(entries: Iterable[Entry]) -> list[str]:
    return [entry.id for entry in entries]


class SpoolConformance:
    """The suite. `spool` must be empty; nobody else writes to it."""

    # --- adding and reading

    async def test_what_was_added_is_leased_with_all_it_came_with(self, spool: SpoolStore) -> None:
        envelope = Envelope(
            reverse_path=Path("bücher", "xn--bcher-kva.example"),
            recipients=(
                Recipient(Path("ada", "example.org"), ("SUCCESS", "DELAY"), "rfc822;Ada+x@example.org"),
                Recipient(Path("two words", "[192.0.2.1]"), ("NEVER",), served=("eve@example.org", "*")),
            ),
            body="8BITMIME",
            smtputf8=True,
            size=12345,
            ret="HDRS",
            envid="QQ314159",
        )
        entry = NewEntry(
            make_id(1, 99), envelope, NOW, PREFIX, len(PREFIX) + len(BODY), ("example.org", "example.org"),
            login="bob@example.net", client="192.0.2.7", has_8bit=True, require_tls=True,
        )  # fmt: skip
        await spool.add(entry, written(spool, BODY))
        (leased,) = await spool.lease(NOW, 10)
        assert (leased.id, leased.received_at, leased.octets) == (entry.id, NOW, entry.octets)
        assert leased.envelope == Envelope(envelope.reverse_path, (), "8BITMIME", True, 12345, "HDRS", "QQ314159")
        assert (leased.login, leased.client, leased.has_8bit, leased.require_tls) == (
            "bob@example.net", "192.0.2.7", True, True,
        )  # fmt: skip
        assert leased.recipients == tuple(
            EntryRecipient(number, recipient, "example.org", State.LEASED, due=NOW)
            for number, recipient in enumerate(envelope.recipients)
        )

    @pytest.mark.parametrize(
        "octets", [0, 1, 4096, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1_000_000], ids=lambda n: f"{n}"
    )
    async def test_content_comes_back_octet_for_octet(self, spool: SpoolStore, octets: int) -> None:
        body = bytes(range(256)) * (octets // 256 + 1)
        pieces = [body[at : min(at + 70_000, octets)] for at in range(0, octets, 70_000)]
        entry = new_entry(octets=octets)
        content = written(spool, *pieces)
        assert content.octets == octets
        await spool.add(entry, content)
        assert await whole(spool, entry.id) == PREFIX + body[:octets]
        assert b"".join([piece async for piece in content.chunks()]) == body[:octets]

    async def test_pieces_are_of_256_kib_at_most(self, spool: SpoolStore) -> None:
        for octets in (256 * 1024, 900_000):
            entry_id = await add(spool, body=b"x" * octets)
            assert max([len(piece) async for piece in spool.read(entry_id)]) <= 256 * 1024

    async def test_content_can_be_read_before_it_is_added(self, spool: SpoolStore) -> None:
        for octets in (10, 600_000):
            content = written(spool, b"a" * octets)
            assert b"".join([piece async for piece in content.chunks()]) == b"a" * octets
            content.discard()

    async def test_an_entry_without_recipients_is_refused(self, spool: SpoolStore) -> None:
        entry = NewEntry(make_id(1, 2), Envelope(), NOW, b"", 4, ())
        with pytest.raises(SpoolError, match="recipient"):
            await spool.add(entry, written(spool, b"abcd"))

    async def test_an_entry_that_lies_about_its_size_is_refused_and_nothing_is_kept(self, spool: SpoolStore) -> None:
        entry = new_entry(octets=5)
        with pytest.raises(SpoolError, match="octets"):
            await spool.add(entry, written(spool, b"abcd"))
        assert await spool.lease(NOW, 10) == []

    async def test_a_second_entry_of_the_same_id_is_refused_and_harms_nobody(self, spool: SpoolStore) -> None:
        first, other = new_entry(), new_entry()
        await spool.add(first, written(spool, BODY))
        results = await asyncio.gather(
            spool.add(first, written(spool, BODY)), spool.add(other, written(spool, BODY)), return_exceptions=True
        )
        assert isinstance(results[0], SpoolError)
        assert results[1] is None
        assert sorted(ids(await spool.lease(NOW, 10))) == sorted([first.id, other.id])

    async def test_the_entries_of_one_message_are_kept_together_or_not_at_all(self, spool: SpoolStore) -> None:
        known = new_entry()
        await spool.add(known, written(spool, BODY))
        one, two = new_entry("bob@example.org"), new_entry("eve@example.org")
        contents = [written(spool, BODY) for _ in range(4)]
        with pytest.raises(SpoolError):
            await spool.add_all([(one, contents[0]), (known, contents[1])])
        with pytest.raises(SpoolError):
            await whole(spool, one.id)
        contents[0].discard()
        await spool.add_all([(one, contents[2]), (two, contents[3])])
        assert await whole(spool, one.id) == await whole(spool, two.id) == PREFIX + BODY
        assert ids(await spool.lease(NOW, 10)).count(one.id) == 1

    async def test_reading_what_is_not_there_is_an_error_of_the_spool(self, spool: SpoolStore) -> None:
        with pytest.raises(SpoolError):
            await whole(spool, make_id(1, 3))

    # --- leasing

    async def test_a_lease_is_given_once(self, spool: SpoolStore) -> None:
        entry_id = await add(spool)
        assert ids(await spool.lease(NOW, 10)) == [entry_id]
        assert await spool.lease(NOW, 10) == []

    async def test_nothing_is_leased_before_its_time(self, spool: SpoolStore) -> None:
        await add(spool, at=NOW + 60)
        assert await spool.lease(NOW + 59.9, 10) == []
        assert await spool.next_due() == NOW + 60
        assert len(await spool.lease(NOW + 60, 10)) == 1
        assert await spool.next_due() is None

    async def test_oldest_first_and_never_more_than_the_limit(self, spool: SpoolStore) -> None:
        added = [await add(spool, at=NOW - 100 + number) for number in range(9)]
        assert ids(await spool.lease(NOW, 4)) == added[:4]
        assert ids(await spool.lease(NOW, 100)) == added[4:]

    async def test_an_entry_comes_once_for_each_destination_with_the_recipients_there(self, spool: SpoolStore) -> None:
        await add(spool, "a@example.org", "b@example.com", "c@example.org")
        leased = await spool.lease(NOW, 10)
        assert sorted([recipient.number for recipient in entry.recipients] for entry in leased) == [[0, 2], [1]]
        assert len(set(ids(leased))) == 1

    async def test_excluded_destinations_are_left_alone(self, spool: SpoolStore) -> None:
        await add(spool, "a@slow.example")
        wanted = await add(spool, "b@example.com")
        assert ids(await spool.lease(NOW, 10, exclude={"slow.example"})) == [wanted]
        assert len(await spool.lease(NOW, 10)) == 1

    async def test_a_sender_with_a_pile_for_one_destination_delays_nobody(self, spool: SpoolStore) -> None:
        for _ in range(120):
            await add(spool, "x@slow.example", at=NOW - 500, sender="mallory")
        wanted = await add(spool, "b@example.com", at=NOW)
        leased = await spool.lease(NOW, 60, per_destination=50)
        assert wanted in ids(leased)
        assert len(leased) == 51

    async def test_piles_for_as_many_destinations_as_a_lease_takes_delay_nobody_for_long(
        self, spool: SpoolStore
    ) -> None:
        for number in range(80):
            await add(spool, f"x@slow{number % 8}.example", at=NOW - 500, sender="mallory")
        wanted = await add(spool, "b@example.com", at=NOW)
        seen = ids(await spool.lease(NOW, 8)) + ids(await spool.lease(NOW, 8))
        assert wanted in seen

    async def test_per_destination_is_kept(self, spool: SpoolStore) -> None:
        for _ in range(5):
            await add(spool, "a@example.org")
        assert len(await spool.lease(NOW, 100, per_destination=2)) == 2

    # --- settling

    @pytest.mark.parametrize("state", [State.DONE, State.BOUNCED])
    async def test_an_entry_leaves_when_its_last_recipient_is_settled(self, spool: SpoolStore, state: State) -> None:
        entry_id = await add(spool, "a@example.org", "b@example.com", body=b"x" * 300_000)
        first, second = await spool.lease(NOW, 10)
        await spool.settle(end([first], State.DONE))
        assert len(await whole(spool, entry_id)) == len(PREFIX) + 300_000
        await spool.settle(end([second], state))
        with pytest.raises(SpoolError):
            await whole(spool, entry_id)

    async def test_a_deferred_recipient_comes_again_at_its_time_with_what_was_said(self, spool: SpoolStore) -> None:
        await add(spool)
        leased = await spool.lease(NOW, 1)
        await spool.settle(end(leased, State.DEFERRED, NOW + 900, reply="451 4.7.1 Later", remote="mx.example.org"))
        assert await spool.next_due() == NOW + 900
        assert await spool.lease(NOW + 899, 1) == []
        (again,) = await spool.lease(NOW + 900, 1)
        (recipient,) = again.recipients
        assert (recipient.attempts, recipient.reply, recipient.remote) == (1, "451 4.7.1 Later", "mx.example.org")

    async def test_a_lease_given_back_untried_counts_no_attempt(self, spool: SpoolStore) -> None:
        await add(spool)
        await spool.settle(end(await spool.lease(NOW, 1), State.DUE, NOW))
        (again,) = await spool.lease(NOW, 1)
        assert again.recipients[0].attempts == 0

    async def test_that_a_delay_was_told_is_not_forgotten(self, spool: SpoolStore) -> None:
        await add(spool)
        await spool.settle(end(await spool.lease(NOW, 1), State.DEFERRED, NOW + 1, delay_told=True))
        await spool.settle(end(await spool.lease(NOW + 1, 1), State.DEFERRED, NOW + 2))
        (again,) = await spool.lease(NOW + 2, 1)
        assert again.recipients[0].delay_told

    async def test_new_entries_come_with_the_settlement(self, spool: SpoolStore) -> None:
        await add(spool)
        leased = await spool.lease(NOW, 1)
        dsn = new_entry("bob@example.net")
        await spool.settle(end(leased, State.BOUNCED), [(dsn, written(spool, BODY))])
        assert ids(await spool.lease(NOW, 10)) == [dsn.id]

    async def test_a_settlement_whose_new_entry_cannot_be_added_settles_nothing(self, spool: SpoolStore) -> None:
        entry_id = await add(spool)
        leased = await spool.lease(NOW, 1)
        known = new_entry("bob@example.net")
        await spool.add(known, written(spool, BODY))
        with pytest.raises(SpoolError):
            await spool.settle(end(leased, State.BOUNCED), [(known, written(spool, BODY))])
        assert await whole(spool, entry_id) == PREFIX + BODY

    async def test_settling_what_has_left_is_no_error(self, spool: SpoolStore) -> None:
        await add(spool)
        leased = await spool.lease(NOW, 1)
        await spool.settle(end(leased, State.DONE))
        await spool.settle(end(leased, State.DEFERRED, NOW))
        assert await spool.lease(NOW + 9, 10) == []

    # --- what people do

    async def test_a_held_entry_waits_for_a_person(self, spool: SpoolStore) -> None:
        entry_id = await add(spool, held_by=Hold.CHECK, hold_reason="sender.rate: too many")
        assert await spool.next_due() is None
        assert await spool.lease(NOW + 1e6, 10) == []
        assert await spool.change(entry_id, "retry", NOW)
        assert await spool.lease(NOW + 1e6, 10) == []
        assert await spool.change(entry_id, "release", NOW + 5)
        (leased,) = await spool.lease(NOW + 5, 10)
        (recipient,) = leased.recipients
        assert (recipient.held_by, recipient.hold_reason, recipient.reply) == (None, "", "")

    async def test_what_is_in_quarantine_leaves_it_by_its_own_door(self, spool: SpoolStore) -> None:
        entry_id = await add(spool, held_by=Hold.QUARANTINE, hold_reason="content.scan: a virus")
        for action in ("retry", "hold", "release", "bounce", "drop"):
            assert await spool.change(entry_id, action, NOW)
            assert await spool.lease(NOW + 1e6, 10) == []
        assert await spool.change(entry_id, "quarantine-release", NOW + 5)
        assert ids(await spool.lease(NOW + 5, 10)) == [entry_id]

    async def test_what_is_in_quarantine_can_be_dropped_there(self, spool: SpoolStore) -> None:
        entry_id = await add(spool, held_by=Hold.QUARANTINE)
        assert await spool.change(entry_id, "quarantine-drop", NOW)
        with pytest.raises(SpoolError):
            await whole(spool, entry_id)

    @pytest.mark.parametrize("held_by", [Hold.PERSON, Hold.CHECK, Hold.DELIVERY])
    async def test_the_door_of_the_quarantine_lets_out_nothing_else(self, spool: SpoolStore, held_by: Hold) -> None:
        entry_id = await add(spool, held_by=held_by)
        for action in ("quarantine-release", "quarantine-drop"):
            assert await spool.change(entry_id, action, NOW)
        assert await spool.lease(NOW + 1e6, 10) == []
        assert await spool.change(entry_id, "release", NOW)
        assert ids(await spool.lease(NOW, 10)) == [entry_id]

    async def test_retry_makes_a_deferred_recipient_due_now(self, spool: SpoolStore) -> None:
        entry_id = await add(spool)
        await spool.settle(end(await spool.lease(NOW, 1), State.DEFERRED, NOW + 86400))
        assert await spool.change(entry_id, "retry", NOW + 3)
        (leased,) = await spool.lease(NOW + 3, 1)
        assert leased.recipients[0].attempts == 1

    async def test_hold_freezes_what_waits(self, spool: SpoolStore) -> None:
        entry_id = await add(spool)
        assert await spool.change(entry_id, "hold", NOW)
        assert await spool.lease(NOW, 10) == []
        assert await spool.next_due() is None

    @pytest.mark.parametrize("held_by", [None, Hold.PERSON])
    async def test_bounce_makes_it_due_with_attempts_at_their_end(
        self, spool: SpoolStore, held_by: Hold | None
    ) -> None:
        entry_id = await add(spool, at=NOW + 500, held_by=held_by)
        assert await spool.change(entry_id, "bounce", NOW)
        (leased,) = await spool.lease(NOW, 10)
        assert is_at_end(leased.recipients[0].attempts)

    @pytest.mark.parametrize("held_by", [None, Hold.CHECK])
    async def test_drop_removes_it(self, spool: SpoolStore, held_by: Hold | None) -> None:
        entry_id = await add(spool, held_by=held_by)
        assert await spool.change(entry_id, "drop", NOW)
        assert not await spool.change(entry_id, "retry", NOW)
        with pytest.raises(SpoolError):
            await whole(spool, entry_id)

    async def test_what_is_leased_is_dropped_when_its_attempt_has_failed(self, spool: SpoolStore) -> None:
        entry_id = await add(spool)
        leased = await spool.lease(NOW, 1)
        assert await spool.change(entry_id, "drop", NOW)
        assert await whole(spool, entry_id) == PREFIX + BODY
        await spool.settle(end(leased, State.DEFERRED, NOW + 60))
        assert not await spool.change(entry_id, "retry", NOW)

    async def test_what_is_leased_is_held_when_its_attempt_has_failed(self, spool: SpoolStore) -> None:
        entry_id = await add(spool)
        leased = await spool.lease(NOW, 1)
        assert await spool.change(entry_id, "hold", NOW)
        await spool.settle(end(leased, State.DEFERRED, NOW + 60))
        assert await spool.lease(NOW + 61, 1) == []
        assert await spool.change(entry_id, "release", NOW + 62)
        assert ids(await spool.lease(NOW + 62, 1)) == [entry_id]

    async def test_what_was_delivered_is_gone_whatever_was_wished_meanwhile(self, spool: SpoolStore) -> None:
        entry_id = await add(spool)
        leased = await spool.lease(NOW, 1)
        assert await spool.change(entry_id, "hold", NOW)
        await spool.settle(end(leased, State.DONE))
        assert not await spool.change(entry_id, "release", NOW)

    async def test_only_one_entry_is_changed(self, spool: SpoolStore) -> None:
        dropped, kept = await add(spool), await add(spool)
        assert await spool.change(dropped, "drop", NOW)
        assert ids(await spool.lease(NOW, 10)) == [kept]

    async def test_there_is_nothing_to_change_about_an_unknown_entry(self, spool: SpoolStore) -> None:
        assert not await spool.change(make_id(1, 4), "retry", NOW)

    async def test_an_unknown_action_is_an_error_that_names_the_known_ones(self, spool: SpoolStore) -> None:
        with pytest.raises(SpoolError, match="release"):
            await spool.change(await add(spool), "explode", NOW)

    # --- closing

    async def test_nothing_is_taken_after_closing_and_closing_twice_is_fine(self, spool: SpoolStore) -> None:
        content = written(spool, BODY)
        await spool.close()
        await spool.close()
        with pytest.raises(SpoolError, match="closed"):
            await spool.add(new_entry(), content)
