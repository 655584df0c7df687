"""What the DNS says about us, as it was found and as it should be."""

from __future__ import annotations

import pytest
from tests.support.memory_resolver import MemoryResolver

from gatepost.ports.resolver import Answer, Outcome
from gatepost.verify.own_dns import Finding, Host, is_in_order, review_domain, review_host
from gatepost.verify.own_spf import Reading, Sender, read
from gatepost.verify.spf_record import records_among

IP, IP6 = "192.0.2.1", "2001:db8::1"
PTR = "1.2.0.192.in-addr.arpa"
PTR6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
HOST = Host("mx.example.org", addresses=(IP, IP6))


@pytest.fixture
def resolver() -> MemoryResolver:
    """A DNS in which all is well."""
    resolver = MemoryResolver()
    resolver.put("mx.example.org", "A", IP)
    resolver.put("mx.example.org", "AAAA", IP6)
    resolver.put(PTR, "PTR", "mx.example.org")
    resolver.put(PTR6, "PTR", "mx.example.org")
    resolver.put("mx.example.org", "TXT", "v=spf1 a -all")
    resolver.put("example.org", "MX", "10 mx.example.org")
    resolver.put("example.org", "TXT", "google-site-verification=x", "v=spf1 mx -all")
    return resolver


async def of_host(resolver: MemoryResolver, host: Host = HOST) -> dict[str, Finding]:
    """By type; of two PTR the worse."""
    _, found = await review_host(resolver, host)
    return {each.type: each for each in sorted(found, key=lambda each: each.status != "ok")}


async def of_domain(resolver: MemoryResolver, host: Host = HOST) -> dict[str, Finding]:
    return {each.type: each for each in await review_domain(resolver, "example.org", host)}


async def test_nothing_is_said_where_all_is_well(resolver: MemoryResolver) -> None:
    host, of_it = await review_host(resolver, Host("mx.example.org"))
    assert host.addresses == (IP, IP6)
    findings = of_it + await review_domain(resolver, "example.org", host)
    assert {each.status for each in findings} == {"ok", "info"}
    assert {each.type for each in findings if each.status == "info"} == {"TLSA", "DKIM", "DMARC", "MTA-STS"}
    assert not any(each.expected for each in findings)
    assert is_in_order(findings)


@pytest.mark.parametrize(
    ("name", "rdtype", "records", "status", "why"),
    [
        ("mx.example.org", "A", ("10.0.0.5",), "wrong", "no address on the public Internet"),
        (PTR, "PTR", (), "wrong", "has no name"),
        (PTR, "PTR", ("host7.provider.example",), "wrong", "no such name leads back"),
        (PTR6, "PTR", (), "wrong", "has no name"),
        ("mx.example.org", "TXT", (), "advice", "reports"),
        ("mx.example.org", "TXT", ("v=spf1 ip4:192.0.2.2 -all",), "wrong", "is not in it"),
        ("mx.example.org", "TXT", ("v=spf1 a -all", "v=spf1 -all"), "wrong", "of several records none counts"),
    ],
)
async def test_what_is_wrong_with_the_host_is_found(
    resolver: MemoryResolver, name: str, rdtype: str, records: tuple[str, ...], status: str, why: str
) -> None:
    resolver.put(name, rdtype, *records)
    found = (await of_host(resolver))["SPF" if rdtype == "TXT" else rdtype]
    assert (found.status, found.found) == (status, records)
    assert why in found.why
    assert found.expected
    assert is_in_order([found]) == (status != "wrong")


async def test_a_host_without_an_address_cannot_be_found_by_anybody(resolver: MemoryResolver) -> None:
    resolver.put("mx.example.org", "A")
    assert (await of_host(resolver))["AAAA"].status == "ok"  # one family will do
    resolver.put("mx.example.org", "AAAA")
    assert (await of_host(resolver))["A"].status == "wrong"


async def test_a_host_that_is_an_alias_may_stand_in_no_mx(resolver: MemoryResolver) -> None:
    resolver.answers["mx.example.org", "A"] = Answer(Outcome.FOUND, (IP,), "vm7.provider.example")
    found = (await of_host(resolver))["A"]
    assert found.status == "wrong"
    assert "alias of vm7.provider.example" in found.why


