from __future__ import annotations

import pytest

from gatepost.spool.model import Settlement, State
from gatepost.spool.port import SpoolError
from gatepost.spool.transitions import (
    ACTIONS,
    ATTEMPTS_AT_END,
    Action,
    Standing,
    act,
    is_at_end,
    parse_action,
    reclaim,
    settle,
)

NOW = 1000.0
DUE, LEASED, DEFERRED, HELD, DONE, BOUNCED = State


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        (DUE, "retry", Standing(DUE, 3, NOW)),
        (DUE, "hold", Standing(HELD, 3, 50.0)),
        (DUE, "release", Standing(DUE, 3, 50.0)),
        (DUE, "bounce", Standing(DUE, ATTEMPTS_AT_END, NOW)),
        (DUE, "drop", Standing(DONE, 3, 50.0)),
        (DEFERRED, "retry", Standing(DUE, 3, NOW)),
        (DEFERRED, "hold", Standing(HELD, 3, 50.0)),
        (DEFERRED, "release", Standing(DEFERRED, 3, 50.0)),
        (DEFERRED, "bounce", Standing(DUE, ATTEMPTS_AT_END, NOW)),
        (DEFERRED, "drop", Standing(DONE, 3, 50.0)),
        (LEASED, "retry", Standing(LEASED, 3, 50.0)),
        (LEASED, "hold", Standing(LEASED, 3, 50.0, "hold")),
        (LEASED, "release", Standing(LEASED, 3, 50.0)),
        (LEASED, "bounce", Standing(LEASED, 3, 50.0, "bounce")),
        (LEASED, "drop", Standing(LEASED, 3, 50.0, "drop")),
        (HELD, "retry", Standing(HELD, 3, 50.0)),  # a retry of everything must not let out what is quarantined
        (HELD, "hold", Standing(HELD, 3, 50.0)),
        (HELD, "release", Standing(DUE, 3, NOW)),
        (HELD, "bounce", Standing(DUE, ATTEMPTS_AT_END, NOW)),
        (HELD, "drop", Standing(DONE, 3, 50.0)),
        *[(state, action, Standing(state, 3, 50.0)) for state in (DONE, BOUNCED) for action in ACTIONS],
    ],
)
def test_an_action_in_every_state(state: State, action: Action, after: Standing) -> None:
    assert act(Standing(state, 3, 50.0), action, NOW) == after


@pytest.mark.parametrize(
    ("wish", "action", "wish_after"),
    [("hold", "release", None), ("drop", "release", "drop"), ("hold", "drop", "drop"), ("bounce", "retry", "bounce")],
)
def test_the_last_wish_counts_and_only_a_hold_is_taken_back(
    wish: Action, action: Action, wish_after: Action | None
) -> None:
    assert act(Standing(LEASED, 0, 0.0, wish), action, NOW).wish == wish_after


@pytest.mark.parametrize(
    ("wish", "state", "after"),
    [
        (None, DEFERRED, Standing(DEFERRED, 4, 2000.0)),
        (None, DUE, Standing(DUE, 3, 2000.0)),
        (None, HELD, Standing(HELD, 3, 2000.0)),
        (None, DONE, Standing(DONE, 3, 50.0)),
        (None, BOUNCED, Standing(BOUNCED, 3, 50.0)),
        ("hold", DEFERRED, Standing(HELD, 4, 2000.0)),
        ("hold", DONE, Standing(DONE, 3, 50.0)),
        ("drop", DEFERRED, Standing(DONE, 4, 2000.0)),
        ("drop", BOUNCED, Standing(BOUNCED, 3, 50.0)),
        ("bounce", DEFERRED, Standing(DUE, ATTEMPTS_AT_END, NOW)),
        ("bounce", DONE, Standing(DONE, 3, 50.0)),
    ],
)
def test_the_end_of_an_attempt_and_what_was_wished_meanwhile(
    wish: Action | None, state: State, after: Standing
) -> None:
    assert settle(Standing(LEASED, 3, 50.0, wish), Settlement("", 0, state, 2000.0), NOW) == after


def test_a_bounce_stays_at_its_end_when_the_attempt_to_bounce_fails() -> None:
    at_end = settle(Standing(LEASED, ATTEMPTS_AT_END, 0.0), Settlement("", 0, DEFERRED, 9.0), NOW)
    assert is_at_end(at_end.attempts)


def test_a_settlement_that_leases_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="LEASED"):
        settle(Standing(LEASED), Settlement("", 0, LEASED), NOW)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Standing(LEASED, 2, 50.0), Standing(DUE, 2, 50.0)),
        (Standing(LEASED, 2, 50.0, "hold"), Standing(HELD, 2, 50.0)),
        (Standing(LEASED, 2, 50.0, "drop"), Standing(DONE, 2, 50.0)),
        (Standing(DEFERRED, 2, 50.0), Standing(DEFERRED, 2, 50.0)),
    ],
)
def test_a_lease_whose_owner_died_is_due_again_and_the_wish_is_kept(before: Standing, after: Standing) -> None:
    assert reclaim(before, NOW) == after


def test_an_unknown_action_names_the_known_ones() -> None:
    with pytest.raises(SpoolError, match="retry, hold, release, bounce, drop"):
        parse_action("rerty")
