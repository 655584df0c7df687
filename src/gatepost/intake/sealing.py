"""A message that is sealed becomes an entry for each set of recipients, and one for those who get it in clear.

All of them are kept in one commit, or none. Not here: what is to be sealed (`gate.gather_sealing`), and the refusal of
what cannot be (`policy.checks.seal_required`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gatepost.accounts.port import AccountsError
from gatepost.audit.event import Event
from gatepost.gate.gather_sealing import is_sealed_here
from gatepost.gate.sealing import OWN, Choice, Sealer
from gatepost.gate.session import GateSession
from gatepost.gate.shared import may_have_members
from gatepost.intake.members import Members, members_parts
from gatepost.intake.sealed import Part, Source, discard, encrypted, written
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope
from gatepost.mail.reply import Reply
from gatepost.policy.findings import SealNeed, SealPlan
from gatepost.policy.verdict import Decision, Evaluated
from gatepost.seal.model import Refused, SealedFor, SealOptions, SignedBy, SigningKey
from gatepost.spool.destination import LOCAL
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
    """Whether anybody's copy of a message that has not come yet may be: an account among `recipients`, or behind one of
    them, wants that, or a rule is about one of them (what a rule says of the header is not known yet)."""
    if gate.own_keys:
        return True
    sealer = gate.parts.sealer
    if sealer is None:
        return False
    try:
        if gate.shared and any(may_have_members(gate, path, is_notice=reverse_path.is_null) for path in recipients):
            return True
    except AccountsError:
        return True  # it is put off at the end, unless they can be read again
    if not is_sealed_here(gate):
        return False
    rules = (sealer.rule(reverse_path, path) for path in recipients)
    return any(rule is not None and (rule == "open" or rule.mode != "off") for rule in rules)


def is_to_be_sealed(gate: GateSession, plan: object) -> bool:
    """Whether anybody's copy is encrypted or signed."""
    if not isinstance(plan, SealPlan) or plan.sealed:
        return False
    return bool(gate.seal_choices) or any(found is not None and found.members for found in gate.shared.values())


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
    source = Source(spool, added, content)
    parts: list[Part] = []
    try:
        for group in _alike(gate.seal_choices):
            made = await _sealed(gate, sealer, source, entry.envelope, group)
            if isinstance(made, Refused):
                discard(parts)
                return NotSealed(made.reason)
            parts += made
        for signer, recipients in _signed_alike(gate, sealer, entry.envelope.reverse_path).items():
            signed = await _signed(gate, sealer, source, signer, recipients)
            if isinstance(signed, Refused):
                discard(parts)
                return NotSealed(signed.reason)
            parts += [signed] if signed is not None else []
        members = await members_parts(gate, sealer, source, entry)
        parts += members.parts
        trace = entry.prefix[: len(entry.prefix) - len(added)]
        return _joined(gate, members.without_served(entry), trace, source, parts, members, needs)
    except BaseException:
        discard(parts)
        raise


def _alike(choices: dict[str, Choice]) -> list[dict[str, Choice]]:
    """The recipients whose copies are encrypted in the same way, which may share one."""
    groups: dict[tuple[bool, bool], dict[str, Choice]] = {}
    for recipient, choice in choices.items():
        if choice.key is not None:
            groups.setdefault((choice.rule.sign, choice.rule.hide_subject), {})[recipient] = choice
    return list(groups.values())


def _signed_alike(gate: GateSession, sealer: Sealer, reverse_path: Path) -> dict[SigningKey, list[str]]:
    """The recipients whose copies are signed and not encrypted, by the key that signs."""
    groups: dict[SigningKey, list[str]] = {}
    for recipient, choice in gate.seal_choices.items():
        signer = sealer.only_signer(reverse_path, choice.rule) if choice.key is None else None
        if signer is not None:
            groups.setdefault(signer, []).append(recipient)
    return groups


async def _sealed(
    gate: GateSession, sealer: Sealer, source: Source, envelope: Envelope, group: dict[str, Choice]
) -> list[Part] | Refused:
    """What `group` gets. Raises SpoolError."""
    keys = {choice.key.address: choice.key for choice in group.values() if choice.key is not None}
    rule = next(iter(group.values())).rule
    signers = sealer.signers(envelope.reverse_path) if rule.sign else ()
    options = SealOptions(now=gate.parts.clock.now(), hide_subject=rule.hide_subject)
    made = await encrypted(sealer, source, keys, signers, options)
    if isinstance(made, Refused):
        return made
    for part in made:
        assert isinstance(part.of, SealedFor)
        # By the address of the key: several recipients may stand for one account.
        part.recipients = [
            recipient for recipient, choice in group.items()
            if choice.key is not None and choice.key.address in part.of.recipients
        ]  # fmt: skip
    return made