async def test_another_name_that_leads_back_is_better_than_none(resolver: MemoryResolver) -> None:
    resolver.put(PTR, "PTR", "liar.example", "vm7.provider.example")
    resolver.put("liar.example", "A", "192.0.2.99")
    resolver.put("vm7.provider.example", "A", IP)
    found = (await of_host(resolver))["PTR"]
    assert (found.status, found.expected) == ("advice", "mx.example.org")
    assert "vm7.provider.example leads back" in found.why


async def test_where_mail_does_not_leave_the_name_of_an_address_matters_less(resolver: MemoryResolver) -> None:
    resolver.put(PTR6, "PTR")
    assert (await of_host(resolver, Host("mx.example.org", ipv6=False)))["PTR"].status == "advice"
    resolver.put(PTR, "PTR")
    assert (await of_host(resolver, Host("mx.example.org", smarthost="smart.example")))["PTR"].status == "advice"


async def test_the_addresses_that_mail_is_sent_from_are_looked_at_too(resolver: MemoryResolver) -> None:
    host = Host("mx.example.org", source=("192.0.2.9",))
    found = (await of_host(resolver, host))["PTR"]
    assert (found.name, found.status) == ("9.2.0.192.in-addr.arpa", "wrong")
    spf = (await of_domain(resolver, Host("mx.example.org", ("192.0.2.9",), addresses=(IP,))))["SPF"]
    assert (spf.status, spf.why) == ("wrong", "192.0.2.9, where mail leaves from, is not in it")


@pytest.mark.parametrize(
    ("records", "status", "why"),
    [
        (("10 mx.example.org", "20 backup.example"), "ok", ""),
        (("10 mail.example.org",), "ok", ""),  # another name of ours
        (("10 elsewhere.example",), "wrong", "goes elsewhere"),
        (("0 .",), "wrong", "takes no mail"),
        ((), "wrong", "do not know where"),
    ],
)
async def test_where_the_mail_of_a_domain_goes(
    resolver: MemoryResolver, records: tuple[str, ...], status: str, why: str
) -> None:
    resolver.put("mail.example.org", "A", IP)
    resolver.put("elsewhere.example", "A", "198.51.100.1")
    resolver.put("backup.example", "A", "198.51.100.2")
    resolver.put("example.org", "MX", *records)
    found = (await of_domain(resolver))["MX"]
    assert (found.status, found.found) == (status, records)
    assert why in found.why
    assert found.expected == ("" if status == "ok" else "10 mx.example.org.")


async def test_an_mx_host_without_an_address_is_named(resolver: MemoryResolver) -> None:
    resolver.put("example.org", "MX", "10 mx.example.org", "20 gone.example")
    found = (await of_domain(resolver))["A"]
    assert (found.name, found.status) == ("gone.example", "wrong")


async def test_the_address_of_the_domain_itself_will_do_and_an_mx_is_better(resolver: MemoryResolver) -> None:
    resolver.put("example.org", "MX")
    resolver.put("example.org", "A", IP)
    found = (await of_domain(resolver))["MX"]
    assert (found.status, found.expected) == ("advice", "10 mx.example.org.")


@pytest.mark.parametrize(
    ("records", "status"),
    [
        (("v=spf1 mx -all",), "ok"),
        (("v=spf1 a:mx.example.org ~all",), "ok"),
        (("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",), "ok"),
        (("v=spf1 ip4:192.0.2.0/24 -all",), "wrong"),  # mail that leaves over IPv6 fails
        (("v=spf1 ip4:192.0.2.0/24 ?all",), "advice"),
        (("v=spf1 -all mx",), "wrong"),
        (("v=spf1 include:ours.provider.example -all",), "ok"),
        (("v=spf1 include:others.provider.example -all",), "wrong"),
        (("v=spf1 include:others.provider.example ~all",), "advice"),
        (("v=spf1 include:nothing.provider.example -all",), "wrong"),
        (("v=spf1 include:slow.provider.example -all",), "unknown"),
        (("v=spf1 mx ip4:192.0.2.999 -all",), "wrong"),
        (("v=spf1 +all",), "advice"),
        (("v=spf1 mx -all", "v=spf1 a -all"), "wrong"),
        ((), "wrong"),
    ],
)
async def test_whether_a_domain_lets_us_send(resolver: MemoryResolver, records: tuple[str, ...], status: str) -> None:
    resolver.put("example.org", "TXT", "something else", *records)
    resolver.put("ours.provider.example", "TXT", "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all")
    resolver.put("others.provider.example", "TXT", "v=spf1 ip4:198.51.100.0/24 -all")
    resolver.fail("slow.provider.example", "TXT")
    found = (await of_domain(resolver))["SPF"]
    assert (found.status, found.found) == (status, records)
    assert found.expected == ("" if status in ("ok", "unknown") else "v=spf1 mx -all")


