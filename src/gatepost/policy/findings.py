"""What gatherers find out, as values: the parts of the facts (`policy.facts`), and what could not be had.

Not here: which stage knows what.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Unavailable(msgspec.Struct, frozen=True):
    """A fact that could not be had, and why."""

    error: str


class ConnectionCounts(msgspec.Struct, frozen=True):
    """Connections at once, this one included: from the address, from its /24 or /64, and in all."""

    address: int
    prefix: int
    total: int


class Listing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the tables of `client.access` say of the peer. allowed, denied: the origin of the list that holds it, ""
    for none. names: its verified host names, where the tables ask for them. unverified: why they could not be had."""

    allowed: str = ""
    denied: str = ""
    names: tuple[str, ...] = ()
    unverified: str = ""


class Ban(msgspec.Struct, frozen=True, omit_defaults=True):
    """network: whom it keeps out. until: seconds since 1970. event: the ID of the event that caused it, "" for none.
    by: the person who laid it, "" for a detector."""

    network: str
    reason: str
    until: float
    event: str = ""
    by: str = ""
    since: float = 0.0

    @property
    def by_hand(self) -> bool:
        return bool(self.by)


class ArrivalWaits(msgspec.Struct, frozen=True):
    """Seconds until a new connection from the address, and from its /24 or /64, is within its rate; 0: it is."""

    address: float
    prefix: float


class AttemptLevels(msgspec.Struct, frozen=True):
    """Failed logins that count now, and how long until the next may be tried (seconds, 0: now).

    account_wait: for this name from the peer's network. prefix_wait: from that network, whatever the name. names_wait:
    for the different names that the network has failed with. spread_wait: for this name from all networks that it has
    not logged in from. failures: of this name from the network. known_good: this account logged in from the network
    lately. good_network: some account did.
    """

    account_wait: float
    prefix_wait: float
    failures: int
    known_good: bool = False
    names_wait: float = 0.0
    spread_wait: float = 0.0
    good_network: bool = False


class CommandLevels(msgspec.Struct, frozen=True):
    """What single commands have used up of their budgets. wait: seconds until a look-up (VRFY, EXPN) or an unknown
    command is within its budget again, 0 for now. counted: which of the two this command counts as, "" for neither."""

    wait: float
    counted: Literal["", "lookups", "unknown"] = ""


class ListScope(msgspec.Struct, frozen=True):
    """What an account has to do with the alias or list that it wants to see. exists: there is one. domain: of the
    account's own domain. member, owner: the account's address is among them."""

    exists: bool
    domain: bool = False
    member: bool = False
    owner: bool = False


class ListStanding(msgspec.Struct, frozen=True):
    """A mailing list and who wants to post. post: "members", "anyone" or "owners" may."""

    address: str
    post: str
    is_member: bool
    is_owner: bool


class Room(msgspec.Struct, frozen=True):
    """What a maildrop holds and may hold, octets."""

    account: str
    used: int
    quota: int


class DomainDns(msgspec.Struct, frozen=True):
    """How a domain takes mail. by: "mx", "address" (no MX, but A or AAAA); "literal", "ours" (we take it, or are told
    where it goes) and "null path" (no domain), with nothing to look up; "null mx" (it says that it takes none, RFC
    7505), "no name" and "no records": it takes none.
    """

    domain: str
    by: Literal["mx", "address", "literal", "ours", "null path", "null mx", "no name", "no records"]


class AddressAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a mail host says about an address. "unknown": it was asked and does not tell, or cannot be reached;
    "not asked": why nobody asked. host: who was asked. at: seconds since 1970 of the answer, 0 for none."""

    says: Literal["yes", "no", "unknown", "not asked"]
    why: str
    host: str = ""
    at: float = 0.0


class HarvestLevel(msgspec.Struct, frozen=True):
    """Recipients that do not exist, as one peer named them in the period that counts, this one included.

    known: recipients of the same peer that exist. is_full: no more unknown ones fit. decoy: this one is an address
    that only a harvester knows. counts: this recipient does (it is unknown, or a decoy).
    """

    unknown: float
    known: float
    is_full: bool = False
    decoy: bool = False
    counts: bool = True


class Pending(msgspec.Struct, frozen=True):
    """What a transaction has come to so far, not counted yet. refused: recipients, for good. new: accepted ones that
    the sender never wrote to, by the subject of the limit."""

    refused: int = 0
    new: dict[str, int] = {}


class SealNeed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be encrypted for one recipient. rule: its name, "account" for the recipient's own wish. kind, key,
    source: of the key that was found, its fingerprint, "" where there is none. why: what was found instead, or what
    there is to warn of. is_known: whether it could be found out. has_changed, has_expired,
    was_revoked: why there is none. unproven: the fingerprint of one that nothing proves to be the recipient's."""

    recipient: str
    rule: str
    mode: Literal["off", "opportunistic", "required"]
    kind: str = ""
    key: str = ""
    source: str = ""
    why: tuple[str, ...] = ()
    is_known: bool = True
    has_changed: bool = False
    has_expired: bool = False
    was_revoked: bool = False
    unproven: str = ""


class SealPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be encrypted of a message. needs: of those recipients that anybody wants it for. sealed: how it is
    encrypted already ("openpgp", "smime"), "" where it is not."""

    needs: tuple[SealNeed, ...] = ()
    sealed: str = ""


class HeaderFacts(msgspec.Struct, frozen=True):
    """What one pass over the header section found (`mail.header`).

    counts: of the fields that may stand once, by lower-case name. defects: what breaks RFC 5322 syntax.
    delivered_to: the value of each such field. authors, submitters: the raw values of From and Sender. has_autocrypt:
    a key came along. is_signed: there is a DKIM-Signature.
    """

    octets: int
    fields: int
    received: int
    counts: dict[str, int]
    defects: tuple[str, ...] = ()
    delivered_to: tuple[str, ...] = ()
    has_8bit: bool = False
    authors: tuple[bytes, ...] = ()
    submitters: tuple[bytes, ...] = ()
    has_autocrypt: bool = False
    is_signed: bool = False


class FromFacts(msgspec.Struct, frozen=True):
    """The addresses that From and Sender name. foreign: those that the peer's account may not use. needs_sender: From
    names several mailboxes and there is no Sender. defect: why a field cannot be read, "" when it can."""

    addresses: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    needs_sender: bool = False
    defect: str = ""


class AccountHold(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account that is held. since: seconds since 1970. event: of what caused it. by: the person, "" for a
    detector."""

    account: str
    reason: str
    since: float
    event: str = ""
    by: str = ""
