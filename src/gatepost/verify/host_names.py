"""The host name of a peer: what the DNS calls its address, and whether that name leads back to it."""

from __future__ import annotations

from typing import Final

from gatepost.mail.network import parse_ip
from gatepost.ports.resolver import Answer, Outcome, Resolver

MAX_NAMES: Final = 5  # of an address that are looked at: whoever owns it can list a thousand


async def names_of(resolver: Resolver, ip: str) -> tuple[tuple[str, ...], str]:
    """The names that the address claims (lower case), and why they could not be had ("": they could)."""
    name = parse_ip(ip).reverse_pointer
    answer = await _answer(resolver, name, "PTR")
    if answer.outcome is Outcome.FAILED:
        return (), f"the name of {ip} cannot be had ({answer.error or 'no answer'})"
    if answer.outcome is not Outcome.FOUND:
        return (), ""
    return tuple(record.rstrip(".").lower() for record in answer.records), ""


async def verified(resolver: Resolver, name: str, ip: str) -> tuple[bool, str]:
    """Whether `name` has the address `ip`, and why that could not be found out ("": it could)."""
    address = parse_ip(ip)
    answer = await _answer(resolver, name, "A" if address.version == 4 else "AAAA")
    if answer.outcome is Outcome.FAILED:
        return False, f"the address of {name} cannot be had ({answer.error or 'no answer'})"
    return any(_is(record, ip) for record in answer.records), ""


async def _answer(resolver: Resolver, name: str, rdtype: str) -> Answer:
    return resolver.cached(name, rdtype) or await resolver.query(name, rdtype)


def _is(record: str, ip: str) -> bool:
    try:
        return parse_ip(record) == parse_ip(ip)
    except ValueError:
        return False
