"""Gatherers about a recipient of ours: room in the maildrops behind it, and who may post to a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.accounts.addresses import key_of, without_detail
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account, Found, MailingList, Resolution, Target
from gatepost.gate.later import had, is_later, then
from gatepost.mail.address import AddressError, Path
from gatepost.maildrop.port import MaildropError
from gatepost.policy.facts import RcptFacts
from gatepost.policy.findings import ListStanding, Room, Unavailable

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

MAX_LOOKED_AT: Final = 10  # maildrops behind one alias; with more of them one has room, and each look is a hop


def rooms(session: GateSession, facts: RcptFacts) -> Any:
    """The maildrops that the recipient stands for: an account's, or all behind an alias. () where one of them has no
    quota, mail goes on elsewhere, or it is a list: a bounce of a member's goes to the owner, not to the sender."""
    room, path = session.parts.room, facts.forward_path
    if room is None or facts.resolution not in ("account", "alias", "catch-all", "role"):
        return ()
    known = session.resolved
    if known is not None and known[0] is path and (account := known[1].account) is not None:
        return _rooms(session, [account]) if account.quota is not None else ()

    def resolved(found: Resolution) -> Any:
        if found.kind == "account" and found.account is not None:
            return _rooms(session, [found.account])
        return _of_targets(session, facts)

    return had(lambda: resolution_of(session, path), resolved)


def resolution_of(session: GateSession, path: Path) -> Any:
    """What `path` means here, as the decision that is being made has found it already (the very path, not its like:
    the next RCPT looks it up anew)."""
    known = session.resolved
    return known[1] if known is not None and known[0] is path else session.parts.directory.resolve(path)


async def _of_targets(session: GateSession, facts: RcptFacts) -> Any:
    directory = session.parts.directory
    expanded = directory.expand(facts.forward_path)
    targets: list[Target] = await _value(expanded)
    if not 0 < len(targets) <= MAX_LOOKED_AT or any(target.kind != "maildrop" for target in targets):
        return ()
    accounts: list[Account | None] = [await _value(directory.account(key_of(target.path))) for target in targets]
    return await _of_accounts(session, accounts)


async def _value(value: Any) -> Any:
    return await value if is_later(value) else value


def _rooms(session: GateSession, accounts: list[Account | None]) -> Any:
    """At once where none of them has a quota."""
    return _of_accounts(session, accounts) if all(each and each.quota is not None for each in accounts) else ()


async def _of_accounts(session: GateSession, accounts: list[Account | None]) -> tuple[Room, ...] | Unavailable:
    room = session.parts.room
    assert room is not None  # `rooms` looked
    found = []
    for account in accounts:
        if account is None or account.quota is None:
            return ()
        try:
            found.append(Room(account.address, await room.used(account.address), account.quota))
        except MaildropError as error:
            return Unavailable(str(error))
    return tuple(found)


def list_standing(session: GateSession, facts: RcptFacts) -> Any:
    """The list that the recipient is, and what the sender is to it; None for what is no list."""
    if facts.resolution != "list":
        return None
    directory = session.parts.directory
    return had(lambda: directory.entry(facts.forward_path), lambda entry: _standing(directory, entry[1], facts))


def _standing(directory: Directory, found: Found | None, facts: RcptFacts) -> Any:
    """By the reverse-path, or the account that the peer acts for. Who is behind a list or an alias that is a member is
    a member too: the mail reaches them all."""
    if not isinstance(found, MailingList):
        return None
    names = {facts.session.account} if facts.session.account else set()
    try:
        key = key_of(facts.reverse_path)
        names |= {key, without_detail(key) or key}
    except AddressError:
        pass  # no address of ours, nor one that anybody could have put on a list
    is_owner = not names.isdisjoint(owner.lower() for owner in found.owners)
    is_member: Any = not names.isdisjoint(member.lower() for member in found.members)
    if found.post == "members" and not (is_owner or is_member):  # else it decides nothing
        is_member = directory.is_member(found, names)
    return then(is_member, lambda answer: ListStanding(found.address, found.post, answer, is_owner))
