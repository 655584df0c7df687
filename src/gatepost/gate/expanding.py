"""What an alias or a list makes of an envelope: the same whether it is expanded when the message is accepted, for
members who want their mail encrypted, or when it is delivered, for all others.

Not here: who the targets are (`accounts.directory`), and the new entries (`intake.members`, `delivery.expansion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatepost.accounts.model import Target
from gatepost.mail.address import NULL_PATH, Path
from gatepost.mail.envelope import Envelope, Notify, Recipient

MAX_RECIPIENTS: Final = 1000  # of one new entry: a list of 100,000 is many entries, each small enough to hold


def delivered_to(forward_path: Path, hostname: str) -> str:
    """The address of a Delivered-To field; `<postmaster>` without a domain is that of this host."""
    return str(forward_path if forward_path.domain else Path(forward_path.local_part, hostname))


def is_list(targets: Sequence[Target]) -> bool:
    """Whether they are those of a list, which sends in its owner's name."""
    return any(target.reverse_path is not None for target in targets)


def by_reverse_path(reverse_path: Path, targets: Sequence[Target]) -> dict[Path, list[Target]]:
    """The targets by the reverse-path that they get: a list's owner instead of the sender, but null stays null."""
    groups: dict[Path, list[Target]] = {}
    for target in targets:
        replaced = target.reverse_path is not None and not reverse_path.is_null
        groups.setdefault(target.reverse_path or NULL_PATH if replaced else reverse_path, []).append(target)
    return groups


def carried_on(
    original: Envelope, recipient: Recipient, reverse_path: Path, targets: Sequence[Target], all_targets: int
) -> Envelope:
    """The envelope of a new entry for `targets`, some of all that `recipient` stands for (RFC 3461 §5.2.7).

    A forward (one target) carries every notice request on. Behind an alias of several the sender has had "expanded",
    so success is not told again. A list is a new transaction of its owner: nothing of the sender's requests goes on.
    """
    of_list = is_list(targets)
    notify: tuple[Notify, ...] = recipient.notify
    if of_list:
        notify = ()
    elif all_targets > 1 and "SUCCESS" in notify:
        notify = tuple(event for event in notify if event != "SUCCESS") or ("NEVER",)
    kind = "rfc822" if recipient.path.is_ascii else "utf-8"
    orcpt = "" if of_list else recipient.orcpt or f"{kind};{recipient.path}"
    return Envelope(
        reverse_path=reverse_path,
        recipients=tuple(Recipient(target.path, notify, orcpt) for target in targets),
        body=original.body,
        smtputf8=original.smtputf8 or any(not target.path.is_ascii for target in targets),
        ret="" if of_list else original.ret,
        envid="" if of_list else original.envid,
    )
