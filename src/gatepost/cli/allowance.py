"""What an account may still send, for `account show`: each limit, what is left of it, and when it refills."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gatepost.cli.moments import shown_time
from gatepost.cli.session import data_folder, standing

if TYPE_CHECKING:
    from gatepost.config.model import Config


def left(config: Config, account: str) -> list[dict[str, Any]]:
    """Each limit of `account` (`sender.rate`) as it stands now. Nothing is counted by looking. Raises StandingError."""
    from gatepost.gate.gather_rates import read_levels
    from gatepost.policy.checks import sender_rate
    from gatepost.policy.limits import show_quota

    settings = config.policy.get(sender_rate.NAME, sender_rate.CHECK.settings)
    assert isinstance(settings, sender_rate.Settings)
    limits = sender_rate.account_limits(settings, account)
    if not limits or sender_rate.CHECK.mode_for("submission", settings) == "off":
        return []
    now = time.time()
    with standing(config) as store:
        levels = read_levels(store, limits, now)
    assert isinstance(levels, tuple)  # LMDB answers at once
    return [
        {
            "limit": level.limit.unit,
            "rate": show_quota(level.limit),
            "allowed": level.limit.quota.units,
            "period_seconds": level.limit.quota.period,
            "left": level.left,
            "attempts_left": max(0, int(level.limit.quota.units - level.spare_used)),
            "next_at": None if level.left else shown_time(now + level.wait(1)),
            "full_at": shown_time(now + level.used * level.limit.quota.period / level.limit.quota.units)
            if level.used
            else None,
        }
        for level in levels
    ]


def near(config: Config, names: Sequence[str], share: float = 0.75) -> list[dict[str, Any]]:
    """The limits of these accounts of which `share` or more is used now, the fullest first. Raises StandingError."""
    from gatepost.gate.gather_rates import read_levels
    from gatepost.policy.checks import sender_rate
    from gatepost.policy.limits import show_quota, shown

    settings = config.policy.get(sender_rate.NAME, sender_rate.CHECK.settings)
    assert isinstance(settings, sender_rate.Settings)
    if sender_rate.CHECK.mode_for("submission", settings) == "off":
        return []
    now = time.time()
    found: list[tuple[float, dict[str, Any]]] = []
    with standing(config) as store:
        for name in names:
            levels = read_levels(store, sender_rate.account_limits(settings, name), now)
            assert isinstance(levels, tuple)  # LMDB answers at once
            for level in levels:
                units = level.limit.quota.units
                if level.used >= share * units:
                    full_at = shown_time(now + level.used * level.limit.quota.period / units)
                    left = f"{shown(level.limit.unit, level.left)} of {shown(level.limit.unit, units)}"
                    limit = f"{level.limit.unit} {show_quota(level.limit)}"
                    row = {"account": name, "limit": limit, "left": left, "full_at": full_at}
                    found.append((level.used / units, row))
    return [row for _, row in sorted(found, key=lambda item: -item[0])]


def in_lines(limits: list[dict[str, Any]]) -> dict[str, str]:
    """`limits` for a person, by name: "messages/1h": "197 of 200 left; all of them at ..."."""
    from gatepost.policy.limits import shown

    lines = {}
    for limit in limits:
        unit, period = limit["limit"], limit["rate"].rpartition("/")[2]
        text = f"{shown(unit, limit['left'])} of {shown(unit, limit['allowed'])} left"
        if limit["next_at"]:
            text += f"; more at {limit['next_at']}"
        if limit["full_at"]:
            text += f"; all of them at {limit['full_at']}"
        lines[f"{unit}/{period}"] = text
    return lines


def held_messages(config: Config, account: str) -> int:
    """How many messages that `account` submitted are held, the quarantine apart. Raises SpoolError."""
    from gatepost.spool.model import Hold, State
    from gatepost.store.sqlite.spool_reader import SqliteSpoolReader

    entries = SqliteSpoolReader(data_folder(config).root).list(states=(State.HELD,), limit=1_000_000)
    return sum(
        entry.login == account and any(item.held_by not in (None, Hold.QUARANTINE) for item in entry.recipients)
        for entry in entries
    )
