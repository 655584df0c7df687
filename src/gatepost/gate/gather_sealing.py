"""Gatherers of what is to be sealed: for one recipient at RCPT, for all of them when the message is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.accounts.port import AccountsError
from gatepost.gate import shared
from gatepost.gate.sealing import FOR_STORAGE, FOR_STORAGE_SIGNED, Choice, Sealer
from gatepost.mail.address import Path
from gatepost.mail.header import HeaderSection, section_end, walk
from gatepost.policy.facts import MessageFacts, RcptFacts
from gatepost.policy.findings import SealNeed, SealPlan, Unavailable
from gatepost.seal.process import SealProcessError
from gatepost.seal.rules import SealRule
from gatepost.spool.port import Content, SpoolError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession


def is_sealed_here(session: GateSession) -> bool:
    """Whether rules of ours are about what this peer sends. Strangers' mail is their own to encrypt."""
    sealer = session.parts.sealer
    return sealer is not None and bool(sealer.rules) and session.facts.may_relay_by is not None


def seal(session: GateSession, facts: RcptFacts | MessageFacts) -> Any:
    """What the stage's check is to know: the recipient's need, or the plan for all."""
    if isinstance(facts, MessageFacts):
        return _plan(session, facts)
    sealer = session.parts.sealer
    if sealer is None or facts.syntax is not None or not is_sealed_here(session):
        return None
    if str(facts.forward_path) in session.own_keys:
        return None  # there is a key, whatever a rule says
    rule = sealer.rule(facts.reverse_path, facts.forward_path)
    if rule is None or rule == "open" or rule.mode == "off":
        return None
    return _need(sealer, facts.forward_path, rule)


async def _need(sealer: Sealer, recipient: Path, rule: Any) -> SealNeed:
    return (await sealer.find(recipient, rule))[0]


async def _plan(session: GateSession, facts: MessageFacts) -> SealPlan | Unavailable:
    """Every recipient's need; the keys are left at `session.seal_choices` for whoever seals."""
    sealer, content = session.parts.sealer, session.content
    choices: dict[str, Choice] = {}
    session.seal_choices = choices
    if sealer is None or content is None:
        return Unavailable("nothing can be encrypted here")
    try:
        header = await _header(content) if any(rule.header for rule in sealer.rules) else None
        needs = []
        has_members = False
        for path in dict.fromkeys(facts.recipients):
            has_members = await _has_members(session, facts, path) or has_members
            found = await _wanted(session, sealer, facts, path, header)
            if found is None:
                continue
            need, choice = found
            needs.append(need)
            if choice is not None:
                choices[str(path)] = choice
        if not needs and not has_members:
            return SealPlan()
        kind = await sealer.work.kind_of(content.chunks(), content.octets)
    except (AccountsError, SpoolError, SealProcessError) as error:
        return Unavailable(str(error))
    return SealPlan(tuple(needs), kind or "")


async def _wanted(
    session: GateSession, sealer: Sealer, facts: MessageFacts, path: Path, header: HeaderSection | None
) -> tuple[SealNeed, Choice | None] | None:
    """What a rule wants for `path`, or else its account; None for what stays as it came."""
    rule = sealer.rule(facts.reverse_path, path, header or _NO_HEADER) if is_sealed_here(session) else None
    own = session.own_keys.get(str(path))
    need = None
    if rule is not None and rule.mode != "off":
        need, key = await sealer.find(path, rule)
        if key is not None:
            return need, Choice(key, rule)
    if own is not None:
        need, key = sealer.own(path, *own)
        for_storage = FOR_STORAGE_SIGNED if rule is not None and rule.sign else FOR_STORAGE
        return need, Choice(key, for_storage) if key else None
    if rule is None or not rule.sign or rule.mode == "required":
        return (need, None) if need is not None else None
    return _signed_only(sealer, facts, path, rule, need)


def _signed_only(
    sealer: Sealer, facts: MessageFacts, path: Path, rule: SealRule, need: SealNeed | None
) -> tuple[SealNeed, Choice | None]:
    """What is left where there is no key. need: why there is none; None for a rule that asks for none."""
    need = need or SealNeed(recipient=str(path), rule=rule.name, mode="off")
    if sealer.only_signer(facts.reverse_path, rule) is not None:
        return need, Choice(None, rule)
    why = "nothing signs for the sender's domain" if facts.reverse_path.domain else "the null sender has no domain"
    return msgspec.structs.replace(need, why=(*need.why, f"not signed: {why}")), None


async def _has_members(session: GateSession, facts: MessageFacts, path: Path) -> bool:
    """Whether some of those whom `path` stands for want their mail encrypted. Raises AccountsError."""
    if str(path) not in session.shared:
        return False
    found = await shared.find(session, path, is_notice=facts.reverse_path.is_null)
    return bool(found.members)


_NO_HEADER = walk(b"\r\n")


async def _header(content: Content) -> HeaderSection:
    """The header section. Raises SpoolError."""
    head = b""
    async for piece in content.chunks():
        head, searched = head + piece, len(head)
        if (end := section_end(head, searched)) >= 0:
            return walk(head[:end])
    return walk(head)
