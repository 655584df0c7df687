"""Harvesting addresses: a stranger whose recipients do not exist, too slowly for `recipient.harvest`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatepost.audit.detectors.model import Finding, Seen, found
from gatepost.audit.settings import Harvesting

NAME: Final = "harvesting"


def by_address(network: str, seen: Sequence[Seen], settings: Harvesting) -> Finding | None:
    """An address that names many different recipients that do not exist, most of all that it names.

    Different ones: a list that writes to one lost subscriber every day is no harvester. Where users log in nobody is
    banned.
    """
    now = max((each.until for each in seen), default=0.0)
    recent = [each for each in seen if each.until > now - settings.window]
    unknown = [each for each in recent if each.deed == "unknown"]
    names = {each.whom for each in unknown}
    known = sum(each.count for each in recent if each.deed == "known")
    percent = 100.0 * len(names) / max(len(names) + known, 1)
    if len(names) < settings.recipients or percent < settings.share:
        return None
    reason = f"{len(names)} different recipients that do not exist, {percent:.0f} % of all that it named"
    has_users = any(each.deed == "login" for each in seen)
    return found(NAME, "unknown recipients", network, reason, unknown, () if has_users else (network,))
