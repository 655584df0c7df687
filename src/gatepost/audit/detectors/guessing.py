"""Guessing passwords: one address many accounts, many addresses one account, and slowly either way.

What is fast, `auth.attempts` refuses; here it is seen over days, and whether a guess was right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from gatepost.audit.detectors.model import Finding, Seen, found
from gatepost.audit.settings import Guessing

NAME: Final = "guessing"
MAX_GUESSED: Final = (
    5  # accounts that one guesser got into; more is a network with many users, and a guesser among them
)
FEW: Final = 3  # failures of one address: less may be anybody's typing error
MAX_NETWORKS: Final = 100  # that one finding bans


def by_address(network: str, seen: Sequence[Seen], settings: Guessing) -> Finding | None:
    """An address that fails with many accounts and gets into none of them, or at one account again and again.

    Where users log in too (an office, a provider's gateway) more must fail than get in, and nobody is banned. An
    account whose first login from there came after the failures began was guessed.
    """
    now = max((each.until for each in seen), default=0.0)
    failures = [each for each in seen if each.deed == "failure" and each.until > now - settings.window]
    if not failures:
        return None
    began = min(each.at for each in failures)
    first = _first_logins(seen)
    at_home = {name for name, at in first.items() if at < began}
    tried = {each.account for each in failures}
    in_vain = tried - set(first)
    banned = () if at_home else (network,)
    if len(in_vain) >= settings.accounts + len(first):
        guessed = sorted(set(first) - at_home) if not at_home and len(first) <= MAX_GUESSED else []
        reason = f"logins with {len(in_vain)} different names failed, none of them got in"
        if guessed:
            reason += f"; {_listed(guessed)} got in after them: the password is known there"
        return found(NAME, "one address, many accounts", network, reason, failures, banned, guessed)
    at_one = Counter[str]()
    for each in failures:
        at_one[each.account] += each.count
    name, count = max(((name, at_one[name]) for name in in_vain), key=lambda item: item[1], default=("", 0))
    if count >= settings.failures and not first:
        reason = f"{count} logins of {name} failed, and none went well: guesses, or a device with an old password"
        mine = [each for each in failures if each.account == name]
        return found(NAME, "one address, one account", network, reason, mine, banned)
    return None


def at_account(account: str, seen: Sequence[Seen], settings: Guessing) -> Finding | None:
    """Many addresses that fail at one account, none of which it had used before."""
    now = max((each.until for each in seen), default=0.0)
    failures = [each for each in seen if each.deed == "failure" and each.until > now - settings.window]
    first = {each.network: each.at for each in sorted(seen, key=lambda each: -each.at) if each.deed == "login"}
    strange = [each for each in failures if first.get(each.network, each.at + 1) > each.at]
    counts = Counter[str]()
    for each in strange:
        counts[each.network] += each.count
    if len(counts) < settings.addresses:
        return None
    reason = f"{sum(counts.values())} logins of {account} failed, from {len(counts)} addresses that it never used"
    inside = sorted(network for network in counts if network in first)
    if inside:
        reason += f"; {_listed(inside)} got in: the password is known there"
    networks = [network for network, count in counts.most_common(MAX_NETWORKS) if count >= FEW]
    return found(NAME, "many addresses, one account", account, reason, strange, networks, (account,) if inside else ())


def _first_logins(seen: Sequence[Seen]) -> Mapping[str, float]:
    """When each account first logged in."""
    first: dict[str, float] = {}
    for each in seen:
        if each.deed == "login":
            first[each.account] = min(each.at, first.get(each.account, each.at))
    return first


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_GUESSED} more" if len(names) > MAX_GUESSED else ""
    return ", ".join(names[:MAX_GUESSED]) + more
