"""Every target with all inputs that are kept, and for some seconds with new ones. `make fuzz` goes on for longer."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.fuzz.targets import TARGETS, kept, words

CI = os.environ.get("CI") == "true"
SECONDS = float(os.environ.get("FUZZ_SECONDS", "10" if CI else "1"))
EXAMPLES = 50  # in a turn; there are as many turns as fit into the time


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_that_is_kept_still_passes(name: str) -> None:
    paths = kept(name)
    assert paths, "a target without seeds"
    for path in paths:
        try:
            TARGETS[name].check(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} breaks {name} again") from error


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_target(name: str) -> None:
    target = TARGETS[name]
    seeds = [path.read_bytes() for path in kept(name)]
    pieces = st.one_of(st.sampled_from(words(name)), st.sampled_from(seeds), st.binary(max_size=12))

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(pieces, max_size=25).map(b"".join))
    def no_input_breaks_it(octets: bytes) -> None:
        target.check(octets)

    until, turn = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        seed(turn)(no_input_breaks_it)()
        turn += 1
