"""What the DNS says about this host and the domains whose mail comes here, beside what it should say.

One `Finding` for each thing that was looked at. Not here: mail from others (their SPF, DKIM and the like).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.network import is_special, parse_ip
from gatepost.ports.resolver import Answer, Outcome, Resolver
from gatepost.verify import own_spf
from gatepost.verify.host_names import MAX_NAMES, names_of, verified
from gatepost.verify.spf import Client, check_host
from gatepost.verify.spf_record import VERSION, records_among

Status = Literal["ok", "wrong", "unknown", "advice", "info"]
NULL_MX: Final = "0 ."


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    status: "wrong" for what keeps mail from coming or going, "unknown" where the DNS did not answer, "advice" for what
    would be better, "info" for what only others act on. found: the records. expected: what to publish, "" where it is
    as it should be. why: what comes of it.
    """

    name: str
    type: str
    status: Status
    found: tuple[str, ...] = ()
    expected: str = ""
    why: str = ""


class Host(msgspec.Struct, frozen=True):
    """This host. source: addresses that mail leaves from, where they were set. ipv6: mail leaves over it too.
    smarthost: the next hop that takes all mail for others, "" for none. addresses: of its name, as found."""

    name: str
    source: tuple[str, ...] = ()
    ipv6: bool = True
    smarthost: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def sending(self) -> tuple[str, ...]:
        """The addresses that others see when mail leaves."""
        if self.source:
            return self.source
        return tuple(ip for ip in self.addresses if self.ipv6 or ":" not in ip)


async def review_host(resolver: Resolver, host: Host) -> tuple[Host, list[Finding]]:
    """`host` with its addresses, and what was found about its name."""
    findings: list[Finding] = []
    addresses: list[str] = []
    for rdtype in ("A", "AAAA"):
        answer = await resolver.query(host.name, rdtype)
        if answer.outcome is Outcome.FAILED:
            findings.append(_unknown(host.name, rdtype, answer))
            continue
        addresses += answer.records
        if answer.records:
            findings.append(_of_address(host, rdtype, answer))
    host = msgspec.structs.replace(host, addresses=tuple(addresses))
    if not findings:
        why = "nobody can find this host"
        findings.append(Finding(host.name, "A", "wrong", (), "the public address of this host", why))
    for ip in dict.fromkeys((*host.addresses, *host.source)):
        if not is_special(ip):
            findings.append(await _pointer(resolver, host, ip))
    findings.append(await _greeting_spf(resolver, host))
    findings.append(await _noted(resolver, f"_25._tcp.{host.name}", "TLSA", "", _TLSA))
    return host, findings


async def review_domain(resolver: Resolver, domain: str, host: Host) -> list[Finding]:
    """What was found about one of our domains. host: as `review_host` gave it back."""
    mx, leads_here = await _mail_hosts(resolver, domain, host)
    return [
        *mx,
        await _spf(resolver, domain, host, leads_here),
        await _signing(resolver, domain),
        await _noted(resolver, f"_dmarc.{domain}", "TXT", "v=dmarc1", _DMARC),
        await _noted(resolver, f"_mta-sts.{domain}", "TXT", "v=stsv1", _MTA_STS),
    ]


# --- this host -----------------------------------------------------------------------------------------------------


def _of_address(host: Host, rdtype: str, answer: Answer) -> Finding:
    if answer.name and answer.name != host.name:
        why = f"it is an alias of {answer.name}, which an MX record may not name (RFC 2181 10.3)"
        return Finding(host.name, rdtype, "wrong", answer.records, f"the {rdtype} records themselves", why)
    if private := [ip for ip in answer.records if is_special(ip)]:
        why = f"{', '.join(private)} is no address on the public Internet, so other servers cannot reach it"
        return Finding(host.name, rdtype, "wrong", answer.records, "public addresses only", why)
    return Finding(host.name, rdtype, "ok", answer.records)


async def _pointer(resolver: Resolver, host: Host, ip: str) -> Finding:
    """PTR, and whether it leads back."""
    name = parse_ip(ip).reverse_pointer
    names, trouble = await names_of(resolver, ip)
    if trouble:
        return Finding(name, "PTR", "unknown", (), host.name, trouble)
    if not names:
        why = f"{ip} has no name, so large providers refuse mail from it; whoever gave you the address sets it"
        return Finding(name, "PTR", _grave(host, ip), (), host.name, why)
    for found in sorted(names, key=lambda each: each != host.name)[:MAX_NAMES]:
        leads_back, trouble = await verified(resolver, found, ip)
        if trouble:
            return Finding(name, "PTR", "unknown", names, host.name, trouble)
        if leads_back and found == host.name:
            return Finding(name, "PTR", "ok", names)
        if leads_back:
            why = f"{found} leads back to {ip}, but the server calls itself {host.name}; some look at that"
            return Finding(name, "PTR", "advice", names, host.name, why)
    why = f"no such name leads back to {ip}, so large providers refuse mail from it"
    return Finding(name, "PTR", _grave(host, ip), names, host.name, why)


