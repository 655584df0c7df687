"""Octets to and from the DNS: queries encoded, replies checked and turned into `Answer`. No socket, clock or cache.

Replies are hostile until proven otherwise: whatever they hold, the outcome is an `Answer` or `MalformedReply`.
"""

from __future__ import annotations

from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import msgspec
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TLSA import TLSA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.SRV import SRV
from dns.rdtypes.nsbase import NSBase

from gatepost.ports.resolver import Answer, Outcome

UDP_PAYLOAD_OCTETS: Final = 1232  # fits an IPv6 packet of the smallest MTU: no fragments (DNS flag day 2020)
HEADER_OCTETS: Final = 12
MAX_NEGATIVE_SECONDS: Final = 3600  # RFC 2308 §5: one to three hours is sensible


class Question(msgspec.Struct, frozen=True):
    """What is asked: a name in wire form, without compression, and a type."""

    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType


class MalformedReply(Exception):
    """A reply to our query that nobody can read."""


def question(name: str, rdtype: str) -> Question:
    """The question in the form of the codec.

    Raises ValueError where no such name can exist (labels over 63 octets, more than 255 in all, empty labels, no
    ASCII) and LookupError for a type that is not known.
    """
    try:
        kind = dns.rdatatype.from_text(rdtype)
    except (dns.exception.DNSException, ValueError) as error:
        raise LookupError(f'"{rdtype}" is no record type') from error
    try:
        return Question(dns.name.from_text(name.encode("ascii"), dns.name.root), kind)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"no such name can exist: {error}") from error


def encode(asked: Question, query_id: int, *, edns: bool, validating: bool) -> bytes:
    """The query as octets; `validating` asks for the AD bit and, with EDNS, for signatures (RFC 6840 §5.7)."""
    query = dns.message.make_query(
        asked.name,
        asked.rdtype,
        use_edns=0 if edns else False,
        payload=UDP_PAYLOAD_OCTETS,
        want_dnssec=edns and validating,
        id=query_id,
    )
    if validating:
        query.flags |= dns.flags.AD
    return query.to_wire()


def answers(reply: bytes, query: bytes) -> bool:
    """Whether `reply` belongs to `query`: ID, QR bit, opcode and question agree (RFC 5452 §9.1).

    An error reply may leave the question out: some servers cannot even read it.
    """
    if len(reply) < HEADER_OCTETS or reply[:2] != query[:2] or reply[2] & 0xF8 != 0x80:
        return False
    if reply[4:6] == b"\0\0":
        return reply[3] & 0x0F != dns.rcode.NOERROR
    end = HEADER_OCTETS + _question_octets(query)
    return (
        reply[4:6] == b"\0\1"
        and reply[HEADER_OCTETS : end - 4].lower() == query[HEADER_OCTETS : end - 4].lower()
        and reply[end - 4 : end] == query[end - 4 : end]
    )


def is_truncated(reply: bytes) -> bool:
    """The TC bit: ask again over TCP."""
    return bool(reply[2] & 0x02)


def wants_plain(reply: bytes) -> bool:
    """Whether the server balks at EDNS (RFC 6891 §7): ask again without."""
    return reply[3] & 0x0F in (dns.rcode.FORMERR, dns.rcode.NOTIMP)


def decode(reply: bytes, asked: Question, *, validating: bool) -> Answer:
    """What the reply says; FAILED for codes other than NOERROR and NXDOMAIN. Raises MalformedReply."""
    try:
        message = dns.message.from_wire(reply, ignore_trailing=True)
        code = message.rcode()
        if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Answer(Outcome.FAILED, error=_explained(message, code))
        if not isinstance(message, dns.message.QueryMessage):
            raise MalformedReply("no answer to a query")
        chain = message.resolve_chaining()
        records: tuple[str, ...] = ()
        if chain.answer is not None:
            records = tuple(present(rdata) for rdata in chain.answer)
        name = host_text(chain.canonical_name)
    except MalformedReply:
        raise
    # The decoder meets octets of a stranger: it documents DNSException, and has raised others.
    except Exception as error:
        raise MalformedReply(f"{type(error).__name__}: {error}") from error
    if records:
        outcome, ttl = Outcome.FOUND, chain.minimum_ttl
    else:
        outcome = Outcome.NO_NAME if code == dns.rcode.NXDOMAIN else Outcome.NO_DATA
        ttl = min(chain.minimum_ttl, MAX_NEGATIVE_SECONDS)
    authenticated = validating and bool(message.flags & dns.flags.AD)
    return Answer(outcome, records, name, ttl, authenticated)


def present(rdata: dns.rdata.Rdata) -> str:
    """One record as the port's text; types that the port does not name in their master-file form."""
    match rdata:
        case MX():
            return f"{rdata.preference} {host_text(rdata.exchange)}"
        case TXT():
            return b"".join(rdata.strings).decode("utf-8", "replace")
        case NSBase():  # CNAME, PTR, NS, DNAME
            return host_text(rdata.target)
        case TLSA():
            return f"{rdata.usage} {rdata.selector} {rdata.mtype} {rdata.cert.hex()}"
        case SRV():
            return f"{rdata.priority} {rdata.weight} {rdata.port} {host_text(rdata.target)}"
    return rdata.to_text()


def host_text(name: dns.name.Name) -> str:
    """A name in lower case without the final dot; the root is "."; odd octets are escaped as in master files."""
    return name.to_text(omit_final_dot=True).lower() if len(name) > 1 else "."


def _question_octets(query: bytes) -> int:
    """How long the question section of a query of ours is; its name is never compressed."""
    at = HEADER_OCTETS
    while query[at]:
        at += query[at] + 1
    return at + 5 - HEADER_OCTETS  # the root label, type, class


def _explained(message: dns.message.Message, code: dns.rcode.Rcode) -> str:
    """The response code, with what an extended error adds (RFC 8914): its registered name, not the server's prose."""
    reasons = [
        option.code.name.lower().replace("_", " ") if isinstance(option.code, dns.edns.EDECode) else str(option.code)
        for option in message.options
        if isinstance(option, dns.edns.EDEOption)
    ]
    return dns.rcode.to_text(code) + (f" ({', '.join(reasons)})" if reasons else "")
