"""Probing for an open relay: a stranger who tries whether mail to others would be passed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatepost.audit.detectors.model import Finding, Seen, found
from gatepost.audit.settings import Relaying

NAME: Final = "relaying"


def by_address(network: str, seen: Sequence[Seen], settings: Relaying) -> Finding | None:
    """An address that names many pairs of sender and recipient, of several domains none of which is ours.

    One domain alone is rather mail that was sent the wrong way: its MX record names this server. One sender alone is
    rather a user's program that did not log in. Where users log in nobody is banned.
    """
    now = max((each.until for each in seen), default=0.0)
    tried = [each for each in seen if each.deed == "relay" and each.until > now - settings.window]
    pairs = {(each.sender, each.whom) for each in tried}
    domains = {_domain(each.whom) for each in tried}
    senders = {each.sender for each in tried}
    if len(pairs) < settings.attempts or len(domains) < settings.domains or len(senders) < 2:
        return None
    reason = f"wanted mail passed on, for {len(pairs)} pairs of sender and recipient in {len(domains)} foreign domains"
    has_users = any(each.deed == "login" for each in seen)
    return found(NAME, "foreign recipients", network, reason, tried, () if has_users else (network,))


def _domain(path: str) -> str:
    return path.strip("<>").rpartition("@")[2]
