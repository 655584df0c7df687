"""Guessing passwords: one address many accounts, many addresses one account, and slowly either way.

What is fast, `auth.attempts` refuses; here it is seen over days, and whether a guess was right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gatepost.audit.detectors.model import Finding, Seen, found
from gatepost.audit.settings import Guessing

NAME: Final = "guessing"
GUESSED: Final = "guessed password"
MAX_GUESSED: Final = (
    5  # accounts that one guesser got into; more is a network with many users, and a guesser among them
)
FEW: Final = 3  # failures of one address: less may be anybody's typing error
MAX_NETWORKS: Final = 100  # that one finding bans


def by_address(network: str, seen: Sequence[Seen], settings: Guessing) -> Finding | None:
    """An address that fails with many accounts and gets into none of them, or at one account again and again.

    Where users log in too (an office, a provider's gateway) more must fail than get in, and nobody is banned.
    """
    failures = _recent_failures(seen, settings)
    if not failures:
        return None
    first = _first_logins(seen)
    banned = () if _at_home(first, failures) else (network,)
    in_vain = {each.account for each in failures} - set(first)
    if len(in_vain) >= settings.accounts + len(first):
        reason = f"logins with {len(in_vain)} different names failed, and none of these got in"
        return found(NAME, "one address, many accounts", network, reason, failures, banned)
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
    strange = _strange(seen, settings)
    counts = Counter[str]()
    for each in strange:
        counts[each.network] += each.count
    if len(counts) < settings.addresses:
        return None
    reason = f"{sum(counts.values())} logins of {account} failed, from {len(counts)} addresses that it never used"
    networks = [network for network, count in counts.most_common(MAX_NETWORKS) if count >= FEW]
    return found(NAME, "many addresses, one account", account, reason, strange, networks)


def got_in_from(network: str, seen: Sequence[Seen], settings: Guessing) -> Finding | None:
    """Accounts that first logged in from an address after it had failed with many others: their passwords are known
    there. Where others have logged in before, or many do, it is a network with users, and tells nothing."""
    failures = _recent_failures(seen, settings)
    first = _first_logins(seen)
    if not failures or _at_home(first, failures) or not 0 < len(first) <= MAX_GUESSED:
        return None
    in_vain = {each.account for each in failures} - set(first)
    if len(in_vain) < settings.accounts:
        return None
    names = sorted(first)
    reason = f"{', '.join(names)} logged in from there, after logins with {len(in_vain)} other names had failed"
    logins = [_once(each) for each in seen if each.deed == "login"]
    return found(NAME, GUESSED, network, reason, logins, (network,), names)


def got_in_at(account: str, seen: Sequence[Seen], settings: Guessing) -> Finding | None:
    """A login from one of many addresses that had failed at the account, none of which it had used before."""
    strange = {each.network for each in _strange(seen, settings)}
    logins = [_once(each) for each in seen if each.deed == "login" and each.network in strange]
    if len(strange) < settings.addresses or not logins:
        return None
    inside = sorted(each.network for each in logins)
    reason = f"it logged in from {', '.join(inside)}, after {len(strange)} addresses had guessed at it"
    return found(NAME, GUESSED, account, reason, logins, inside, (account,))


def _recent_failures(seen: Sequence[Seen], settings: Guessing) -> list[Seen]:
    now = max((each.until for each in seen), default=0.0)
    return [each for each in seen if each.deed == "failure" and each.until > now - settings.window]


def _strange(seen: Sequence[Seen], settings: Guessing) -> list[Seen]:
    """Failures from networks from which there was no login before."""
    first: dict[str, float] = {}
    for each in seen:
        if each.deed == "login":
            first[each.network] = min(each.at, first.get(each.network, each.at))
    return [each for each in _recent_failures(seen, settings) if first.get(each.network, each.at + 1) > each.at]


def _at_home(first: Mapping[str, float], failures: Sequence[Seen]) -> bool:
    """Whether somebody logged in there before the failures began."""
    began = min(each.at for each in failures)
    return any(at < began for at in first.values())


def _once(login: Seen) -> Seen:
    """The first one of several alike."""
    return msgspec.structs.replace(login, last=login.at)


def _first_logins(seen: Sequence[Seen]) -> Mapping[str, float]:
    """When each account first logged in."""
    first: dict[str, float] = {}
    for each in seen:
        if each.deed == "login":
            first[each.account] = min(each.at, first.get(each.account, each.at))
    return first
