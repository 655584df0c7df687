"""From what the DNS said to an ordered list of next hops, or to the reason why there is none (RFC 5321 §5.1).

Pure: answers in, values out, chance as an argument. Not here: the look-ups and what a person configured
(`delivery.routing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from itertools import chain, groupby, zip_longest
from typing import Final

import msgspec

from gatepost.delivery.next_hop import NextHop
from gatepost.mail.network import is_special, parse_ip
from gatepost.mail.reply import Reply
from gatepost.ports.resolver import Answer, Outcome

MAX_MX_HOSTS: Final = 10  # a domain may name hundreds; nobody's mail needs more look-ups than that
MAX_HOPS: Final = 6  # addresses tried in one attempt: each may cost a connect timeout
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: an IPv4 address in its last 32 bits


class MxHost(msgspec.Struct, frozen=True):
    """One host of a domain's MX set."""

    preference: int
    name: str


class Candidate(msgspec.Struct, frozen=True):
    """A host with its addresses, IPv6 and IPv4 apart. failed: a look-up had no answer, so there may be more."""

    preference: int
    name: str
    ipv6: tuple[str, ...] = ()
    ipv4: tuple[str, ...] = ()
    failed: str = ""


class Candidates(msgspec.Struct, frozen=True):
    """Where a destination's mail can go; `arrange` makes it an order, anew for each connection.

    template: all of a next hop but its name and address. by: "mx", "address", "literal", "route", "relay_to" or
    "smarthost", for the record.
    """

    hosts: tuple[Candidate, ...]
    template: NextHop
    by: str = "mx"


class NoRoute(msgspec.Struct, frozen=True):
    """There is no next hop now (4yz) or at all (5yz); the text is what the sender reads."""

    reply: Reply


def mx_hosts(domain: str, answer: Answer) -> list[MxHost] | NoRoute | None:
    """The hosts of the MX set, best first; None when there is none, so that the domain itself is the host.

    A null MX is a refusal (RFC 7505 §4.1); one beside others says nothing. Records that cannot be read are left out.
    """
    if answer.outcome is Outcome.FAILED:
        return NoRoute(Reply(451, "4.4.3", f"the mail hosts of {domain} cannot be looked up: {answer.error}"))
    if answer.outcome is Outcome.NO_NAME:
        return NoRoute(Reply(550, "5.1.2", f"the domain {domain} does not exist"))
    if answer.outcome is Outcome.NO_DATA:
        return None
    hosts, has_null = [], False
    for record in answer.records:
        preference, _, name = record.partition(" ")
        if name == ".":
            has_null = True
        elif preference.isdecimal() and name:
            hosts.append(MxHost(int(preference), name.rstrip(".").lower()))
    if hosts:
        return sorted(hosts, key=lambda host: host.preference)
    if has_null:
        return NoRoute(Reply(556, "5.1.10", f"the domain {domain} takes no mail (null MX)"))
    return NoRoute(Reply(451, "4.4.4", f"the MX records of {domain} cannot be read"))


def shortened(hosts: Sequence[MxHost], draw: Callable[[], float]) -> list[MxHost]:
    """At most MAX_MX_HOSTS of `hosts`, the best; which of equals is chance. draw: 0 <= x < 1."""
    return sorted(hosts, key=lambda host: (host.preference, draw()))[:MAX_MX_HOSTS]


def candidate(host: MxHost, answers: Mapping[str, Answer]) -> Candidate:
    """The host with the addresses that were found. answers: by "A" and "AAAA"; IPv6 may be left out."""
    failures = [answer.error or "no answer" for answer in answers.values() if answer.outcome is Outcome.FAILED]
    found = {rdtype: answer.records for rdtype, answer in answers.items() if answer.outcome is Outcome.FOUND}
    return Candidate(
        host.preference,
        host.name,
        ipv6=tuple(text for text in found.get("AAAA", ()) if _is_address(text)),
        ipv4=tuple(text for text in found.get("A", ()) if _is_address(text)),
        failed="; ".join(failures),
    )


