"""Where a destination's mail goes: what a person configured, else what the DNS says (RFC 5321 §5.1).

Not here: the rules on MX sets, which are pure (`delivery.mx`), and connections (`delivery.pool`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from gatepost.delivery.mx import (
    Candidate,
    Candidates,
    MxHost,
    NoRoute,
    candidate,
    mx_hosts,
    reachable,
    shortened,
    without_ourselves,
    without_private,
)
from gatepost.delivery.next_hop import NextHop, TlsUse
from gatepost.delivery.settings import UNIX, DeliverySettings, HopUrl, Smarthost, is_loopback
from gatepost.mail.address import parse_literal
from gatepost.mail.network import parse_ip
from gatepost.mail.reply import Reply
from gatepost.ports.resolver import Answer, Resolver
from gatepost.protocol.smtp.client_auth import Credentials
from gatepost.spool.destination import domain_of


class Router:
    """Finds the candidates of a destination. draw: 0 <= x < 1, each time another."""

    def __init__(self, settings: DeliverySettings, resolver: Resolver, draw: Callable[[], float]) -> None:
        self._settings = settings
        self._resolver = resolver
        self._draw = draw

    async def find(self, key: str, *, smarthost: bool = True) -> Candidates | NoRoute:
        """The candidates for a destination that is not "local", or why there are none.

        `[route]` comes first, then `relay_to`, the smarthost, an address literal, MX, and the domain's own address.
        smarthost: False passes it by, for who wants to ask the domain's own hosts.
        """
        domain = domain_of(key)
        settings = self._settings
        if (route := settings.routes.get(domain)) is not None:
            return await self._chosen(route.to, route.tls, "route")
        if (relay_to := settings.relay_to.get(domain)) is not None:
            return await self._chosen(relay_to, "may", "relay_to")
        if smarthost and settings.smarthost is not None:
            return await self._to_smarthost(settings.smarthost)
        if domain.startswith("["):
            return self._literal(domain)
        return await self._by_dns(domain)

    async def _chosen(self, to: HopUrl, tls: TlsUse, by: str) -> Candidates | NoRoute:
        """A next hop that a person wrote down: no MX, any address, and never a reason to give mail back."""
        if to.host.startswith(UNIX):
            hosts: tuple[Candidate, ...] = (Candidate(0, to.host, ipv4=(to.host,)),)
        elif (fixed := _literal_candidate(to.host)) is not None:
            hosts = (fixed,)
        else:
            found = reachable(to.host, [await self._addresses(MxHost(0, to.host))])
            if isinstance(found, NoRoute):
                text = f"the next hop {to.host} that is configured for this destination has no address now"
                return NoRoute(Reply(451, "4.4.4", text))
            hosts = tuple(found)
        template = NextHop(
            address="",
            name="",
            port=to.port,
            protocol="lmtp" if to.protocol == "lmtp" else "smtp",
            tls=tls,
            implicit_tls=to.protocol == "smtps",
        )
        return Candidates(hosts, template, by)

    async def _to_smarthost(self, smarthost: Smarthost) -> Candidates | NoRoute:
        """The smarthost; with a login over verified TLS, unless it is on this machine."""
        found = await self._chosen(smarthost.to, "may", "smarthost")
        if isinstance(found, NoRoute) or not smarthost.to.user:
            return found
        stays_here = all(is_loopback(address) for host in found.hosts for address in (*host.ipv6, *host.ipv4))
        template = msgspec.structs.replace(
            found.template,
            tls="may" if stays_here else "verify",
            credentials=Credentials(smarthost.to.user, smarthost.password),
        )
        return Candidates(found.hosts, template, found.by)

    def _literal(self, domain: str) -> Candidates | NoRoute:
        address = parse_literal(domain)
        if address is None:
            return NoRoute(Reply(550, "5.1.2", f"{domain} is no address literal"))
        if address.version == 6 and not self._settings.ipv6:
            return NoRoute(Reply(550, "5.4.4", f"{domain} is an IPv6 address, and this server sends by IPv4 only"))
        return self._allowed(domain, [_candidate_of(str(address))], "literal")

    async def _by_dns(self, domain: str) -> Candidates | NoRoute:
        hosts = mx_hosts(domain, await self._resolver.query(domain, "MX"))
        if isinstance(hosts, NoRoute):
            return hosts
        by = "address" if hosts is None else "mx"
        chosen = [MxHost(0, domain)] if hosts is None else shortened(hosts, self._draw)
        found = await asyncio.gather(*(self._addresses(host) for host in chosen))
        return self._allowed(domain, found, by)

    def _allowed(self, domain: str, hosts: Sequence[Candidate], by: str) -> Candidates | NoRoute:
        """Not to ourselves, not into our own network, and only where there is an address."""
        settings = self._settings
        left = without_ourselves(domain, hosts, settings.hostname, settings.own, settings.smtp_port)
        if isinstance(left, list) and not settings.private:
            left = without_private(domain, left)
        if isinstance(left, list):
            left = reachable(domain, left)
        if isinstance(left, NoRoute):
            return left
        return Candidates(tuple(left), NextHop(address="", name="", port=settings.smtp_port), by)

    async def _addresses(self, host: MxHost) -> Candidate:
        rdtypes = ("AAAA", "A") if self._settings.ipv6 else ("A",)
        answers = [self._resolver.cached(host.name, rdtype) for rdtype in rdtypes]
        if None in answers:  # asked together only when something is not known already: a task costs more than the look
            answers = list(await asyncio.gather(*(self._resolver.query(host.name, rdtype) for rdtype in rdtypes)))
        known: dict[str, Answer] = {
            rdtype: answer for rdtype, answer in zip(rdtypes, answers, strict=True) if answer is not None
        }
        return candidate(host, known)


def _literal_candidate(host: str) -> Candidate | None:
    try:
        return _candidate_of(host)
    except ValueError:
        return None


def _candidate_of(address: str) -> Candidate:
    """Raises ValueError for a name."""
    ip = parse_ip(address)
    return Candidate(0, str(ip), ipv6=(str(ip),)) if ip.version == 6 else Candidate(0, str(ip), ipv4=(str(ip),))
