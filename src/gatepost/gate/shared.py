"""Aliases of several and lists, of whose members some want their mail encrypted: they are found before the message is
kept, so that what lies in the queue for them is encrypted too.

Not here: mail for one account, over an alias too (`gather.resolution`), and the copies (`intake.members`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gatepost.accounts.directory import Readers
from gatepost.accounts.model import Account, Target
from gatepost.gate.later import is_later
from gatepost.mail.address import Path
from gatepost.seal.cms.names import address_key
from gatepost.seal.model import RecipientKey

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession


class Shared(msgspec.Struct, frozen=True):
    """Mail for one recipient of a message that several read. targets: all of them. members: by address, those who want
    it encrypted and their keys. faults: of those whose key has ended, who get it as if they had none."""

    targets: tuple[Target, ...]
    members: dict[str, tuple[Target, RecipientKey]]
    faults: tuple[str, ...] = ()


def note(session: GateSession, path: Path) -> None:
    """`path` stands for several, as far as is known; who they are is looked up when the message comes."""
    session.shared[str(path)] = None


async def find(session: GateSession, path: Path, *, is_notice: bool) -> Shared:
    """Who is behind `path`. Raises AccountsError."""
    known = session.shared.get(str(path))
    if known is None:
        answer = session.parts.directory.readers(path, is_notice=is_notice)
        known = session.shared[str(path)] = _shared(session, await answer if is_later(answer) else answer)
    return known


def may_have_members(session: GateSession, path: Path, *, is_notice: bool) -> bool:
    """Whether anybody behind `path` wants mail encrypted, as far as it can be said at once. Raises AccountsError."""
    if str(path) not in session.shared:
        return False
    answer = session.parts.directory.readers(path, is_notice=is_notice)
    if is_later(answer):
        cast("Coroutine[Any, Any, Any]", answer).close()
        return True
    shared = session.shared[str(path)] = _shared(session, answer)
    return bool(shared.members)


def _shared(session: GateSession, readers: Readers | Awaitable[Readers]) -> Shared:
    assert isinstance(readers, tuple)
    targets, accounts = readers
    now = session.parts.clock.unix()
    members: dict[str, tuple[Target, RecipientKey]] = {}
    faults: list[str] = []
    for target, account in accounts:
        own = account.seal
        if own is None:
            continue
        if own.until is not None and own.until <= now:
            faults.append(f"the key of {account.address} has expired; it needs a new one")
            continue
        address = address_key(account.address)
        members[address] = target, _key(account, address)
    return Shared(tuple(targets), members, tuple(faults))


def _key(account: Account, address: str) -> RecipientKey:
    """Checked when it is used."""
    assert account.seal is not None
    return RecipientKey(
        kind="smime" if account.seal.kind == "smime" else "openpgp", address=address,
        fingerprint=account.seal.fingerprint, material=account.seal.material, source="local",
    )  # fmt: skip
