"""A message that is sealed becomes an entry for each set of recipients, and one for those who get it in clear.

All of them are kept in one commit, or none. Not here: what is to be sealed (`gate.gather_sealing`), and the refusal of
what cannot be (`policy.checks.seal_required`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gatepost.audit.event import Event
from gatepost.gate.gather_sealed import whole
from gatepost.gate.sealing import Choice, Sealer
from gatepost.gate.session import GateSession
from gatepost.mail.envelope import Envelope
from gatepost.mail.reply import Reply
from gatepost.policy.findings import SealNeed, SealPlan
from gatepost.policy.verdict import Decision, Evaluated
from gatepost.seal.model import Refused, SealedMessage, SealOptions
from gatepost.spool.model import NewEntry
from gatepost.spool.port import Content, SpoolStore

NAME: Final = "seal"  # in the record, beside the checks
NOT_SEALED: Final = Reply(451, "4.7.5", "The message could not be encrypted now, so nothing was sent; try again later")


class SealedParts(msgspec.Struct, frozen=True):
    """What one message became. told: what was encrypted to which key by which rule, for the record."""

    entries: tuple[tuple[NewEntry, Content], ...]
    told: tuple[dict[str, Any], ...]

    def discard(self) -> None:
        """None of it is kept."""
        for _, content in self.entries:
            content.discard()


class NotSealed(msgspec.Struct, frozen=True):
    """It could not be done; nothing was kept. why: for the record, without content."""

    why: str

    @property
    def decision(self) -> Decision:
        """For the record."""
        return Decision(None, (Evaluated(NAME, "enforce", "defer", self.why),))


def is_to_be_sealed(gate: GateSession, plan: object) -> bool:
    """Whether anybody's copy is."""
    return isinstance(plan, SealPlan) and not plan.sealed and bool(gate.seal_choices)


async def sealed_parts(
    gate: GateSession,
    sealer: Sealer,
    spool: SpoolStore,
    entry: NewEntry,
    added: bytes,
    content: Content,
    plan: SealPlan,
) -> SealedParts | NotSealed:
    """The parts of `entry`, whose `content` is discarded unless somebody gets it in clear.

    added: the header fields at the end of `entry.prefix` that belong to the message (Date, ...): they are protected by
    the encryption too. Raises SpoolError; then nothing is kept, and `content` is the caller's.
    """
    choices = gate.seal_choices
    async with sealer.work.turn(content.octets):
        message = added + await whole(content)
        sealed: list[tuple[SealedMessage, Choice]] = []
        for group in _alike(choices):
            done = await _sealed(gate, sealer, message, entry.envelope, group)
            if isinstance(done, Refused):
                return NotSealed(done.reason)
            sealed += done
        del message
        return _parts(gate, spool, entry, entry.prefix[: len(entry.prefix) - len(added)], content, sealed, plan)


def _alike(choices: dict[str, Choice]) -> list[dict[str, Choice]]:
    """The recipients whose copies are made in the same way, which may share one."""
    groups: dict[tuple[bool, bool], dict[str, Choice]] = {}
    for recipient, choice in choices.items():
        groups.setdefault((choice.rule.sign, choice.rule.hide_subject), {})[recipient] = choice
    return list(groups.values())


async def _sealed(
    gate: GateSession, sealer: Sealer, message: bytes, envelope: Envelope, group: dict[str, Choice]
) -> list[tuple[SealedMessage, Choice]] | Refused:
    keys = {choice.key.address: choice.key for choice in group.values()}
    by_address = {choice.key.address: choice for choice in group.values()}
    rule = next(iter(group.values())).rule
    signers = sealer.signers(envelope.reverse_path) if rule.sign else ()
    options = SealOptions(now=gate.parts.clock.now(), hide_subject=rule.hide_subject)
    done = await sealer.work.seal(message, keys, signers, options)
    if isinstance(done, Refused):
        return done
    return [(each, by_address[each.recipients[0]]) for each in done.messages]


def _parts(
    gate: GateSession,
    spool: SpoolStore,
    entry: NewEntry,
    trace: bytes,
    content: Content,
    sealed: Sequence[tuple[SealedMessage, Choice]],
    plan: SealPlan,
) -> SealedParts:
    entries: list[tuple[NewEntry, Content]] = []
    told: list[dict[str, Any]] = []
    needs = {need.recipient: need for need in plan.needs}
    # By the address of the key: several recipients may stand for one account.
    addresses = [_key_address(gate.seal_choices.get(str(each.path))) for each in entry.envelope.recipients]
    left = [number for number, address in enumerate(addresses) if not address]
    entry_ids = iter([entry.id])
    try:
        if left:
            entries.append((_for(entry, left, next(entry_ids)), content))
            told += _clear(entries[0][0], needs)
        for message, choice in sealed:
            entry_id = next(entry_ids, None) or gate.parts.ids.new()
            numbers = [number for number, address in enumerate(addresses) if address in message.recipients]
            kept = spool.new_content()
            part = _for(entry, numbers, entry_id)
            told.append(_told(part, message, choice, needs))
            part = msgspec.structs.replace(
                part, prefix=trace, octets=len(trace) + len(message.octets),
                has_8bit=not message.octets.isascii() or not trace.isascii(),
                # No notice about it, ours or another host's, has more than the fields outside.
                envelope=msgspec.structs.replace(part.envelope, ret="HDRS", size=None),
            )  # fmt: skip
            entries.append((part, kept))
            kept.write(message.octets)
            kept.finish()
    except BaseException:
        for _, kept in entries:
            if kept is not content:
                kept.discard()
        raise
    if not left:
        content.discard()
    return SealedParts(tuple(entries), tuple(told))


def _for(entry: NewEntry, numbers: Sequence[int], entry_id: str) -> NewEntry:
    """`entry` for some of its recipients."""
    recipients = tuple(entry.envelope.recipients[number] for number in numbers)
    return msgspec.structs.replace(
        entry, id=entry_id, envelope=msgspec.structs.replace(entry.envelope, recipients=recipients),
        destinations=tuple(entry.destinations[number] for number in numbers),
    )  # fmt: skip


def _key_address(choice: Choice | None) -> str:
    return choice.key.address if choice is not None else ""


def _told(part: NewEntry, message: SealedMessage, choice: Choice, needs: dict[str, SealNeed]) -> dict[str, Any]:
    recipients = [str(recipient.path) for recipient in part.envelope.recipients]
    warned = [why for recipient in recipients for why in needs[recipient].why]
    return {
        "entry": part.id, "recipients": recipients[:100], "rule": choice.rule.name, "kind": message.kind,
        "keys": list(message.keys[:100]), "signed": message.is_signed, **({"warnings": warned[:20]} if warned else {}),
    }  # fmt: skip


def _clear(part: NewEntry, needs: dict[str, SealNeed]) -> list[dict[str, Any]]:
    """Those who get it in clear though a rule would have had it otherwise, and why."""
    wanted = [need for recipient in part.envelope.recipients if (need := needs.get(str(recipient.path)))]
    return [
        {"entry": part.id, "recipients": [need.recipient], "rule": need.rule, "clear": "; ".join(need.why)}
        for need in wanted[:100]
    ]


def part_event(new: NewEntry, whole_id: str) -> Event:
    """The record of an entry beside the first one of its message."""
    return Event(
        kind="smtp.message",
        id=new.id,
        message=whole_id,
        login=new.login,
        sender=str(new.envelope.reverse_path),
        recipients=tuple(str(recipient.path) for recipient in new.envelope.recipients[:100]),
        octets=new.octets,
        details={"why": "sealed", "from": whole_id, "recipients": len(new.envelope.recipients)},
    )
