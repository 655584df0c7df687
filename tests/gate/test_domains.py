"""What the DNS says of a domain that mail comes from or goes to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.memory_resolver import MemoryResolver

from gatepost.gate.gather_dns import domain_dns
from gatepost.gate.later import is_later
from gatepost.mail.address import Path, parse_mailbox
from gatepost.policy.findings import DomainDns, Unavailable
from gatepost.ports.resolver import Answer


async def by(resolver: MemoryResolver, domain: str = "far.example") -> str:
    found = domain_dns(resolver, Path("bob", domain))
    if is_later(found):
        found = await found
    if isinstance(found, Unavailable):
        return "unavailable"
    assert isinstance(found, DomainDns)
    return found.by


def records(**given: tuple[str, ...] | None) -> Callable[[MemoryResolver], None]:
    """Answers about far.example by type; None: no answer."""

    def fill(resolver: MemoryResolver) -> None:
        for rdtype, texts in given.items():
            if texts is None:
                resolver.fail("far.example", rdtype)
            else:
                resolver.put("far.example", rdtype, *texts)

    return fill


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (records(MX=("10 mx.far.example",)), "mx"),
        (records(MX=("0 .",)), "null mx"),
        (records(MX=("0 .", "10 mx.far.example")), "mx"),
        (records(MX=(), A=("192.0.2.1",), AAAA=()), "address"),
        (records(MX=(), A=(), AAAA=("2001:db8::1",)), "address"),
        (records(MX=(), A=(), AAAA=()), "no records"),
        (records(), "no name"),
        (records(MX=None, A=("192.0.2.1",)), "unavailable"),
        (records(MX=(), A=None, AAAA=()), "unavailable"),
        (records(MX=(), A=(), AAAA=None), "unavailable"),
        (records(MX=(), A=None, AAAA=("2001:db8::1",)), "address"),
    ],
)
async def test_a_domain_takes_mail_by_mx_or_address(fill: Callable[[MemoryResolver], None], expected: str) -> None:
    resolver = MemoryResolver()
    fill(resolver)
    assert await by(resolver) == expected


async def test_an_address_literal_and_the_name_of_everybodys_loopback_are_not_looked_up() -> None:
    resolver = MemoryResolver()
    assert await by(resolver, "[192.0.2.7]") == "literal"
    assert await by(resolver, "localhost") == "no name"
    assert await by(resolver, "web.localhost") == "no name"
    assert not resolver.asked


async def test_a_domain_in_its_own_script_is_looked_up_by_its_a_labels() -> None:
    resolver = MemoryResolver()
    resolver.put("xn--bcher-kva.example", "MX", "10 mx.far.example")
    assert await by(resolver, parse_mailbox("bob@bücher.example").domain) == "mx"


class WarmResolver(MemoryResolver):
    """Everything that is there is known already."""

    def cached(self, name: str, rdtype: str) -> Answer | None:
        return self.answers.get((name, rdtype))


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (records(MX=("10 mx.far.example",)), "mx"),
        (records(MX=None), "unavailable"),
        (records(MX=(), A=("192.0.2.1",)), "address"),
        (records(MX=(), A=(), AAAA=()), "no records"),
    ],
)
async def test_what_is_known_already_needs_no_task(fill: Callable[[MemoryResolver], None], expected: str) -> None:
    resolver = WarmResolver()
    fill(resolver)
    assert not is_later(domain_dns(resolver, Path("bob", "far.example")))
    assert await by(resolver) == expected
    assert not resolver.asked


async def test_what_is_known_in_part_is_asked_for() -> None:
    resolver = WarmResolver()
    resolver.put("far.example", "MX")
    assert await by(resolver) == "no records"
    assert ("far.example", "AAAA") in resolver.asked
