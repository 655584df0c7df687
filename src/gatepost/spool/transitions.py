"""What a person's action and the end of an attempt make of one recipient: the rules, without a store.

A leased recipient belongs to the attempt that runs. An action on it is kept as its `wish` and is carried out when the
attempt ends without settling it; an attempt that delivers or bounces wins over any wish.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from gatepost.spool.model import SETTLED, Hold, Settlement, State
from gatepost.spool.port import SpoolError

Action = Literal[
    "retry", "hold", "release", "bounce", "drop", "quarantine-release", "quarantine-drop", "account-hold",
    "account-release",
]  # fmt: skip
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

# "Attempts at their end": the schedule is over for whoever has failed so often, whatever its age. A schedule of five
# days knows some fifty attempts, so no honest count comes near.
ATTEMPTS_AT_END: Final = 1 << 30


class Standing(msgspec.Struct, frozen=True):
    """The part of a recipient that actions and attempts change. wish: an action that waits for the attempt's end.
    held_by: who froze what is HELD."""

    state: State
    attempts: int = 0
    due: float = 0.0
    wish: Action | None = None
    held_by: Hold | None = None


def is_at_end(attempts: int) -> bool:
    """Whether a person asked to bounce it: no attempt is made, the sender gets the DSN now."""
    return attempts >= ATTEMPTS_AT_END


def parse_action(text: str) -> Action:
    """`text` as an action. Raises SpoolError that names those there are."""
    for action in ACTIONS:
        if text == action:
            return action
    raise SpoolError(f"{text!r} is no action on a spool entry; there are {', '.join(ACTIONS)}")


def act(standing: Standing, action: Action, now: float) -> Standing:
    """`standing` after a person's `action` at `now` (seconds since 1970).

    retry: due now; what is held stays held (releasing is a decision of its own, a retry of everything is not).
    hold: frozen by a person, whoever held it before. release: what was held is due now. bounce: due now with attempts
    at their end. drop: done, and nobody is told. quarantine-release, quarantine-drop: the same for what is in
    quarantine, which all others leave alone; and they leave alone what is not. account-hold: frozen with its account,
    unless something else holds it; account-release: what only that holds is due now. A settled recipient never changes;
    a leased one keeps its state and gets a wish, where a release takes the wish of its hold back and "retry" is none
    (an attempt is running).
    """
    if standing.state in SETTLED:
        return standing
    if standing.held_by is Hold.QUARANTINE or action in ("quarantine-release", "quarantine-drop"):
        return _act_on_quarantined(standing, action, now)
    if standing.state is State.LEASED:
        return _wish(standing, action)
    if action == "drop":
        return Standing(State.DONE, standing.attempts, standing.due)
    if action == "bounce":
        return Standing(State.DUE, max(standing.attempts, ATTEMPTS_AT_END), now)
    is_held = standing.state is State.HELD
    if action == "account-hold":
        return standing if is_held else Standing(State.HELD, standing.attempts, standing.due, held_by=Hold.ACCOUNT)
    if action == "account-release" and standing.held_by is not Hold.ACCOUNT:
        return standing
    if action == "hold":
        return Standing(State.HELD, standing.attempts, standing.due, held_by=Hold.PERSON)
    if action in ("release", "account-release"):
        return Standing(State.DUE, standing.attempts, now) if is_held else standing
    return standing if is_held else Standing(State.DUE, standing.attempts, now)


def _act_on_quarantined(standing: Standing, action: Action, now: float) -> Standing:
    if standing.held_by is not Hold.QUARANTINE:
        return standing
    if action == "quarantine-release":
        return Standing(State.DUE, standing.attempts, now)
    if action == "quarantine-drop":
        return Standing(State.DONE, standing.attempts, standing.due)
    return standing


def _wish(standing: Standing, action: Action) -> Standing:
    if action == "retry":
        return standing
    if action == "account-hold" and standing.wish is not None:
        return standing  # what a person wished goes before
    if action in ("release", "account-release"):
        own = ("account-hold",) if action == "account-release" else ("hold", "account-hold")
        kept = None if standing.wish in own else standing.wish
        return Standing(standing.state, standing.attempts, standing.due, kept)
    return Standing(standing.state, standing.attempts, standing.due, action)


def settle(standing: Standing, settlement: Settlement, now: float) -> Standing:
    """What a leased recipient is after its attempt, which ended at `now`.

    DEFERRED counts one more failed attempt and waits until `settlement.due`; DUE gives the lease back untried, HELD
    freezes it. Then a wish is carried out, unless it is settled. Raises ValueError for a settlement to LEASED.
    """
    state = settlement.state
    if state is State.LEASED:
        raise ValueError("a settlement ends a lease; it cannot say LEASED")
    if state in SETTLED:
        return Standing(state, standing.attempts, standing.due)
    attempts = standing.attempts + 1 if state is State.DEFERRED else standing.attempts
    held_by = Hold.DELIVERY if state is State.HELD else None
    ended = Standing(state, attempts, settlement.due, held_by=held_by)
    return ended if standing.wish is None else act(ended, standing.wish, now)


def reclaim(standing: Standing, now: float) -> Standing:
    """What a lease becomes when its owner is gone: due, with the attempts it had, and its wish carried out."""
    if standing.state is not State.LEASED:
        return standing
    back = Standing(State.DUE, standing.attempts, standing.due)
    return back if standing.wish is None else act(back, standing.wish, now)
