"""A message that is sealed becomes an entry for each set of recipients, and one for those who get it in clear.

All of them are kept in one commit, or none. Not here: what is to be sealed (`gate.gather_sealing`), and the refusal of
what cannot be (`policy.checks.seal_required`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from gatepost.audit.event import Event
from gatepost.gate.gather_sealing import is_sealed_here
from gatepost.gate.sealing import Choice, Sealer
from gatepost.gate.session import GateSession
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope
from gatepost.mail.reply import Reply
from gatepost.policy.findings import SealNeed, SealPlan
from gatepost.policy.verdict import Decision, Evaluated
from gatepost.seal.model import Refused, SealedFor, SealOptions
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


def may_be_sealed(gate: GateSession, reverse_path: Path, recipients: Sequence[Path]) -> bool:
    """Whether anybody's copy of a message that has not come yet may be: an account among `recipients` wants that, or a
    rule is about one of them (what a rule says of the header is not known yet)."""
    if gate.own_keys:
        return True
    sealer = gate.parts.sealer
    if sealer is None or not is_sealed_here(gate):
        return False
    rules = (sealer.rule(reverse_path, path) for path in recipients)
    return any(rule is not None and (rule == "open" or rule.mode != "off") for rule in rules)


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
    needs = {need.recipient: need for need in plan.needs}
    sealed: list[_Part] = []
    try:
        for group in _alike(gate.seal_choices):
            refused = await _seal(gate, sealer, spool, added, content, entry.envelope, group, sealed)
            if refused is not None:
                _discard(sealed)
                return NotSealed(refused.reason)
        return _parts(gate, entry, entry.prefix[: len(entry.prefix) - len(added)], content, sealed, needs)
    except BaseException:
        _discard(sealed)
        raise


class _Part(msgspec.Struct):
    """One sealed message, being written."""

    of: SealedFor
    choice: Choice
    content: Content
    is_8bit: bool = False


def _discard(parts: Sequence[_Part]) -> None:
    for part in parts:
        part.content.discard()


def _alike(choices: dict[str, Choice]) -> list[dict[str, Choice]]:
    """The recipients whose copies are made in the same way, which may share one."""
    groups: dict[tuple[bool, bool], dict[str, Choice]] = {}
    for recipient, choice in choices.items():
        groups.setdefault((choice.rule.sign, choice.rule.hide_subject), {})[recipient] = choice
    return list(groups.values())


async def _seal(
    gate: GateSession, sealer: Sealer, spool: SpoolStore, added: bytes, content: Content, envelope: Envelope,
    group: dict[str, Choice], sealed: list[_Part],
) -> Refused | None:  # fmt: skip
    """Adds what `group` gets to `sealed`. Raises SpoolError."""
    keys = {choice.key.address: choice.key for choice in group.values()}
    by_address = {choice.key.address: choice for choice in group.values()}
    rule = next(iter(group.values())).rule
    signers = sealer.signers(envelope.reverse_path) if rule.sign else ()
    options = SealOptions(now=gate.parts.clock.now(), hide_subject=rule.hide_subject)
    octets = len(added) + content.octets
    pieces = sealer.work.seal_pieces(_message(added, content), octets, keys, signers, options)
    async with aclosing(pieces):
        async for each in pieces:
            match each:
                case Refused():
                    return each
                case SealedFor():
                    sealed.append(_Part(each, by_address[each.recipients[0]], spool.new_content()))
                case _:
                    part = sealed[-1]
                    part.content.write(each)
                    part.is_8bit = part.is_8bit or not each.isascii()
    return None


async def _message(added: bytes, content: Content) -> AsyncIterator[bytes]:
    yield added
    async for piece in content.chunks():
        yield piece


def _parts(
    gate: GateSession, entry: NewEntry, trace: bytes, content: Content, sealed: Sequence[_Part],
    needs: dict[str, SealNeed],
) -> SealedParts:  # fmt: skip
    entries: list[tuple[NewEntry, Content]] = []
    told: list[dict[str, Any]] = []
    # By the address of the key: several recipients may stand for one account.
    addresses = [_key_address(gate.seal_choices.get(str(each.path))) for each in entry.envelope.recipients]
    left = [number for number, address in enumerate(addresses) if not address]
    entry_ids = iter([entry.id])
    if left:
        entries.append((_for(entry, left, next(entry_ids)), content))
        told += _clear(entries[0][0], needs)
    for part in sealed:
        entry_id = next(entry_ids, None) or gate.parts.ids.new()
        numbers = [number for number, address in enumerate(addresses) if address in part.of.recipients]
        new = _for(entry, numbers, entry_id)
        told.append(_told(new, part.of, part.choice, needs))
        part.content.finish()
        new = msgspec.structs.replace(
            new, prefix=trace, octets=len(trace) + part.content.octets, has_8bit=part.is_8bit or not trace.isascii(),
            # No notice about it, ours or another host's, has more than the fields outside.
            envelope=msgspec.structs.replace(new.envelope, ret="HDRS", size=None),
        )  # fmt: skip
        entries.append((new, part.content))
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


def _told(part: NewEntry, message: SealedFor, choice: Choice, needs: dict[str, SealNeed]) -> dict[str, Any]:
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
