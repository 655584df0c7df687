"""What every engine of `standing` promises; a test module subclasses `StandingSuite` and has a `standing` fixture."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable
from typing import Any, TypeVar

import pytest

from gatepost.standing.port import (
    Charge,
    Enter,
    Fact,
    Leave,
    Level,
    Note,
    Noted,
    Operation,
    Peek,
    Rate,
    Refund,
    Result,
    StandingStore,
    Table,
)

NOW = 1_790_000_000.0
TEN_A_MINUTE = Rate(10, 60.0)
Value = TypeVar("Value")


async def settled(value: Value | Awaitable[Value]) -> Value:
    """The value, awaited where the engine answers later."""
    return await value if inspect.isawaitable(value) else value


async def tally(standing: StandingStore, *operations: Operation, now: float = NOW) -> list[Result]:
    return await settled(standing.tally(operations, now))


async def level(standing: StandingStore, operation: Charge | Peek, now: float = NOW) -> Level:
    (result,) = await tally(standing, operation, now=now)
    assert isinstance(result, Level)
    return result


class StandingSuite:
    """The tests; each gets an empty store."""

    async def test_a_rate_lets_its_units_through_and_no_more(self, standing: StandingStore) -> None:
        levels = [await level(standing, Charge("k", TEN_A_MINUTE)) for _ in range(12)]
        assert [one.allowed for one in levels] == [True] * 10 + [False] * 2
        assert [one.used for one in levels] == [*range(1, 11), 10, 10]
        assert levels[-1].wait == pytest.approx(6.0)

    async def test_what_exceeds_the_rate_is_not_counted(self, standing: StandingStore) -> None:
        assert (await level(standing, Charge("k", TEN_A_MINUTE, 8))).allowed
        assert not (await level(standing, Charge("k", TEN_A_MINUTE, 3))).allowed
        assert (await level(standing, Charge("k", TEN_A_MINUTE, 2))).allowed

    async def test_a_rate_recovers_steadily(self, standing: StandingStore) -> None:
        await level(standing, Charge("k", TEN_A_MINUTE, 10))
        assert not (await level(standing, Charge("k", TEN_A_MINUTE), NOW + 5.9)).allowed
        assert (await level(standing, Charge("k", TEN_A_MINUTE), NOW + 6.0)).allowed
        assert not (await level(standing, Charge("k", TEN_A_MINUTE), NOW + 6.0)).allowed
        assert (await level(standing, Peek("k", TEN_A_MINUTE, 10), NOW + 66.0)).allowed

    @pytest.mark.parametrize("units", [1, 3, 7, 1000, 999_983])
    async def test_the_wait_that_is_told_is_enough_and_exact(self, standing: StandingStore, units: int) -> None:
        rate = Rate(units, 3600.0)
        await level(standing, Charge("k", rate, units))
        refused = await level(standing, Charge("k", rate), NOW + 0.3)
        if not refused.allowed:  # a unit of a fast rate is back by then
            assert (await level(standing, Charge("k", rate), NOW + 0.3 + refused.wait)).allowed

    async def test_charges_that_go_together_count_all_or_none(self, standing: StandingStore) -> None:
        one, many = Rate(1, 60.0), Rate(5, 60.0)
        both = Charge("own", one, together=True), Charge("shared", many, together=True)
        first, second = await tally(standing, *both), await tally(standing, *both, Charge("alone", one))
        assert [item.allowed for item in first if isinstance(item, Level)] == [True, True]
        assert [item.allowed for item in second if isinstance(item, Level)] == [False, True, True]
        assert (await level(standing, Peek("shared", many))).used == 1
        other = Charge("other", one, together=True), Charge("shared", many, 5, together=True)
        assert [item.allowed for item in await tally(standing, *other) if isinstance(item, Level)] == [True, False]
        assert (await level(standing, Peek("other", one))).used == 0

    async def test_a_refund_takes_back_what_was_counted_and_no_more(self, standing: StandingStore) -> None:
        await level(standing, Charge("k", TEN_A_MINUTE, 9))
        (left,) = await tally(standing, Refund("k", TEN_A_MINUTE, 4))
        assert left == Level(True, 5, 0)
        assert (await level(standing, Peek("k", TEN_A_MINUTE, 5))).allowed
        assert not (await level(standing, Peek("k", TEN_A_MINUTE, 6))).allowed
        assert await tally(standing, Refund("k", TEN_A_MINUTE, 100), Refund("new", TEN_A_MINUTE)) == [
            Level(True, 0, 0), Level(True, 0, 0),
        ]  # fmt: skip
        assert await level(standing, Charge("k", TEN_A_MINUTE, 10)) == Level(True, 10, 0)

    async def test_peeking_counts_nothing(self, standing: StandingStore) -> None:
        for _ in range(20):
            assert await level(standing, Peek("k", TEN_A_MINUTE)) == Level(True, 0, 0)
        await level(standing, Charge("k", TEN_A_MINUTE, 10))
        refused = await level(standing, Peek("k", TEN_A_MINUTE, 2))
        assert (refused.allowed, refused.used) == (False, 10)
        assert refused.wait == pytest.approx(12.0)

    async def test_a_cost_above_the_rate_never_fits(self, standing: StandingStore) -> None:
        assert await level(standing, Charge("k", TEN_A_MINUTE, 11)) == Level(False, 0, math.inf)
        assert (await level(standing, Charge("k", Rate(0, 60)))).allowed is False
        assert (await level(standing, Charge("k", TEN_A_MINUTE, 10))).allowed

    async def test_a_clock_set_back_neither_frees_nor_locks(self, standing: StandingStore) -> None:
        await level(standing, Charge("k", TEN_A_MINUTE, 10))
        yesterday = NOW - 86400
        assert not (await level(standing, Charge("k", TEN_A_MINUTE), yesterday)).allowed
        await level(standing, Charge("other", TEN_A_MINUTE, 9), NOW)
        assert (await level(standing, Charge("other", TEN_A_MINUTE), yesterday)).allowed
        assert (await level(standing, Charge("other", TEN_A_MINUTE), yesterday + 6.01)).allowed

    async def test_a_changed_rate_keeps_what_was_counted(self, standing: StandingStore) -> None:
        await level(standing, Charge("k", TEN_A_MINUTE, 8))
        assert not (await level(standing, Charge("k", Rate(5, 60.0)))).allowed
        assert (await level(standing, Charge("k", Rate(20, 60.0), 12))).allowed

    async def test_at_once_counts_up_and_down_and_not_below_none(self, standing: StandingStore) -> None:
        assert await tally(standing, Enter("k"), Enter("k"), Enter("other"), Leave("k"), Leave("k"), Leave("k")) == [
            1, 2, 1, 1, 0, 0,
        ]  # fmt: skip
        assert await tally(standing, Enter("k")) == [1]

    async def test_each_change_of_a_count_tells_what_it_is_then(self, standing: StandingStore) -> None:
        changes = Leave("k"), Enter("k"), Enter("k"), Leave("k"), Enter("j"), Enter("k"), Leave("j")
        assert await tally(standing, *changes) == [0, 1, 2, 1, 1, 2, 0]
        assert await tally(standing, Enter("k"), Enter("j"), Leave("j")) == [3, 1, 0]
        assert await tally(standing, Leave("k"), Leave("k"), Leave("k"), Leave("k")) == [2, 1, 0, 0]
        assert await tally(standing, Enter("k"), Enter("j")) == [1, 1]

    async def test_a_note_is_kept_until_its_end(self, standing: StandingStore) -> None:
        assert await tally(standing, Noted("k"), Note("k", b"\0passed", NOW + 10), Noted("k")) == [
            None, None, b"\0passed",
        ]  # fmt: skip
        assert await tally(standing, Noted("k"), now=NOW + 9.9) == [b"\0passed"]
        assert await tally(standing, Noted("k"), now=NOW + 10) == [None]
        await tally(standing, Note("k", b"", NOW + 20))
        assert await tally(standing, Noted("k")) == [b""]

    async def test_kinds_of_counters_with_one_key_do_not_meet(self, standing: StandingStore) -> None:
        results = await tally(standing, Enter("k"), Note("k", b"v", NOW + 9), Charge("k", TEN_A_MINUTE), Noted("k"))
        assert results == [1, None, Level(True, 1, 0), b"v"]

    async def test_an_operation_that_is_wrong_undoes_those_before_it(self, standing: StandingStore) -> None:
        with pytest.raises(ValueError):
            await tally(standing, Enter("k"), Charge("k", TEN_A_MINUTE, -1))
        assert await tally(standing, Enter("k")) == [1]

    @pytest.mark.parametrize("key", ["", "a" * 511, "a" * 5000, "ü@example.org", "\udcff", "a\0b", "a\0"])
    async def test_any_text_is_a_key(self, standing: StandingStore, key: str) -> None:
        for other in (key + "x", key + "y"):
            await tally(standing, Note(other, b"other", NOW + 9))
            await standing.remember("ban", other, b"other", NOW + 9)
        await tally(standing, Note(key, b"mine", NOW + 9))
        await standing.remember("ban", key, b"mine", NOW + 9)
        assert await tally(standing, Noted(key)) == [b"mine"]
        assert await settled(standing.recall("ban", key, NOW)) == b"mine"
        assert sorted(fact.key for fact in standing.recall_all("ban", NOW)) == [key, key + "x", key + "y"]

    async def test_a_fact_is_remembered_until_its_end(self, standing: StandingStore) -> None:
        assert await settled(standing.recall("grant", "192.0.2.1", NOW)) is None
        await standing.remember("grant", "192.0.2.1", b"ada", NOW + 60)
        assert await settled(standing.recall("grant", "192.0.2.1", NOW + 59.9)) == b"ada"
        assert await settled(standing.recall("grant", "192.0.2.1", NOW + 60)) is None
        assert standing.recall_all("grant", NOW + 60) == []
        await standing.remember("grant", "192.0.2.1", b"bob", NOW + 120)
        assert await settled(standing.recall("grant", "192.0.2.1", NOW + 60)) == b"bob"

    async def test_tables_do_not_meet_and_are_listed_in_order(self, standing: StandingStore) -> None:
        tables: tuple[Table, ...] = ("ban", "grant", "greylist", "good")
        for table in tables:
            for key in ("b", "a", "ä", "B"):
                await standing.remember(table, key, table.encode() + key.encode(), NOW + 1)
        for table in tables:
            assert standing.recall_all(table, NOW) == [
                Fact(key, table.encode() + key.encode(), NOW + 1) for key in ("B", "a", "b", "ä")
            ]

    async def test_what_somebody_else_has_changed_is_not_replaced(self, standing: StandingStore) -> None:
        assert await standing.replace("grant", "k", None, b"ada", NOW + 60, NOW)
        assert not await standing.replace("grant", "k", None, b"bob", NOW + 60, NOW)
        assert not await standing.replace("grant", "k", b"bob", b"eve", NOW + 60, NOW)
        assert await settled(standing.recall("grant", "k", NOW)) == b"ada"
        assert await standing.replace("grant", "k", b"ada", b"bob", NOW + 90, NOW)
        assert await settled(standing.recall("grant", "k", NOW + 60)) == b"bob"
        # What has ended is nothing, though nobody has swept it.
        assert not await standing.replace("grant", "k", b"bob", b"ada", NOW + 200, NOW + 90)
        assert await standing.replace("grant", "k", None, b"ada", NOW + 200, NOW + 90)

    async def test_of_many_who_replace_the_same_one_wins(self, standing: StandingStore) -> None:
        won = await asyncio.gather(*(standing.replace("grant", "k", None, b"%d" % n, NOW + 9, NOW) for n in range(50)))
        assert won.count(True) == 1
        assert await settled(standing.recall("grant", "k", NOW)) == b"%d" % won.index(True)

    async def test_forgetting_says_whether_there_was_something(self, standing: StandingStore) -> None:
        await standing.remember("ban", "192.0.2.0/24", b"", NOW + 60)
        assert await standing.forget("ban", "192.0.2.0/24") is True
        assert await standing.forget("ban", "192.0.2.0/24") is False
        assert await settled(standing.recall("ban", "192.0.2.0/24", NOW)) is None

    async def test_many_remember_at_the_same_time(self, standing: StandingStore) -> None:
        await asyncio.gather(*(standing.remember("greylist", str(n), b"%d" % n, NOW + 9) for n in range(1000)))
        facts: list[Any] = standing.recall_all("greylist", NOW)
        assert len(facts) == 1000