def _grave(host: Host, ip: str) -> Status:
    """A bad PTR of an address that mail does not leave from harms nothing."""
    return "wrong" if ip in host.sending and not host.smarthost else "advice"


async def _greeting_spf(resolver: Resolver, host: Host) -> Finding:
    """SPF for the name in EHLO, which stands for bounces too (RFC 7208 §2.4)."""
    answer = await resolver.query(host.name, "TXT")
    if answer.outcome is Outcome.FAILED:
        return _unknown(host.name, "SPF", answer)
    records = tuple(records_among(answer.records))
    expected = f"{VERSION} a -all"
    if not records:
        return Finding(host.name, "SPF", "advice", (), expected, "it speaks for reports, which have no other sender")
    if len(records) > 1:
        why = "of several records none counts (RFC 7208 4.5)"
        return Finding(host.name, "SPF", "wrong", records, expected, why)
    if error := own_spf.error_in(records[0]):
        return Finding(host.name, "SPF", "wrong", records, expected, error)
    reading = own_spf.read(records[0], host.name, _sender(host, False))
    if reading.missing and reading.fails and not reading.follows and not host.smarthost:
        why = f"{', '.join(reading.missing)} is not in it, so reports from here fail"
        return Finding(host.name, "SPF", "wrong", records, expected, why)
    return Finding(host.name, "SPF", "ok", records)


# --- a domain ------------------------------------------------------------------------------------------------------


async def _mail_hosts(resolver: Resolver, domain: str, host: Host) -> tuple[list[Finding], bool | None]:
    """What its MX records say, and whether they lead here (None: that could not be found out)."""
    expected = f"10 {host.name}."
    answer = await resolver.query(domain, "MX")
    if answer.outcome is Outcome.FAILED:
        return [_unknown(domain, "MX", answer)], None
    if NULL_MX in answer.records:
        why = "it says that the domain takes no mail (RFC 7505)"
        return [Finding(domain, "MX", "wrong", answer.records, expected, why)], False
    if not answer.records:
        return await _without_mx(resolver, domain, host, expected)
    findings, leads_here, unknown = [], False, ""
    for record in answer.records:
        name = record.partition(" ")[2]
        if name == host.name:
            leads_here = True
            continue
        addresses, trouble = await _addresses(resolver, name)
        unknown = unknown or trouble
        leads_here = leads_here or bool(addresses & set(host.addresses))
        if not addresses and not trouble:
            why = "it has no address, so mail that other servers bring there waits in vain"
            findings.append(Finding(name, "A", "wrong", (), f"an address, or no MX record of {domain} with it", why))
    if leads_here:
        status: Status = "ok"
        expected = why = ""
    elif unknown:
        status, why = "unknown", unknown
    else:
        status, why = "wrong", "mail for the domain goes elsewhere"
    leads = None if status == "unknown" else leads_here
    return [Finding(domain, "MX", status, answer.records, expected, why), *findings], leads


async def _without_mx(resolver: Resolver, domain: str, host: Host, expected: str) -> tuple[list[Finding], bool | None]:
    """Mail goes to the addresses of the domain itself then (RFC 5321 §5.1)."""
    addresses, trouble = await _addresses(resolver, domain)
    if trouble:
        return [Finding(domain, "MX", "unknown", (), expected, trouble)], None
    if addresses & set(host.addresses):
        why = (
            "other servers bring mail to the address of the domain itself, which is this host's; an MX record is surer"
        )
        return [Finding(domain, "MX", "advice", (), expected, why)], True
    why = "other servers do not know where to bring mail for the domain"
    return [Finding(domain, "MX", "wrong", (), expected, why)], False


async def _addresses(resolver: Resolver, name: str) -> tuple[set[str], str]:
    """All addresses of a host, and why they could not be had."""
    found: set[str] = set()
    trouble = ""
    for rdtype in ("A", "AAAA"):
        answer = await resolver.query(name, rdtype)
        found |= set(answer.records)
        if answer.outcome is Outcome.FAILED:
            trouble = f"the addresses of {name} cannot be had ({answer.error or 'no answer'})"
    return found, "" if found else trouble


