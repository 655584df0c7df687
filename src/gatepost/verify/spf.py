"""SPF: whether a domain lets a peer send in its name (RFC 7208 check_host), over the Resolver port.

Not here: how a record is written (`verify.spf_record`), its macros (`verify.spf_macro`), what follows from a result.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.network import parse_ip
from gatepost.mail.network_text import first6, ipv4_number
from gatepost.mail.spf import Identity, SpfResult, SpfWord
from gatepost.mail.text import printable
from gatepost.ports.resolver import Answer, Outcome, Resolver
from gatepost.verify import spf_macro
from gatepost.verify.spf_macro import MacroString, expand, expand_domain
from gatepost.verify.spf_record import Record, SpfSyntaxError, Term, parse_record, records_among

MAX_TERMS: Final = 10  # RFC 7208 §4.6.4: that need the DNS, over all records
MAX_VOID: Final = 2  # the same: questions that found nothing
MAX_MX: Final = 10  # the same: hosts of one `mx`
MAX_PTR: Final = 10  # the same: names of the peer's address
MAX_QUESTIONS: Final = 100  # in all: ten `mx` of ten hosts each would be 110, and no honest record has them
MAX_TERM_TOLD: Final = 100  # characters: an event is bounded, a term is only by its record
MAX_REASON: Final = 300
MAX_EXPLANATION: Final = 200  # characters: a reply's line has 512 octets (RFC 5321 §4.5.3.1.5), our own words included
_UNKNOWN: Final = "unknown"  # RFC 7208 §7.3: of the macros `p` and `r`


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends. reverse_path: null for the identity HELO. helo: as the peer greeted. hostname: our own. now: seconds
    since 1970 (both for explanations alone)."""

    ip: str
    reverse_path: Path
    helo: str
    hostname: str = _UNKNOWN
    now: float = 0.0


class _Ended(Exception):
    """The evaluation ends here, with `temperror` or `permerror`."""

    def __init__(self, result: SpfWord, reason: str) -> None:
        super().__init__(reason)
        self.result: SpfWord = result


class _Found(msgspec.Struct, frozen=True):
    """What one record says. term: that matched, None where none did. domain: of the record."""

    result: SpfWord
    domain: str
    term: Term | None = None
    exp: MacroString | None = None
    reason: str = ""


async def check_host(resolver: Resolver, client: Client) -> SpfResult:
    """What SPF says about `client` (RFC 7208 §4), for its reverse-path, or for its greeting where that is null (§2.4).

    What the DNS does not tell now is `temperror`, a record that cannot be followed `permerror`; nothing is raised.
    Never more than `MAX_QUESTIONS` questions; the caller bounds the time.
    """
    identity: Identity = "helo" if client.reverse_path.is_null else "mailfrom"
    try:
        domain = client.helo.lower().removesuffix(".") if identity == "helo" else client.reverse_path.ascii_domain
        evaluation = _Evaluation(resolver, client, domain)
    except ValueError as error:
        return SpfResult("none", client.reverse_path.domain, identity, reason=printable(str(error)))
    explanation = ""
    try:
        found = await evaluation.check(domain)
        if found.result == "fail" and found.exp is not None:
            explanation = await evaluation.explanation(found.exp, found.domain)
    except _Ended as error:
        found = _Found(error.result, evaluation.at, reason=str(error))
    return SpfResult(
        found.result,
        printable(domain, spf_macro.MAX_NAME),
        identity,
        found.term.text[:MAX_TERM_TOLD] if found.term is not None else "",
        printable(found.domain, spf_macro.MAX_NAME),
        evaluation.terms,
        printable(found.reason or _reason(found, client.ip), MAX_REASON),
        explanation,
        names_sender=evaluation.names_sender,
    )


def _reason(found: _Found, ip: str) -> str:
    """Why it is not a pass, where a term says so."""
    if found.result == "pass" or found.term is None:
        return ""
    return f"{found.term.text[:MAX_TERM_TOLD]} in the record of {found.domain} is about {ip}"


