"""Gatherers of what the DNS says of a sender's and a recipient's domain. What is cached there needs no task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gatepost.mail.address import AddressError, Path
from gatepost.policy.facts import MailFacts, RcptFacts
from gatepost.policy.findings import DomainDns, Unavailable
from gatepost.ports.resolver import Answer, Outcome, Resolver

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

NULL_PATH: Final = DomainDns("", "null path")
LOOPBACK_NAME: Final = "localhost"  # RFC 6761 §6.3: it has an address everywhere, and leads nowhere but home


def sender_dns(session: GateSession, facts: MailFacts) -> Any:
    """The domain of the reverse-path; one of ours takes mail whatever the DNS says."""
    path, resolver = facts.reverse_path, session.parts.resolver
    if path.is_null:
        return NULL_PATH
    if resolver is None or session.parts.directory.is_ours(path):
        return DomainDns(path.domain, "ours")
    return domain_dns(resolver, path)


def recipient_dns(session: GateSession, facts: RcptFacts) -> Any:
    """The domain of a forward-path whose mail goes where the DNS says; not that of a route or the smarthost."""
    path, resolver = facts.forward_path, session.parts.resolver
    if resolver is None or facts.resolution != "foreign" or facts.syntax is not None or path.is_null:
        return DomainDns(path.domain, "ours")
    if session.facts.may_relay_by is None or _is_routed(session, path):
        return DomainDns(path.domain, "ours")
    return domain_dns(resolver, path)


def _is_routed(session: GateSession, path: Path) -> bool:
    try:
        return session.parts.is_routed(path.ascii_domain)
    except AddressError:
        return False  # which `domain_dns` tells


def domain_dns(resolver: Resolver, path: Path) -> Any:
    """The `DomainDns` of the path's domain, or Unavailable; an awaitable where the DNS must be asked."""
    try:
        domain = path.ascii_domain
    except AddressError:
        return DomainDns(path.domain, "no name")
    if domain.startswith("["):
        return DomainDns(domain, "literal")
    if domain == LOOPBACK_NAME or domain.endswith(f".{LOOPBACK_NAME}"):
        return DomainDns(domain, "no name")
    mx = resolver.cached(domain, "MX")
    if mx is None:
        return _asked(resolver, domain)
    found = _by_mx(domain, mx)
    if found is not None:
        return found
    a, aaaa = resolver.cached(domain, "A"), resolver.cached(domain, "AAAA")
    if a is not None and (aaaa is not None or a.outcome is Outcome.FOUND):
        return _by_address(domain, (a,) if aaaa is None else (a, aaaa))
    return _asked(resolver, domain)


async def _asked(resolver: Resolver, domain: str) -> DomainDns | Unavailable:
    found = _by_mx(domain, await resolver.query(domain, "MX"))
    if found is not None:
        return found
    return _by_address(domain, await asyncio.gather(*(resolver.query(domain, rdtype) for rdtype in ("A", "AAAA"))))


def _by_mx(domain: str, answer: Answer) -> DomainDns | Unavailable | None:
    """None where the domain has no MX, so that its addresses decide. A null MX beside others says nothing."""
    match answer.outcome:
        case Outcome.FAILED:
            return Unavailable(f"the MX records of {domain} cannot be had ({answer.error or 'no answer'})")
        case Outcome.NO_NAME:
            return DomainDns(domain, "no name")
        case Outcome.NO_DATA:
            return None
    is_null = all(record.partition(" ")[2] == "." for record in answer.records)
    return DomainDns(domain, "null mx" if is_null else "mx")


def _by_address(domain: str, answers: tuple[Answer, ...] | list[Answer]) -> DomainDns | Unavailable:
    if any(answer.outcome is Outcome.FOUND for answer in answers):
        return DomainDns(domain, "address")
    for answer in answers:
        if answer.outcome is Outcome.FAILED:
            return Unavailable(f"the addresses of {domain} cannot be had ({answer.error or 'no answer'})")
    return DomainDns(domain, "no records")
