"""Sessions that have more to be answered than one turn brings go on one by one, each time the loop comes round."""

from __future__ import annotations

import asyncio

from gatepost.gate.turns import Turns


async def pass_of_the_loop(count: int = 1) -> None:
    """Everything that is ready runs once, so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_those_who_wait_go_on_in_their_order_and_never_two_in_one_pass_of_the_loop() -> None:
    turns, passes, went_on = Turns(), 0, list[tuple[str, int]]()

    async def flooder(name: str) -> None:
        for _ in range(2):
            await turns.next()
            went_on.append((name, passes))

    flooders = [asyncio.create_task(flooder(name)) for name in "abc"]
    for _ in range(30):
        await pass_of_the_loop()
        passes += 1
    assert all(each.done() for each in flooders)
    assert "".join(name for name, _ in went_on) == "abcabc"
    assert len({when for _, when in went_on}) == 6, went_on


async def test_a_session_that_is_gone_costs_the_others_no_turn() -> None:
    turns = Turns()
    gone, other = asyncio.create_task(turns.next()), asyncio.create_task(turns.next())
    await pass_of_the_loop()
    gone.cancel()
    await pass_of_the_loop(2)
    assert gone.cancelled()
    assert other.done()


async def test_after_an_empty_line_the_next_one_is_served_again() -> None:
    turns = Turns()
    for _ in range(3):
        async with asyncio.timeout(5):
            await turns.next()