def without_ourselves(
    domain: str, hosts: Sequence[Candidate], hostname: str, own: frozenset[tuple[str, int]], port: int
) -> list[Candidate] | NoRoute:
    """`hosts` without us and without what is no better than us: mail must not go round (RFC 5321 §5.1).

    We are a host that has our name, or an address that we listen on at `port`.
    """
    ours = [host.preference for host in hosts if _is_ours(host, hostname, own, port)]
    if not ours:
        return list(hosts)
    better = [host for host in hosts if host.preference < min(ours)]
    if better:
        return better
    return NoRoute(
        Reply(550, "5.4.6", f"the DNS sends mail for {domain} to this server, which does not take it: a loop")
    )


def without_private(domain: str, hosts: Sequence[Candidate]) -> list[Candidate] | NoRoute:
    """`hosts` without addresses that no host on the Internet has: they would lead into our own network.

    A refusal when that leaves no address and no look-up failed.
    """
    kept, refused = [], ""
    for host in hosts:
        public = Candidate(
            host.preference,
            host.name,
            ipv6=tuple(filter(_is_public, host.ipv6)),
            ipv4=tuple(filter(_is_public, host.ipv4)),
            failed=host.failed,
        )
        if public != host:
            refused = host.name
        kept.append(public)
    if refused and not any(host.ipv6 or host.ipv4 or host.failed for host in kept):
        return NoRoute(
            Reply(550, "5.4.4", f"the mail host {refused} of {domain} has a loopback or private address only")
        )
    return kept


def reachable(domain: str, hosts: Sequence[Candidate]) -> list[Candidate] | NoRoute:
    """Those of `hosts` that have an address; else why there is none, later (4yz) when a look-up failed."""
    with_address = [host for host in hosts if host.ipv6 or host.ipv4]
    if with_address:
        return with_address
    for host in hosts:
        if host.failed:
            return NoRoute(Reply(451, "4.4.3", f"the address of {host.name} cannot be looked up: {host.failed}"))
    if len(hosts) == 1 and hosts[0].name == domain:
        return NoRoute(Reply(550, "5.1.2", f"the domain {domain} has no mail host and no address"))
    return NoRoute(Reply(550, "5.4.4", f"no mail host of {domain} has an address"))


def arrange(candidates: Candidates, draw: Callable[[], float]) -> tuple[NextHop, ...]:
    """The hops in the order in which to try them, at most MAX_HOPS.

    By preference, at random among equals (RFC 5321 §5.1: the load is spread); of each host its addresses at random,
    IPv6 and IPv4 by turns, so that a broken family costs one try and not all of them. Every host is tried once
    before any is tried at a second pair of addresses. draw: 0 <= x < 1.
    """
    rounds: list[list[list[tuple[str, str]]]] = []
    for _, group in groupby(sorted(candidates.hosts, key=lambda host: host.preference), lambda host: host.preference):
        for host in sorted(group, key=lambda _host: draw()):
            rounds.append(_pairs(host, draw))
    ordered = chain.from_iterable(pair for turn in zip_longest(*rounds, fillvalue=[]) for pair in turn)
    return tuple(
        msgspec.structs.replace(candidates.template, name=name, address=address)
        for name, address in list(ordered)[:MAX_HOPS]
    )


def _pairs(host: Candidate, draw: Callable[[], float]) -> list[list[tuple[str, str]]]:
    """The host's (name, address), two at a time: one of each family as far as there are."""
    families = [sorted(family, key=lambda _address: draw()) for family in (host.ipv6, host.ipv4)]
    by_turns = [a for pair in zip_longest(*families) for a in pair if a is not None]
    named = [(host.name, address) for address in by_turns]
    return [named[at : at + 2] for at in range(0, len(named), 2)]


def _is_ours(host: Candidate, hostname: str, own: Iterable[tuple[str, int]], port: int) -> bool:
    if host.name == hostname:
        return True
    return any((str(parse_ip(address)), port) in own for address in (*host.ipv4, *host.ipv6))


def _is_public(address: str) -> bool:
    ip = parse_ip(address)
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.sixtofour is not None:
            ip = ip.sixtofour
    return not is_special(str(ip))


def _is_address(text: str) -> bool:
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True
