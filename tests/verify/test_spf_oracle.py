"""SPF beside pyspf, which passes the whole suite too: the same result for records that neither of them has seen.

Left out is where pyspf is stricter than RFC 7208 asks for: a record that includes itself in a term that no evaluation
comes to, and the names of the peer's address, whose empty answers it counts again for each `ptr`.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import Any
from unittest import mock

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.verify.spf_zone import ZoneResolver, path_of

from gatepost.ports.resolver import Outcome
from gatepost.verify.spf import Client, check_host

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of its escapes, where it is compiled only now
    import spf as pyspf

NAMES = ("far.example", "a.example", "b.example", "mail.far.example", "void.example", "slow.example")
PEERS = ("192.0.2.7", "192.0.2.200", "198.51.100.1", "2001:db8::7", "2001:db8:1::1")
QUALIFIERS = st.sampled_from(("", "", "+", "-", "~", "?"))
DOMAINS = st.sampled_from((*NAMES, "%{d}", "%{o}", "%{d2}", "mail.%{d}", "%{l}.%{d2r}", "%{ir}.%{v}.example", "%{h}"))
LENGTHS4 = st.sampled_from(("", "/32", "/24", "/25", "/0", "/33"))
LENGTHS6 = st.sampled_from(("", "", "//64", "//128", "//48", "//129"))


@st.composite
def terms(draw: st.DrawFn) -> str:
    """A mechanism or modifier; now and then a wrong one."""
    kind = draw(st.sampled_from(("ip4", "ip6", "a", "mx", "include", "exists", "ptr", "all", "bare", "redirect", "x")))
    sign = draw(QUALIFIERS)
    match kind:
        case "ip4":
            address = draw(st.sampled_from(("192.0.2.7", "192.0.2.0", "198.51.100.0", "1.2.3")))
            return f"{sign}ip4:{address}{draw(LENGTHS4)}"
        case "ip6":
            length = draw(st.sampled_from(("", "/32", "/64", "/128", "/129")))
            return f"{sign}ip6:{draw(st.sampled_from(('2001:db8::7', '2001:db8::', '::', '1:2')))}{length}"
        case "a" | "mx":
            return f"{sign}{kind}:{draw(DOMAINS)}{draw(LENGTHS4)}{draw(LENGTHS6)}"
        case "bare":
            return f"{sign}{draw(st.sampled_from(('a', 'mx', 'ptr', 'MX', 'A')))}"
        case "all":
            return f"{sign}all"
        case "redirect":
            return f"redirect={draw(DOMAINS)}"
        case "x":
            return draw(st.sampled_from(("x=%{d}", "x=%", "exp=why.example", "a:b", "include", "foo", "all:x")))
    return f"{sign}{kind}:{draw(DOMAINS)}"


RECORDS = st.lists(terms(), max_size=6).map(lambda words: " ".join(["v=spf1", *words]))
ADDRESSES = st.sampled_from(
    ({"A": "192.0.2.7"}, {"A": "198.51.100.1"}, {"AAAA": "2001:db8::7"}, {"MX": [10, "mail.far.example"]},
     {"MX": [5, "a.example"]}, {"A": "192.0.2.1"})
)  # fmt: skip


@st.composite
def zones(draw: st.DrawFn) -> dict[str, Any]:
    """What the names hold: a record, or none or two, and hosts."""
    zone: dict[str, Any] = {"slow.example": ["TIMEOUT"]}
    for name in NAMES[:4]:
        texts = draw(st.lists(RECORDS, min_size=1, max_size=1 if name == "far.example" else 2))
        zone[name] = [{"TXT": text} for text in texts] + draw(st.lists(ADDRESSES, max_size=3))
    zone["7.2.0.192.in-addr.arpa"] = [{"PTR": draw(st.sampled_from(("mail.far.example", "a.example", "void.example")))}]
    zone["7.2.0.192.in-addr.example"] = [{"A": "127.0.0.2"}]
    zone["bob.far.example"] = [{"A": "127.0.0.2"}]
    return zone


def theirs(zone: dict[str, Any], ip: str, helo: str) -> tuple[str, str]:
    """What pyspf says, and why; it asks `zone`."""

    def look_up(name: str, qtype: str, *_: object, **__: object) -> list[tuple[tuple[str, str], Any]]:
        answer = asyncio.run(ZoneResolver(zone).query(name, qtype))
        if answer.outcome is Outcome.FAILED:
            raise pyspf.TempError("DNS timeout")
        return [((name, qtype), _value(qtype, text)) for text in answer.records]

    with mock.patch.object(pyspf, "DNSLookup", look_up):
        result, _, explanation = pyspf.query(i=ip, s="bob@far.example", h=helo).check()
    return result, explanation


def _value(qtype: str, text: str) -> Any:
    if qtype == "TXT":
        return (text.encode(),)
    if qtype == "MX":
        preference, _, host = text.partition(" ")
        return int(preference), host
    return text


@settings(max_examples=200, deadline=None)
@given(zone=zones(), ip=st.sampled_from(PEERS), helo=st.sampled_from(("mail.far.example", "client.example")))
def test_both_say_the_same(zone: dict[str, Any], ip: str, helo: str) -> None:
    client = Client(ip=ip, reverse_path=path_of("bob@far.example"), helo=helo)
    ours = asyncio.run(check_host(ZoneResolver(zone), client))
    result, why = theirs(zone, ip, helo)
    assume("include has trivial recursion" not in why)
    assume("Void lookup limit" not in why or str(zone).lower().count("ptr") < 3)
    assert ours.result == result, (ours, why)
