"""What a server offers: the greeting, the answers to HELO and EHLO, and the dialect that the parser then takes.

An `Offer` is one value; whoever decides what a peer may use (TLS, AUTH, EXPN, XCLIENT) makes it. Not here: what a
client reads in the answer of its peer (`client`).
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.parameters import Dialect
from gatepost.protocol.smtp.xclient import ATTRIBUTES


class Offer(msgspec.Struct, frozen=True, cache_hash=True):
    """What is offered to one peer at one moment: never more than is implemented, nothing before its time.

    hostname: ours. lmtp: LHLO is answered instead of EHLO. size_limit_octets: 0 for no fixed limit (RFC 1870 §4).
    starttls: a certificate is there and TLS is not active yet. auth: SASL mechanisms, strongest first; empty: no
    AUTH. rcptmax, mailmax: LIMITS (RFC 9422), None: not said. expn: the peer may use EXPN. strict: how paths are
    read (`parameters.Dialect`).
    """

    hostname: str
    lmtp: bool = False
    size_limit_octets: int = 0
    starttls: bool = False
    auth: tuple[str, ...] = ()
    rcptmax: int | None = None
    mailmax: int | None = None
    expn: bool = False
    smtputf8: bool = True
    chunking: bool = True
    dsn: bool = True
    xclient: bool = False
    strict: bool = True

    def greeting(self) -> Reply:
        """The 220 that opens the session; no version in it, no enhanced code (RFC 5321 §4.3.1, RFC 2034 §4)."""
        return _greeting(self)

    def helo_reply(self) -> Reply:
        """The answer to an accepted HELO."""
        return Reply(250, "", self.hostname)

    def ehlo_reply(self) -> Reply:
        """The answer to an accepted EHLO or LHLO: one line for each keyword, always in the same order."""
        return _ehlo_reply(self)

    def keywords(self) -> list[str]:
        """The lines of the EHLO answer after the first (RFC 5321 §4.1.1.1)."""
        lines = ["PIPELINING", f"SIZE {self.size_limit_octets}", "8BITMIME"]
        if self.smtputf8:
            lines.append("SMTPUTF8")
        if self.chunking:
            lines.append("CHUNKING")
        if self.dsn:
            lines.append("DSN")
        lines.append("ENHANCEDSTATUSCODES")
        if self.starttls:
            lines.append("STARTTLS")
        if self.auth:
            lines.append("AUTH " + " ".join(self.auth))
        limits = [f"{name}={n}" for name, n in (("MAILMAX", self.mailmax), ("RCPTMAX", self.rcptmax)) if n is not None]
        if limits:
            lines.append("LIMITS " + " ".join(limits))
        if self.expn:
            lines.append("EXPN")
        if self.xclient:
            lines.append("XCLIENT " + " ".join(ATTRIBUTES))
        return lines

    def dialect(self, *, extended: bool) -> Dialect:
        """What the parser takes from a peer that had this offer. extended: it came in the answer to EHLO or LHLO.

        Before any greeting, extended too: then a command out of order is answered 503, and not for its parameters.
        """
        return _dialect(self, extended)


# Most peers are offered the same.
@lru_cache(maxsize=64)
def _greeting(offer: Offer) -> Reply:
    return Reply(220, "", f"{offer.hostname} {'LMTP' if offer.lmtp else 'ESMTP'}")


@lru_cache(maxsize=64)
def _ehlo_reply(offer: Offer) -> Reply:
    return Reply(250, "", "\n".join([offer.hostname, *offer.keywords()]))


@lru_cache(maxsize=64)
def _dialect(offer: Offer, extended: bool) -> Dialect:
    return Dialect(
        lmtp=offer.lmtp,
        strict=offer.strict,
        extended=extended,
        smtputf8=offer.smtputf8,
        dsn=offer.dsn,
        chunking=offer.chunking,
        auth=bool(offer.auth),
        xclient=offer.xclient,
    )
