"""Look-ups in the DNS, as a port: a question, and an answer that says also what could not be known."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import msgspec


class Outcome(Enum):
    """How a look-up ended. What could not be had is an outcome, not an exception: policies decide on it."""

    FOUND = "found"
    NO_DATA = "no-data"  # the name exists, without such records (RFC 2308 §2.2)
    NO_NAME = "no-name"  # NXDOMAIN
    FAILED = "failed"  # timeout, SERVFAIL, REFUSED, malformed: try later, conclude nothing


class Answer(msgspec.Struct, frozen=True):
    """What the DNS said.

    records: as text, in the presentation of the type: "192.0.2.1" (A, AAAA), "10 mx.example.org" (MX, no final dot,
    lower case; "0 ." is the null MX), the joined strings of a TXT, "mx.example.org" (PTR, CNAME), "3 1 1 0a1b..."
    (TLSA). Aliases are followed; name is where they led. ttl: seconds. authenticated: DNSSEC proved it (the AD bit
    of a resolver configured as `validating`).
    """

    outcome: Outcome
    records: tuple[str, ...] = ()
    name: str = ""
    ttl: int = 0
    authenticated: bool = False
    error: str = ""  # for FAILED: what happened, for the record


class Resolver(Protocol):
    """Asks the DNS. Never raises for what the network or a server did."""

    async def query(self, name: str, rdtype: str) -> Answer:
        """The records of `rdtype` ("A", "MX", ...) at `name` (A-labels, without the final dot)."""
        ...

    def cached(self, name: str, rdtype: str) -> Answer | None:
        """The same, if it is known already and still valid: no task, no wait."""
        ...
