"""SPF beyond its suite: macros, limits, what hostile records cost, internationalised names, and what is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.verify.spf_zone import ZoneResolver, path_of

from gatepost.mail.spf import SpfResult
from gatepost.verify.dmarc_presence import has_dmarc
from gatepost.verify.spf import MAX_EXPLANATION, MAX_QUESTIONS, MAX_REASON, Client, check_host
from gatepost.verify.spf_macro import IN_EXPLANATIONS, MAX_NAME, MacroError, expand, expand_domain, parse, parse_domain
from gatepost.verify.spf_record import MAX_RECORD, SpfSyntaxError, parse_record

VALUES = {
    "s": "strong-bad@email.example.com", "l": "strong-bad", "o": "email.example.com", "d": "email.example.com",
    "i": "192.0.2.3", "p": "mx.example.org", "v": "in-addr", "h": "mx.example.org", "c": "192.0.2.3",
    "r": "mx.example.net", "t": "1764000000",
}  # fmt: skip


async def evaluated(
    zone: dict[str, Any], sender: str = "bob@far.example", ip: str = "192.0.2.7", helo: str = "client.far.example"
) -> SpfResult:
    client = Client(ip=ip, reverse_path=path_of(sender), helo=helo, hostname="mx.example.org", now=1_764_000_000.0)
    return await check_host(ZoneResolver(zone), client)


def record(text: str, **others: Any) -> dict[str, Any]:
    """A zone with this record at far.example."""
    return {"far.example": [{"TXT": text}], **{name.replace("_", "."): value for name, value in others.items()}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # the table of RFC 7208 §7.4, and the rest of the transformers
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{d0002}", "example.com"),
        ("%{d99999999999999999999}", "email.example.com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{S}", "strong-bad%40email.example.com"),
        ("%{h2r}", "example.mx"),
        ("%{h1R}", "mx"),
        ("%%%_%-x", "% %20x"),
        ("%{c} %{r} %{t}", "192.0.2.3 mx.example.net 1764000000"),
    ],
)
def test_a_macro_string_is_expanded(text: str, expected: str) -> None:
    assert expand(parse(text, IN_EXPLANATIONS), VALUES) == expected


@pytest.mark.parametrize("text", ["%", "%(d)", "%{", "%{}", "%{d", "%{d0}", "%{x}", "%{c}", "%{d2x}", "%{d.r}", "a%"])
def test_what_is_no_macro_string_is_refused(text: str) -> None:
    with pytest.raises(MacroError):
        parse(text)


@pytest.mark.parametrize(
    "text", ["", "example", "example.", "far.1", "far.-a", "far.a-", "far.a_b", "far.example:8080", "..."]
)
def test_what_ends_in_no_top_level_label_is_no_domain(text: str) -> None:
    with pytest.raises(MacroError):
        parse_domain(text)


@pytest.mark.parametrize(
    "text", ["far.example", "far.example.", "a.b/c.example", "a.xn--p1ai", "%{d}", "x.%{d2}", "x%%"]
)
def test_a_domain_may_hold_what_the_grammar_lets_stand(text: str) -> None:
    assert parse_domain(text).pieces


@pytest.mark.parametrize(("labels", "kept"), [(50, 50), (63, 63), (64, 63), (5000, 63)])
def test_a_name_that_macros_make_too_long_loses_labels_from_the_left(labels: int, kept: int) -> None:
    name = expand_domain(parse_domain("%{d}"), {"d": ".".join(["abc"] * labels)})
    assert name == ".".join(["abc"] * kept)
    assert len(name) <= MAX_NAME


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v=spf1 " + "ip4:192.0.2.7 " * 800 + "-all", f"longer than {MAX_RECORD}"),
        ("v=spf1 ip4:192.0.2.7 -all\x00", "printable"),
        ("v=spf1 a redirect=a.example redirect=b.example", "twice"),
        ("v=spf1 ip4:192.0.2.256 -all", "ip4:192.0.2.256"),
        ("v=spf1 ip4:192.0.2.7/33", "at most 32 bits"),
        ("v=spf1 ip6:fe80::1%eth0", "zone"),
        ("v=spf1 ip6:2001:db8::/129", "at most 128 bits"),
        ("v=spf1 mx:far.example/24/64", "mx"),
        ("v=spf1 -all:x", "nothing may follow"),
        ("v=spf1 -ip5:x", "no such mechanism"),
        ("v=spf1 -redirect=far.example", "no such mechanism"),
        ("v=spf1 moo=%{x}", "not known here"),
    ],
)
def test_a_mistake_anywhere_in_a_record_is_told_with_its_term(text: str, reason: str) -> None:
    with pytest.raises(SpfSyntaxError, match=reason.replace(".", r"\.")):
        parse_record(text)


HOSTS = {f"h{number}.example": [{"A": "198.51.100.1"}] for number in range(11)}
NAMES = [{"PTR": f"h{number}.example"} for number in range(10)]
ZONE: dict[str, Any] = HOSTS | {
    "away.example": [{"A": "198.51.100.1"}],
    "here.example": [{"A": "192.0.2.7"}],
    "slow.example": ["TIMEOUT"],
    "other.example": [{"TXT": "hello"}],
    "bob.users.example": [{"A": "127.0.0.2"}],
    "many.example": [{"MX": [number, f"h{number}.example"]} for number in range(11)],
    "ten.example": [{"MX": [number, f"h{number}.example"]} for number in range(10)],
    "null.example": [{"MX": [0, ""]}],
    "8.2.0.192.in-addr.arpa": [*NAMES, {"PTR": "mail.far.example"}],
    "9.2.0.192.in-addr.arpa": ["TIMEOUT"],
    "mail.far.example": [{"A": "192.0.2.7"}, {"A": "192.0.2.8"}],
}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("a:away.example " * 10 + "+all", "pass"),
        ("a:away.example " * 11 + "+all", "permerror"),
        ("a:away.example " * 10 + "redirect=ok.example", "permerror"),
        ("a:void.example " * 2 + "~all", "softfail"),
        ("a:void.example " * 3 + "~all", "permerror"),
        ("exists:void.example mx:void.example a:void.example ~all", "permerror"),
        ("mx:many.example -all", "permerror"),
        ("mx:ten.example -all", "fail"),
        ("a:void.example a:void.example mx:null.example -all", "fail"),
        ("include:far.example -all", "permerror"),  # itself, until ten are over
        ("include:other.example -all", "permerror"),
        ("redirect=other.example", "permerror"),
        ("redirect=other.example -all", "fail"),  # `all` makes a redirect mean nothing
        ("a:slow.example -all", "temperror"),
        ("mx:slow.example -all", "temperror"),
        ("include:slow.example -all", "temperror"),
        ("ip4:192.0.2.7 a:slow.example -all", "pass"),  # it never came that far
        ("exists:%{l}.users.example -all", "pass"),
        ("exists:%{l}.%{l}.example -all", "fail"),
        ("a:here.example/24 -all", "pass"),
        ("a:..example -all", "fail"),
    ],
)
async def test_the_limits_of_an_evaluation(terms: str, expected: str) -> None:
    found = await evaluated(ZONE | record(f"v=spf1 {terms}"))
    assert found.result == expected, found
    assert found.lookups <= 10
    assert bool(found.reason) is (expected != "pass")


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("192.0.2.7", "fail"),  # nobody says what its name is
        ("192.0.2.8", "fail"),  # its eleventh name is below far.example
        ("192.0.2.9", "fail"),  # the DNS does not tell: no such name (§5.5)
    ],
)
async def test_names_of_a_peer_are_ten_and_trouble_with_them_is_none(ip: str, expected: str) -> None:
    assert (await evaluated(ZONE | record("v=spf1 ptr -all"), ip=ip)).result == expected


async def test_a_name_of_the_peer_below_the_domain_lets_it_pass() -> None:
    zone = ZONE | {"7.2.0.192.in-addr.arpa": [{"PTR": "mail.far.example"}]}
    assert (await evaluated(zone | record("v=spf1 ptr -all"))).result == "pass"
    assert (await evaluated(zone | record("v=spf1 ptr:ar.example -all"))).result == "fail"


async def test_the_record_may_bring_no_more_questions_than_an_honest_one_needs() -> None:
    zone = ZONE | record("v=spf1 " + "mx:ten.example " * 10 + "-all")
    resolver = ZoneResolver(zone)
    client = Client(ip="192.0.2.7", reverse_path=path_of("bob@far.example"), helo="c")
    found = await check_host(resolver, client)
    assert (found.result, len(resolver.asked)) == ("permerror", MAX_QUESTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 " + "a:%{h}%{h}%{h}%{h}%{h}%{h}%{h}%{h}.example " * 100,
        "v=spf1 exists:" + "%{hr}." * 1000 + "example -all",
        "v=spf1 exists:" + "a" * 8000 + "_ -all",
        "v=spf1 a:" + "/1" * 4000,
        "v=spf1 a:" + "%{d1r-+,/_=}" * 600 + ".example",
        "v=spf1 " + "ip4:192.0.2.8 " * 580,
        "v=spf1 " + "include:far.example " * 400,
    ],
)
async def test_a_hostile_record_costs_little(text: str) -> None:
    """An attacker's record once took a second of everybody's time to be read: backtracking, or names that grow."""
    before = time.process_time()
    await evaluated({"far.example": [{"TXT": text}]}, helo="x." * 250 + "example")
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize(
    ("text", "helo"),
    [
        ("v=spf1 ip4:" + "9" * 7000 + " -all", "c.example"),
        ("v=spf1 -exists:" + "a." * 3000 + "example -exists:bob.users.example", "c.example"),
        ("v=spf1 " + "-" + "x" * 4000, "c.example"),
        ("v=spf1 include:%{h} -all", "b\x1b[31m\u00fc." * 20 + "example"),
        ("v=spf1 -exists:bob.users.example" + "%{d0}" * 500, "c.example"),
        ("v=spf1 -exists:%{h}%{h}%{h}" + "%%" * 500 + ".example -mx:" + "%{d}" * 900, "c"),
    ],
)
async def test_what_a_stranger_publishes_fills_no_event_and_moves_no_cursor(text: str, helo: str) -> None:
    for sender in ("bob@far.example", ""):
        found = await evaluated(ZONE | record(text), sender, helo=helo)
        for told in (found.reason, found.mechanism, found.domain, found.found_at):
            assert len(told) <= 4 * MAX_REASON + 3  # an octet that is escaped is four characters
            assert told.isascii()
            assert told.isprintable()


async def test_a_domain_in_its_own_script_is_asked_for_by_its_a_labels() -> None:
    zone = {"xn--bcher-kva.example": [{"TXT": "v=spf1 ip4:192.0.2.7 -all"}]}
    found = await evaluated(zone, "bob@bücher.example")
    assert (found.result, found.domain) == ("pass", "xn--bcher-kva.example")


async def test_a_local_part_that_is_not_ascii_matches_no_term_that_names_it() -> None:
    zone = ZONE | record("v=spf1 -exists:%{l}.users.example -exists:%{s}.example ip4:192.0.2.7 -all")
    zone["jürgen.users.example"] = [{"A": "127.0.0.2"}]
    found = await evaluated(zone, "jürgen@far.example")
    assert (found.result, found.mechanism, found.names_sender) == ("pass", "ip4:192.0.2.7", True)


async def test_the_null_path_is_judged_by_the_name_of_the_greeting() -> None:
    zone = {"client.far.example": [{"TXT": "v=spf1 exists:%{l}.%{o}.users.example -all"}],
            "postmaster.client.far.example.users.example": [{"A": "127.0.0.2"}]}  # fmt: skip
    found = await evaluated(zone, "")
    assert (found.result, found.identity, found.domain) == ("pass", "helo", "client.far.example")
    for helo in ("[192.0.2.7]", "localhost", "", "a..b", "x" * 64 + ".example"):
        assert (await evaluated(zone, "", helo=helo)).result == "none"


async def test_ipv4_in_ipv6_form_is_ipv4() -> None:
    assert (await evaluated(record("v=spf1 ip4:192.0.2.7 -all"), ip="::ffff:192.0.2.7")).result == "pass"


async def test_what_decided_is_told() -> None:
    zone = record("v=spf1 a:away.example redirect=two.example") | ZONE | {"two.example": [{"TXT": "v=spf1 -all"}]}
    found = await evaluated(zone)
    assert (found.mechanism, found.found_at, found.lookups) == ("-all", "two.example", 2)
    assert "-all" in found.reason
    assert "two.example" in found.reason
    assert "192.0.2.7" in found.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See http://%{d}/?s=%{S}", "See http://far.example/?s=bob%40far.example"),
        ("x" * 300, "x" * MAX_EXPLANATION),
        ("x" * 3000, ""),
        ("schön", ""),
        ("a\x1b[31m", ""),
        ("%{x}", ""),
    ],
)
async def test_an_explanation_is_short_plain_text_or_none(text: str, expected: str) -> None:
    zone = record("v=spf1 -all exp=why.far.example") | {"why.far.example": [{"TXT": text}]}
    assert (await evaluated(zone)).explanation == expected


@pytest.mark.parametrize(
    ("at", "records", "expected"),
    [
        ("_dmarc.a.far.example", ["v=DMARC1; p=none"], True),
        ("_dmarc.far.example", ["v=DMARC1;p=reject"], True),
        ("_dmarc.far.example", ["v = DMARC1"], True),
        ("_dmarc.far.example", ["v=DMARC10; p=none", "hello"], False),
        ("_dmarc.example", ["v=DMARC1; p=none"], False),
        ("far.example", ["v=DMARC1; p=none"], False),
    ],
)
async def test_a_dmarc_record_at_the_domain_or_above_it_is_found(at: str, records: list[str], expected: bool) -> None:
    resolver = ZoneResolver({at: [{"TXT": text} for text in records]})
    assert await has_dmarc(resolver, "a.far.example") is expected


async def test_a_long_name_causes_few_questions_and_a_dns_that_does_not_tell_may_hide_a_record() -> None:
    resolver = ZoneResolver({})
    assert not await has_dmarc(resolver, "x." * 100 + "example")
    assert len(resolver.asked) == 7
    assert await has_dmarc(ZoneResolver({"_dmarc.far.example": ["TIMEOUT"]}), "far.example")