async def _spf(resolver: Resolver, domain: str, host: Host, leads_here: bool | None) -> Finding:
    answer = await resolver.query(domain, "TXT")
    if answer.outcome is Outcome.FAILED:
        return _unknown(domain, "SPF", answer)
    records = tuple(records_among(answer.records))
    mine = "mx" if leads_here is not False else f"a:{host.name}"
    expected = f"{VERSION} {mine} -all"
    if host.smarthost:
        return _spf_of_smarthost(domain, records, host)
    if not records:
        why = "mail of the domain is not signed by this version, so without SPF large providers refuse it"
        return Finding(domain, "SPF", "wrong", (), expected, why)
    if len(records) > 1:
        why = "of several records none counts (RFC 7208 4.5)"
        return Finding(domain, "SPF", "wrong", records, expected, why)
    if error := own_spf.error_in(records[0]):
        return Finding(domain, "SPF", "wrong", records, expected, error)
    reading = own_spf.read(records[0], domain, _sender(host, leads_here))
    if reading.everybody:
        why = "it lets the whole world send in the name of the domain"
        return Finding(domain, "SPF", "advice", records, expected, why)
    if not reading.missing:
        return Finding(domain, "SPF", "ok", records)
    missing = ", ".join(reading.missing)
    if reading.follows:
        return await _evaluated_spf(resolver, domain, host, reading.missing, records, expected)
    status: Status = "wrong" if reading.fails else "advice"
    return Finding(domain, "SPF", status, records, expected, f"{missing}, where mail leaves from, is not in it")


async def _evaluated_spf(
    resolver: Resolver, domain: str, host: Host, missing: tuple[str, ...], records: tuple[str, ...], expected: str
) -> Finding:
    """What others find who follow the record for each of our addresses that it does not name itself."""
    for ip in missing:
        found = await check_host(resolver, Client(ip=ip, reverse_path=Path("postmaster", domain), helo=host.name))
        match found.result:
            case "pass":
                continue
            case "temperror":
                return Finding(domain, "SPF", "unknown", records, "", f"it could not be followed: {found.reason}")
            case "permerror":
                return Finding(domain, "SPF", "wrong", records, expected, found.reason)
        status: Status = "wrong" if found.result == "fail" else "advice"
        why = f"{ip}, where mail leaves from, is not in it, nor in what it leads to"
        return Finding(domain, "SPF", status, records, expected, why)
    return Finding(domain, "SPF", "ok", records)


def _spf_of_smarthost(domain: str, records: tuple[str, ...], host: Host) -> Finding:
    why = f"mail leaves through {host.smarthost}; its operator says what the record must include"
    status: Status = "info" if len(records) == 1 else "wrong" if records else "advice"
    return Finding(domain, "SPF", status, records, "" if len(records) == 1 else "one record", why)


def _sender(host: Host, is_mx: bool | None) -> own_spf.Sender:
    return own_spf.Sender(host.name, host.addresses, host.sending, is_mx)


async def _signing(resolver: Resolver, domain: str) -> Finding:
    """DKIM keys have names that only their owner knows; whether there are any the DNS may tell."""
    answer = await resolver.query(f"_domainkey.{domain}", "TXT")
    if answer.outcome is Outcome.FAILED:
        return _unknown(f"_domainkey.{domain}", "DKIM", answer)
    found = () if answer.outcome is Outcome.NO_NAME else ("there are keys below it",)
    return Finding(f"_domainkey.{domain}", "DKIM", "info", found, "", "this version does not sign")


async def _noted(resolver: Resolver, name: str, rdtype: str, begins: str, why: tuple[str, str]) -> Finding:
    """What others act on and this version does not. begins: what the record starts with, in lower case. why: what to
    say where there is one, and where there is none."""
    kind = {"_dmarc": "DMARC", "_mta-sts": "MTA-STS"}.get(name.partition(".")[0], rdtype)
    answer = await resolver.query(name, rdtype)
    if answer.outcome is Outcome.FAILED:
        return _unknown(name, kind, answer)
    records = tuple(record for record in answer.records if record.lower().startswith(begins))
    return Finding(name, kind, "info", records, "", why[0] if records else why[1])


_DMARC: Final = (
    "this version signs nothing: mail of the domain that is forwarded fails what the record asks for",
    "this version neither signs nor obeys the records of others",
)
_MTA_STS: Final = (
    "this version does not serve the policy: it must name this host, where it is served now",
    "this version neither serves a policy nor obeys those of others",
)
_TLSA: Final = (
    "this version does not compare it with the certificate: other servers do, and stay away when it differs",
    "this version neither publishes it nor obeys those of others",
)


def _unknown(name: str, kind: str, answer: Answer) -> Finding:
    return Finding(name, kind, "unknown", (), "", f"it could not be looked up ({answer.error or 'no answer'})")


def is_in_order(findings: Iterable[Finding]) -> bool:
    """Whether nothing keeps mail from coming or going, as far as that could be looked up."""
    needed = ("A", "AAAA", "PTR", "MX", "SPF")
    return not any(each.status == "wrong" or (each.status == "unknown" and each.type in needed) for each in findings)
