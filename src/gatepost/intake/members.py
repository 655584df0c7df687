"""Members of a list, or of an alias of several, who want their mail encrypted: each gets a message of their own when it
is accepted, and the list or alias stays for all others.

Not here: who they are (`gate.shared`), and what delivery does for the others (`delivery.local`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from gatepost.accounts.model import Target
from gatepost.gate.expanding import MAX_RECIPIENTS, by_reverse_path, carried_on, delivered_to
from gatepost.gate.sealing import FOR_STORAGE, OWN, Sealer
from gatepost.gate.session import GateSession
from gatepost.gate.shared import Shared
from gatepost.intake.sealed import Part, Source, discard, encrypted
from gatepost.mail.address import Path
from gatepost.mail.envelope import EVERYBODY, Recipient
from gatepost.seal.model import RecipientKey, Refused, SealedFor, SealOptions
from gatepost.spool.model import NewEntry
from gatepost.spool.port import Content

MAX_APART: Final = 100  # members with a message of their own; more of them share one, or nobody could wait for the 250
MAX_APART_OCTETS: Final = 256 * 1024 * 1024  # of their messages together


class Members(msgspec.Struct):
    """What was made for them. served: by the recipient that they are behind, who they are. alone: of those recipients,
    the ones with nobody else behind them. why: by recipient, why some are not served."""

    parts: list[Part] = []
    served: dict[str, tuple[str, ...]] = {}
    alone: set[str] = set()
    why: dict[str, list[str]] = {}

    def without_served(self, entry: NewEntry) -> NewEntry:
        """`entry` for those who are left."""
        if not self.served:
            return entry
        envelope = entry.envelope
        kept = [
            (msgspec.structs.replace(each, served=self.served.get(str(each.path), each.served)), destination)
            for each, destination in zip(envelope.recipients, entry.destinations, strict=True)
            if str(each.path) not in self.alone
        ]
        return msgspec.structs.replace(
            entry, envelope=msgspec.structs.replace(envelope, recipients=tuple(each for each, _ in kept)),
            destinations=tuple(destination for _, destination in kept),
        )  # fmt: skip

    def faults(self, entries: Sequence[tuple[NewEntry, Content]]) -> list[dict[str, Any]]:
        """For the record: whose copy lies in clear until it is delivered."""
        return [
            {"entry": new.id, "recipients": [str(each.path)], "rule": OWN, "clear": "; ".join(why[:20])}
            for new, _ in entries
            for each in new.envelope.recipients
            if (why := self.why.get(str(each.path)))
        ]


async def members_parts(gate: GateSession, sealer: Sealer, source: Source, entry: NewEntry) -> Members:
    """A message for each member who wants it encrypted. One whose key cannot be used is no reason to refuse a list's
    mail: it is encrypted when it is delivered, or waits. Raises SpoolError; then nothing is kept."""
    members = Members()
    try:
        for recipient in entry.envelope.recipients:
            name = str(recipient.path)
            choice, shared = gate.seal_choices.get(name), gate.shared.get(name)
            if shared is None or (choice is not None and choice.key is not None):  # the list itself has a key
                continue
            signs = choice is not None and choice.rule.sign
            await _serve(gate, sealer, source, entry, recipient, shared, members, signs=signs)
    except BaseException:
        discard(members.parts)
        raise
    return members


async def _serve(
    gate: GateSession, sealer: Sealer, source: Source, entry: NewEntry, recipient: Recipient, shared: Shared,
    members: Members, *, signs: bool,
) -> None:  # fmt: skip
    name, why = str(recipient.path), list(shared.faults)
    signers = sealer.signers(entry.envelope.reverse_path) if signs else ()
    of_members = [target for target, _ in shared.members.values()]
    keys = {str(target.path): key for target, key in shared.members.values()}
    count = len(of_members)
    options = SealOptions(
        now=gate.parts.clock.now(), hide_subject=FOR_STORAGE.hide_subject,
        is_shared=count > MAX_APART or count * source.octets > MAX_APART_OCTETS,
    )  # fmt: skip
    made: list[Part] = []
    for reverse_path, group in by_reverse_path(entry.envelope.reverse_path, of_members).items():
        waiting = iter(group)
        while some := list(islice(waiting, MAX_RECIPIENTS)):
            usable = {key.address: key for key in [keys[str(target.path)] for target in some]}
            parts = await _encrypted(sealer, source, usable, signers, options, why)
            for part in parts:
                _address(gate, part, entry, recipient, reverse_path, some, keys, len(shared.targets))
            made += parts
            members.parts += parts
    served = [str(each.path) for part in made if part.envelope is not None for each in part.envelope.recipients]
    if served:
        members.served[name] = tuple(served)
        if len(served) == len(shared.targets):
            members.alone.add(name)
            if recipient.wants("SUCCESS") and not entry.envelope.reverse_path.is_null:
                members.parts.append(await _to_be_told(source, entry, recipient, made[0]))
    if why:
        members.why[name] = why


async def _encrypted(
    sealer: Sealer, source: Source, keys: dict[str, RecipientKey], signers: Any, options: SealOptions, why: list[str]
) -> list[Part]:
    """For as many of `keys` as can be used; the reasons of the others go to `why`. Raises SpoolError."""
    while keys:
        made = await encrypted(sealer, source, keys, signers, options)
        if not isinstance(made, Refused):
            return made
        why.append(made.reason)
        if made.address not in keys:
            return []
        del keys[made.address]
    return []


def _address(
    gate: GateSession, part: Part, entry: NewEntry, recipient: Recipient, reverse_path: Path,
    targets: Sequence[Target], keys: dict[str, RecipientKey], all_targets: int,
) -> None:  # fmt: skip
    """`part` is for those of `targets` whose keys open it."""
    assert isinstance(part.of, SealedFor)
    some = [target for target in targets if keys[str(target.path)].address in part.of.recipients]
    part.envelope = carried_on(entry.envelope, recipient, reverse_path, some, all_targets)
    part.prefix = f"Delivered-To: {delivered_to(recipient.path, gate.parts.hostname)}\r\n".encode()
    part.behind = str(recipient.path)


async def _to_be_told(source: Source, entry: NewEntry, recipient: Recipient, like: Part) -> Part:
    """An entry that goes nowhere: delivery tells the sender of success, as ever. Raises SpoolError."""
    content = source.spool.new_content()
    async for piece in like.content.chunks():
        content.write(piece)
    content.finish()
    told = msgspec.structs.replace(recipient, served=EVERYBODY)
    envelope = msgspec.structs.replace(entry.envelope, recipients=(told,))
    return Part(like.of, content, like.is_8bit, envelope=envelope, behind=str(recipient.path))