class _Evaluation:
    """One run of check_host. terms, voids, questions: counted over all records. at: the domain whose record is being
    read. names_sender: a macro of the sender's local part was met."""

    def __init__(self, resolver: Resolver, client: Client, domain: str) -> None:
        """Raises ValueError where the peer has no address."""
        address = parse_ip(client.ip)
        self._resolver = resolver
        self._client = client
        self._address = address
        self._is4 = isinstance(address, IPv4Address)
        self._number = int(address)
        self._sender_domain = domain
        self._names: list[str] | None = None  # of the peer, that lead back to it
        self._values: dict[str, str] = {}  # of the macros, as the last string that needed some had them
        self.terms = 0
        self.voids = 0
        self.questions = 0
        self.at = domain
        self.names_sender = False

    # --- records -------------------------------------------------------------------------------------------------

    async def check(self, domain: str) -> _Found:
        """What the record of `domain` says (§4.3 to §4.7)."""
        if not _is_domain(domain):
            return _Found("none", domain, reason=f"{domain or 'the empty name'} is no domain that could have a record")
        self.at = domain
        answer = await self._ask(domain, "TXT")
        texts = records_among(answer.records) if answer.records else []
        if not texts:
            return _Found("none", domain, reason=f"{domain} has no SPF record")
        if len(texts) > 1:
            raise _Ended("permerror", f"{domain} has {len(texts)} SPF records")
        try:
            record = parse_record(texts[0])
        except SpfSyntaxError as error:
            raise _Ended("permerror", f"the record of {domain} is malformed: {error}") from error
        return await self._evaluate(record, domain)

    async def _evaluate(self, record: Record, domain: str) -> _Found:
        number, is4 = self._number, self._is4
        for term in record.terms:
            kind = term.kind
            if kind == "ip4":
                matches = is4 and term.first <= number <= term.last
            elif kind == "ip6":
                matches = not is4 and term.first <= number <= term.last
            elif kind == "all":
                matches = True
            else:
                matches = await self._matches(term, domain)
            if matches:
                return _Found(term.result, domain, term, record.exp)
        if record.redirect is None:
            return _Found("neutral", domain, reason=f"nothing in the record of {domain} is about {self._client.ip}")
        return await self._redirected(record.redirect, domain)

    async def _redirected(self, redirect: MacroString, domain: str) -> _Found:
        """The other record takes the place of this one (§6.1)."""
        self._count_term()
        target = await self._name(redirect, domain)
        if target is None:
            return _Found("neutral", domain, reason=f"the redirect of {domain} cannot name this sender")
        found = await self.check(target)
        if found.result == "none":
            raise _Ended("permerror", f"{domain} redirects to {target[:100]}, which has no SPF record")
        return found

    def _count_term(self) -> None:
        self.terms += 1
        if self.terms > MAX_TERMS:
            self.terms = MAX_TERMS
            raise _Ended("permerror", f"it takes more than {MAX_TERMS} terms that need the DNS (at {self.at})")

    # --- mechanisms ----------------------------------------------------------------------------------------------

    async def _matches(self, term: Term, domain: str) -> bool:
        """Whether a mechanism that needs the DNS is about the peer (§5)."""
        self._count_term()
        name = domain if term.target is None else await self._name(term.target, domain)
        if name is None:
            return False
        match term.kind:
            case "include":
                return await self._includes(name, domain)
            case "a":
                return self._is_around(await self._addresses(name), term)
            case "mx":
                return await self._is_mx(name, term)
            case "exists":
                return bool((await self._ask(name, "A", may_be_void=True)).records)
            case _:
                return any(_is_below(each, name) for each in await self._validated())

    async def _includes(self, name: str, domain: str) -> bool:
        found = await self.check(name)  # what ends it there ends it here (§5.2)
        self.at = domain
        if found.result == "none":
            raise _Ended("permerror", f"{domain} includes {name[:100]}, which has no SPF record")
        return found.result == "pass"

    async def _addresses(self, name: str) -> tuple[str, ...]:
        return (await self._ask(name, "A" if self._is4 else "AAAA", may_be_void=True)).records

    def _is_around(self, addresses: tuple[str, ...], term: Term) -> bool:
        """Whether the peer is in the network around one of them."""
        shift = 32 - term.bits4 if self._is4 else 128 - term.bits6
        wanted = self._number >> shift
        return any(number >> shift == wanted for number in map(self._as_number, addresses) if number >= 0)

    def _as_number(self, text: str) -> int:
        """The address as a number, -1 for one that is not of the peer's family."""
        try:
            return ipv4_number(text) if self._is4 else first6(text) >> 8
        except (ValueError, KeyError, OSError):
            return -1

    async def _is_mx(self, name: str, term: Term) -> bool:
        hosts = (await self._ask(name, "MX", may_be_void=True)).records
        if len(hosts) > MAX_MX:
            raise _Ended("permerror", f"{name[:100]} has {len(hosts)} MX records, more than {MAX_MX}")
        for record in hosts:
            host = record.partition(" ")[2]
            if host != "." and self._is_around(await self._addresses(host), term):
                return True
        return False

    async def _validated(self) -> list[str]:
        """The peer's names that lead back to its address (§5.5). What cannot be had is no such name."""
        if self._names is None:
            self._names = []
            answer = await self._ask(self._address.reverse_pointer, "PTR", may_be_void=True, may_fail=True)
            for record in answer.records[:MAX_PTR]:
                host = record.removesuffix(".").lower()
                found = await self._ask(host, "A" if self._is4 else "AAAA", may_be_void=True, may_fail=True)
                if any(self._as_number(text) == self._number for text in found.records):
                    self._names.append(host)
        return self._names

    # --- questions -----------------------------------------------------------------------------------------------

    async def _ask(self, name: str, rdtype: str, *, may_be_void: bool = False, may_fail: bool = False) -> Answer:
        """The answer. may_be_void: an empty one is counted (§4.6.4). may_fail: one that cannot be had ends nothing."""
        self.questions += 1
        if self.questions > MAX_QUESTIONS:
            raise _Ended("permerror", f"it takes more than {MAX_QUESTIONS} questions to the DNS (at {self.at})")
        answer = self._resolver.cached(name, rdtype) or await self._resolver.query(name, rdtype)
        if answer.outcome is Outcome.FAILED:
            if not may_fail:
                raise _Ended("temperror", f"{rdtype} of {name[:100]} cannot be had ({answer.error or 'no answer'})")
        elif may_be_void and not answer.records:
            self.voids += 1
            if self.voids > MAX_VOID:
                raise _Ended("permerror", f"more than {MAX_VOID} of its questions to the DNS find nothing")
        return answer

    # --- macros --------------------------------------------------------------------------------------------------

    async def _name(self, target: MacroString, domain: str) -> str | None:
        """The name that `target` makes for this peer; None where its local part can stand in none (RFC 8616 §4)."""
        if target.plain is None and not await self._can_expand(target, domain):
            return None
        return expand_domain(target, self._values)

    async def _can_expand(self, string: MacroString, domain: str) -> bool:
        """Make the macros' values ready; False for a local part that is not ASCII."""
        if string.letters & spf_macro.OF_SENDER:
            self.names_sender = True
            if not self._local_part.isascii():
                return False
        validated = await self._own_name(domain) if spf_macro.NEEDS_PTR in string.letters else ""
        address, now = self._address, self._client.now
        digits = str(address) if self._is4 else ".".join(address.exploded.replace(":", "").upper())
        self._values = {
            "s": f"{self._local_part}@{self._sender_domain}",
            "l": self._local_part,
            "o": self._sender_domain,
            "d": domain,
            "i": digits,
            "p": validated,
            "v": "in-addr" if self._is4 else "ip6",
            "h": self._client.helo,
            "c": str(address),
            "r": self._client.hostname,
            "t": str(int(now)),
        }
        return True

    @property
    def _local_part(self) -> str:
        return self._client.reverse_path.local_part or "postmaster"  # §4.3

    async def _own_name(self, domain: str) -> str:
        """The peer's name for the macro `p`: the domain's own before one below it before any (§7.3)."""
        names = await self._validated()
        if domain in names:
            return domain
        return next((name for name in names if _is_below(name, domain)), names[0] if names else _UNKNOWN)

    async def explanation(self, exp: MacroString, domain: str) -> str:
        """What the domain wants said about a fail (§6.2): ASCII that can be shown, cut; "" for whatever is wrong."""
        try:
            name = await self._name(exp, domain)
            answer = await self._ask(name, "TXT", may_fail=True) if name else None
            if answer is None or len(answer.records) != 1 or len(answer.records[0]) > 10 * MAX_EXPLANATION:
                return ""
            string = spf_macro.parse(answer.records[0], spf_macro.IN_EXPLANATIONS)
            if string.plain is None and not await self._can_expand(string, domain):
                return ""
        except (_Ended, spf_macro.MacroError):
            return ""
        text = expand(string, self._values)
        return text[:MAX_EXPLANATION] if text.isascii() and text.isprintable() else ""


def _is_domain(name: str) -> bool:
    """Whether it could have a record: at least two labels, none empty or too long, no address literal (§4.3)."""
    if not name or len(name) > spf_macro.MAX_NAME or name[0] == "[" or "." not in name or not name.isascii():
        return False
    return all(0 < len(label) <= 63 for label in name.removesuffix(".").split("."))


def _is_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")
