"""Holds on accounts, for `account hold`, `release` and `show`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from gatepost.cli.moments import shown_time
from gatepost.cli.record import recording
from gatepost.cli.session import data_folder, standing, who

if TYPE_CHECKING:
    from gatepost.audit.event import Recorder
    from gatepost.config.model import Config
    from gatepost.gate.holds import Holds
    from gatepost.policy.findings import AccountHold
    from gatepost.store.lmdb.standing import LmdbStanding


def hold_on(config: Config, account: str) -> dict[str, Any] | None:
    """The hold on the account as it is shown, None for none. Raises StandingError."""
    with standing(config) as store:
        found = _found(store, account)
    if found is None:
        return None
    return {
        "since": shown_time(found.since),
        "by": found.by or "detector",
        "reason": found.reason,
        "event": found.event or None,
    }


def lay_hold(config: Config, account: str, why: str) -> list[str] | None:
    """The messages in the queue that were frozen with the account; None when it was held before."""
    from gatepost.gate.holds import frozen_event
    from gatepost.net.control import ask
    from gatepost.store.sqlite.spool_held import freeze

    root = data_folder(config).root
    with standing(config) as store:
        if _found(store, account) is not None:
            return None
        with recording(config, "account hold", account=account, reason=why) as recorder:
            # The hold first: what is submitted meanwhile is frozen by it.
            asyncio.run(_holds(store, recorder).lay(account, why, "", who()))
            frozen = freeze(root, account, time.time(), ask)
            if frozen:
                recorder.record(frozen_event(account, frozen))
            return frozen


def lift_hold(config: Config, account: str) -> list[str] | None:
    """The messages that were let go with the account; None when it was not held."""
    from gatepost.net.control import ask
    from gatepost.policy.checks import sender_held
    from gatepost.store.sqlite.spool_held import release_held, thaw

    root = data_folder(config).root
    with standing(config) as store:
        if _found(store, account) is None:
            return None
        with recording(config, "account release", account=account) as recorder:
            asyncio.run(_holds(store, recorder).lift(account, who()))
            now = time.time()
            return [*release_held(root, account, "", sender_held.NAME, now, ask), *thaw(root, account, now, ask)]


def _found(store: LmdbStanding, account: str) -> AccountHold | None:
    from gatepost.gate.holds import find_hold

    return asyncio.run(find_hold(store, account, time.time()))


def _holds(store: LmdbStanding, recorder: Recorder) -> Holds:
    from gatepost.gate.holds import Holds
    from gatepost.net.clock import SystemClock, SystemIds

    return Holds(store, recorder, SystemClock(), SystemIds())