async def test_mail_that_leaves_through_another_is_that_ones_to_name(resolver: MemoryResolver) -> None:
    resolver.put("example.org", "TXT", "v=spf1 include:smart.example -all")
    found = (await of_domain(resolver, Host("mx.example.org", smarthost="smart.example", addresses=(IP,))))["SPF"]
    assert found.status == "info"
    assert "smart.example" in found.why


async def test_what_this_version_does_not_act_on_is_shown_as_it_is(resolver: MemoryResolver) -> None:
    resolver.put("_domainkey.example.org", "TXT")
    resolver.put("_dmarc.example.org", "TXT", "v=DMARC1; p=reject")
    resolver.put("_mta-sts.example.org", "TXT", "v=STSv1; id=1", "noise")
    resolver.put("_25._tcp.mx.example.org", "TLSA", "3 1 1 0a1b")
    found = await of_domain(resolver) | await of_host(resolver)
    assert found["DMARC"].found == ("v=DMARC1; p=reject",)
    assert "signs nothing" in found["DMARC"].why
    assert found["MTA-STS"].found == ("v=STSv1; id=1",)
    assert found["DKIM"].found == ("there are keys below it",)
    assert found["TLSA"].found == ("3 1 1 0a1b",)


@pytest.mark.parametrize(
    ("name", "rdtype", "kinds", "in_order"),
    [
        ("mx.example.org", "A", "A", False),
        (PTR, "PTR", "PTR", False),
        ("example.org", "MX", "MX SPF", False),  # whose record says `mx`
        ("example.org", "TXT", "SPF", False),
        ("mx.example.org", "TXT", "SPF", False),
        ("_dmarc.example.org", "TXT", "DMARC", True),
        ("_domainkey.example.org", "TXT", "DKIM", True),
    ],
)
async def test_what_could_not_be_looked_up_is_neither_right_nor_wrong(
    resolver: MemoryResolver, name: str, rdtype: str, kinds: str, in_order: bool
) -> None:
    resolver.fail(name, rdtype)
    _, of_it = await review_host(resolver, Host("mx.example.org"))
    findings = of_it + await review_domain(resolver, "example.org", HOST)
    found = [each for each in findings if each.status == "unknown"]
    assert [each.type for each in found] == kinds.split()
    assert all("SERVFAIL" in each.why for each in found)
    assert not any(each.status == "wrong" for each in findings)
    assert is_in_order(findings) is in_order


@pytest.mark.parametrize(
    ("record", "reading"),
    [
        ("v=spf1", Reading((IP,))),
        ("V=SPF1 MX ~ALL", Reading(fails=True)),
        ("v=spf1 mx:other.example -all", Reading((IP,), ("mx:other.example",), fails=True)),
        ("v=spf1 redirect=_spf.example.org", Reading((IP,), ("redirect=_spf.example.org",))),
        ("v=spf1 -mx a:MX.example.org. -all", Reading(fails=True)),
        ("v=spf1 ip4:192.0.2.1 ip4:nonsense/99 ip6:::: -all", Reading(fails=True)),
        ("v=spf1 ?ip4:192.0.2.1 -all", Reading((IP,), fails=True)),
    ],
)
def test_what_a_record_says_about_us(record: str, reading: Reading) -> None:
    assert read(record, "example.org", Sender("mx.example.org", (IP,), (IP,), is_mx=True)) == reading


def test_only_spf_records_are_taken_for_such() -> None:
    assert records_among(("v=spf1", "v=spf10 x", "V=SPF1 -all", "x v=spf1")) == ["v=spf1", "V=SPF1 -all"]
