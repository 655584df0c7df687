from __future__ import annotations

import pytest

from gatepost.spool.model import Hold, Settlement, State
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
OF_QUARANTINE: tuple[Action, ...] = ("quarantine-release", "quarantine-drop")
DUE, LEASED, DEFERRED, HELD, DONE, BOUNCED = State


@pytest.mark.parametrize(
    ("state", "action", "after"),
    [
        (DUE, "retry", Standing(DUE, 3, NOW)),
        (DUE, "hold", Standing(HELD, 3, 50.0, held_by=Hold.PERSON)),
        (DUE, "release", Standing(DUE, 3, 50.0)),
        (DUE, "bounce", Standing(DUE, ATTEMPTS_AT_END, NOW)),
        (DUE, "drop", Standing(DONE, 3, 50.0)),
        (DEFERRED, "retry", Standing(DUE, 3, NOW)),
        (DEFERRED, "hold", Standing(HELD, 3, 50.0, held_by=Hold.PERSON)),
        (DEFERRED, "release", Standing(DEFERRED, 3, 50.0)),
        (DEFERRED, "bounce", Standing(DUE, ATTEMPTS_AT_END, NOW)),
        (DEFERRED, "drop", Standing(DONE, 3, 50.0)),
        (LEASED, "retry", Standing(LEASED, 3, 50.0)),
        (LEASED, "hold", Standing(LEASED, 3, 50.0, "hold")),
        (LEASED, "release", Standing(LEASED, 3, 50.0)),
        (LEASED, "bounce", Standing(LEASED, 3, 50.0, "bounce")),
        (LEASED, "drop", Standing(LEASED, 3, 50.0, "drop")),
        (HELD, "retry", Standing(HELD, 3, 50.0)),  # a retry of everything must not let out what is held
        (HELD, "hold", Standing(HELD, 3, 50.0, held_by=Hold.PERSON)),
        (HELD, "release", Standing(DUE, 3, NOW)),
        (HELD, "bounce", Standing(DUE, ATTEMPTS_AT_END, NOW)),
        (HELD, "drop", Standing(DONE, 3, 50.0)),
        (DUE, "account-hold", Standing(HELD, 3, 50.0, held_by=Hold.ACCOUNT)),
        (DEFERRED, "account-hold", Standing(HELD, 3, 50.0, held_by=Hold.ACCOUNT)),
        (LEASED, "account-hold", Standing(LEASED, 3, 50.0, "account-hold")),
        (HELD, "account-hold", Standing(HELD, 3, 50.0)),
        (DUE, "account-release", Standing(DUE, 3, 50.0)),
        (DEFERRED, "account-release", Standing(DEFERRED, 3, 50.0)),
        (LEASED, "account-release", Standing(LEASED, 3, 50.0)),
        *[(state, action, Standing(state, 3, 50.0)) for state in (DONE, BOUNCED) for action in ACTIONS],
        *[
            (state, action, Standing(state, 3, 50.0))
            for state in (DUE, DEFERRED, LEASED, HELD)
            for action in OF_QUARANTINE
        ],
    ],
)
def test_an_action_in_every_state(state: State, action: Action, after: Standing) -> None:
    assert act(Standing(state, 3, 50.0), action, NOW) == after


@pytest.mark.parametrize("action", ACTIONS)
def test_only_its_own_actions_let_out_what_is_in_quarantine(action: Action) -> None:
    quarantined = Standing(HELD, 0, 50.0, held_by=Hold.QUARANTINE)
    after = {"quarantine-release": Standing(DUE, 0, NOW), "quarantine-drop": Standing(DONE, 0, 50.0)}
    assert act(quarantined, action, NOW) == after.get(action, quarantined)


@pytest.mark.parametrize("held_by", [None, *Hold])
def test_with_its_account_goes_what_only_the_account_s_hold_froze(held_by: Hold | None) -> None:
    held = Standing(HELD, 1, 50.0, held_by=held_by)
    assert act(held, "account-release", NOW) == (Standing(DUE, 1, NOW) if held_by is Hold.ACCOUNT else held)
    assert act(held, "account-hold", NOW) == held


@pytest.mark.parametrize("held_by", [Hold.CHECK, Hold.DELIVERY, Hold.ACCOUNT])
def test_a_person_who_holds_what_is_held_takes_over(held_by: Hold) -> None:
    """Else what holds it could let it go against that person's will."""
    assert act(Standing(HELD, 1, 50.0, held_by=held_by), "hold", NOW).held_by is Hold.PERSON


@pytest.mark.parametrize(
    ("wish", "action", "wish_after"),
    [
        ("account-hold", "account-release", None), ("account-hold", "release", None), ("account-hold", "hold", "hold"),
        ("hold", "account-release", "hold"), ("hold", "account-hold", "hold"), ("drop", "account-hold", "drop"),
        ("hold", "release", None), ("drop", "release", "drop"), ("hold", "drop", "drop"), ("bounce", "retry", "bounce"),
    ],
)  # fmt: skip
def test_the_last_wish_counts_and_only_a_hold_is_taken_back(
    wish: Action, action: Action, wish_after: Action | None
) -> None:
    assert act(Standing(LEASED, 0, 0.0, wish), action, NOW).wish == wish_after


@pytest.mark.parametrize(
    ("wish", "state", "after"),
    [
        (None, DEFERRED, Standing(DEFERRED, 4, 2000.0)),
        (None, DUE, Standing(DUE, 3, 2000.0)),
        (None, HELD, Standing(HELD, 3, 2000.0, held_by=Hold.DELIVERY)),
        (None, DONE, Standing(DONE, 3, 50.0)),
        (None, BOUNCED, Standing(BOUNCED, 3, 50.0)),
        ("hold", DEFERRED, Standing(HELD, 4, 2000.0, held_by=Hold.PERSON)),
        ("hold", DONE, Standing(DONE, 3, 50.0)),
        ("account-hold", DEFERRED, Standing(HELD, 4, 2000.0, held_by=Hold.ACCOUNT)),
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
        (Standing(LEASED, 2, 50.0, "hold"), Standing(HELD, 2, 50.0, held_by=Hold.PERSON)),
        (Standing(LEASED, 2, 50.0, "drop"), Standing(DONE, 2, 50.0)),
        (Standing(DEFERRED, 2, 50.0), Standing(DEFERRED, 2, 50.0)),
    ],
)
def test_a_lease_whose_owner_died_is_due_again_and_the_wish_is_kept(before: Standing, after: Standing) -> None:
    assert reclaim(before, NOW) == after


def test_an_unknown_action_names_the_known_ones() -> None:
    with pytest.raises(SpoolError, match="retry, hold, release, bounce, drop"):
        parse_action("rerty")
