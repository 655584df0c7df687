"""The system's IDs: no two alike, in the order in which they were made, whoever makes them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from gatepost.mail.ids import is_id
from gatepost.net.clock import SystemIds


def test_ids_grow() -> None:
    ids = SystemIds()
    made = [ids.new() for _ in range(5000)]
    assert made == sorted(set(made))
    assert all(map(is_id, made))


def test_threads_that_share_a_maker_get_no_id_twice() -> None:
    ids = SystemIds()
    with ThreadPoolExecutor(8) as threads:
        made = [one for some in threads.map(lambda _: [ids.new() for _ in range(2000)], range(8)) for one in some]
    assert len(set(made)) == len(made)


def test_a_fork_does_not_draw_what_its_parent_draws() -> None:
    SystemIds().new()
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, "".join(_random_part() for _ in range(50)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    drawn = {_random_part() for _ in range(50)}
    told = os.read(ours, 1000).decode()
    os.close(ours)
    os.close(theirs)
    assert len(told) == 800
    assert drawn.isdisjoint(told[at : at + 16] for at in range(0, 800, 16))


def _random_part() -> str:
    """What is random in the first ID of a maker; the ten characters before are the time."""
    return SystemIds().new()[10:]