async def _signed(
    gate: GateSession, sealer: Sealer, source: Source, signer: SigningKey, recipients: list[str]
) -> Part | None | Refused:
    """What those get who get it signed; None for a message that is signed already, which stays as it came."""
    options = SealOptions(now=gate.parts.clock.now())
    pieces = sealer.work.sign_pieces(source.message(), source.octets, signer, options)
    made = await written(source, pieces)
    if isinstance(made, Refused):
        return None if made.code == "signed" else made
    made[0].recipients = recipients
    return made[0]


def _joined(
    gate: GateSession, entry: NewEntry, trace: bytes, source: Source, parts: Sequence[Part], members: Members,
    needs: dict[str, SealNeed],
) -> SealedParts:  # fmt: skip
    """Everybody's entries; the first one has the message's ID."""
    entries: list[tuple[NewEntry, Content]] = []
    told: list[dict[str, Any]] = []
    changed = {recipient for part in parts if part.envelope is None for recipient in part.recipients}
    paths = [str(each.path) for each in entry.envelope.recipients]
    left = [number for number, path in enumerate(paths) if path not in changed]
    entry_ids = iter([entry.id])
    if left:
        entries.append((_for(entry, left, next(entry_ids)), source.content))
        told += _clear(entries[0][0], needs)
    for part in parts:
        entry_id = next(entry_ids, None) or gate.parts.ids.new()
        if part.envelope is not None:
            new = msgspec.structs.replace(
                entry, id=entry_id, envelope=part.envelope, destinations=(LOCAL,) * len(part.envelope.recipients)
            )
        else:
            new = _for(entry, [number for number, path in enumerate(paths) if path in part.recipients], entry_id)
            if not new.envelope.recipients:
                part.content.discard()  # of a list all of whose members have their own
                continue
        told += _told(new, part, gate.seal_choices, needs)
        prefix = part.prefix + trace
        new = msgspec.structs.replace(
            new, prefix=prefix, octets=len(prefix) + part.content.octets,
            has_8bit=part.is_8bit or not prefix.isascii(), envelope=_envelope_of(new.envelope, part),
        )  # fmt: skip
        entries.append((new, part.content))
    told += members.faults(entries)
    if not left:
        source.content.discard()
    return SealedParts(tuple(entries), tuple(told))


def _envelope_of(envelope: Envelope, part: Part) -> Envelope:
    if isinstance(part.of, SignedBy):
        return msgspec.structs.replace(envelope, size=None)
    # No notice about it, ours or another host's, has more than the fields outside.
    return msgspec.structs.replace(envelope, ret="HDRS", size=None)


def _for(entry: NewEntry, numbers: Sequence[int], entry_id: str) -> NewEntry:
    """`entry` for some of its recipients."""
    recipients = tuple(entry.envelope.recipients[number] for number in numbers)
    return msgspec.structs.replace(
        entry, id=entry_id, envelope=msgspec.structs.replace(entry.envelope, recipients=recipients),
        destinations=tuple(entry.destinations[number] for number in numbers),
    )  # fmt: skip


def _told(new: NewEntry, part: Part, choices: dict[str, Choice], needs: dict[str, SealNeed]) -> list[dict[str, Any]]:
    """One for each rule that wanted it."""
    by_rule: dict[str, list[str]] = {}
    for recipient in new.envelope.recipients:
        choice = choices.get(str(recipient.path)) if part.envelope is None else None
        by_rule.setdefault(choice.rule.name if choice is not None else OWN, []).append(str(recipient.path))
    rows = []
    for rule, recipients in by_rule.items():
        row: dict[str, Any] = {"entry": new.id, "recipients": recipients[:100], "rule": rule, "kind": part.of.kind}
        why = [each for recipient in recipients if recipient in needs for each in needs[recipient].why]
        if isinstance(part.of, SealedFor):
            row |= {"keys": list(part.of.keys[:100]), "signed": part.of.is_signed}
            row |= {"warnings": why[:20]} if why else {}
        else:
            row |= {"signed": True, "clear": "; ".join(why[:20]) or "the rule says so"}
        row |= {"signer": part.of.signer} if part.of.signer else {}
        row |= {"behind": part.behind} if part.behind else {}
        rows.append(row)
    return rows


def _clear(part: NewEntry, needs: dict[str, SealNeed]) -> list[dict[str, Any]]:
    """Those who get it as it came though a rule would have had it otherwise, and why."""
    wanted = [need for recipient in part.envelope.recipients if (need := needs.get(str(recipient.path)))]
    return [
        {
            "entry": part.id, "recipients": [need.recipient], "rule": need.rule,
            "clear": "; ".join(need.why) or "it is signed already",
        }
        for need in wanted[:100]
    ]  # fmt: skip


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
