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
    ids = SystemIds()
    ids.new()
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, b"".join(ids._draw().to_bytes(10, "big") for _ in range(50)))
        os._exit(0)
    os.waitpid(child, 0)
    drawn = {ids._draw().to_bytes(10, "big") for _ in range(50)}
    octets = os.read(ours, 500)
    os.close(ours)
    os.close(theirs)
    assert len(octets) == 500
    assert drawn.isdisjoint(octets[at : at + 10] for at in range(0, 500, 10))
