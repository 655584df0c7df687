"""What is known when something is decided: one value for each stage, gathered beforehand.

A field that is UNSET has not been gathered; a check that needs it says so (`Needs`). A fact that could not be had is
`Unavailable`, and the check that reads it defers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gatepost.mail.address import NULL_PATH, Path
from gatepost.mail.reply import Reply
from gatepost.policy.limits import Charged, Limit, LimitLevel
from gatepost.policy.verdict import Verdict

Service = Literal["mx", "submission", "submissions", "pop3", "pop3s", "lmtp"]
SERVICES: tuple[Service, ...] = ("mx", "submission", "submissions", "pop3", "pop3s", "lmtp")
SMTP_SERVICES: tuple[Service, ...] = ("mx", "submission", "submissions", "lmtp")
SUBMISSION: frozenset[str] = frozenset({"submission", "submissions"})
RelayBy = Literal["login", "network", "certificate", "grant"]


class Stage(StrEnum):
    """When checks run. COMMAND: single commands outside the road of a message (VRFY, EXPN, ...)."""

    CONNECT = "connect"
    HELO = "helo"
    AUTH = "auth"
    COMMAND = "command"
    MAIL = "mail"
    RCPT = "rcpt"
    MESSAGE = "message"


class Unavailable(msgspec.Struct, frozen=True):
    """A fact that could not be had, and why."""

    error: str


class SessionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the peer, whatever it says next.

    client_ip: "" for a unix socket. trusted: in `trusted` (no right to relay). is_loopback: the peer's own address
    is this machine's; False behind a proxy. granted: accounts with a live POP-before-SMTP grant for the peer's address;
    which of them counts, the reverse-path of MAIL says (`grant`), and grant_unknown says why that cannot be known, ""
    where it is. network_may_relay: in `relay.networks`. login, certificate, grant: the
    account that each of them proved, "" for none.
    """

    service: Service
    hostname: str
    client_ip: str
    client_port: int = 0
    trusted: bool = False
    is_loopback: bool = False
    network_may_relay: bool = False
    helo: str = ""
    extended: bool = False
    tls_version: str = ""
    tls_cipher: str = ""
    login: str = ""
    auth_mechanism: str = ""
    certificate: str = ""
    grant: str = ""
    granted: tuple[str, ...] = ()
    grant_unknown: str = ""

    @property
    def account(self) -> str:
        """The account this peer acts for, "" for none."""
        return self.login or self.certificate or self.grant

    @property
    def submits(self) -> bool:
        """Whether this is a user's program that hands in new mail (RFC 6409): on a submission service, or by a grant on
        mx."""
        return self.service in SUBMISSION or bool(self.grant)

    @property
    def may_relay_by(self) -> RelayBy | None:
        """What gives this peer the right to relay; None: it is a stranger (being trusted gives none)."""
        if self.login:
            return "login"
        if self.certificate:
            return "certificate"
        if self.network_may_relay:
            return "network"
        return "grant" if self.grant else None


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


class ConnectFacts(msgspec.Struct, frozen=True, kw_only=True):
    """ban: None where there is none."""

    session: SessionFacts
    access: Listing | UnsetType = UNSET
    ban: Ban | Unavailable | UnsetType | None = UNSET
    connections: ConnectionCounts | Unavailable | UnsetType = UNSET
    arrivals: ArrivalWaits | Unavailable | UnsetType = UNSET


class HeloFacts(msgspec.Struct, frozen=True, kw_only=True):
    """name: as the peer gave it. literal_ip: the address of an address literal, "" for a name or a malformed one."""

    session: SessionFacts
    name: str
    well_formed: bool
    literal_ip: str = ""
    addresses: tuple[str, ...] | Unavailable | UnsetType = UNSET


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


class AuthFacts(msgspec.Struct, frozen=True, kw_only=True):
    """AUTH, USER or a SASL exchange before the password is looked at. name: "" while the mechanism has not told it."""

    session: SessionFacts
    mechanism: str
    name: str = ""
    failures_in_session: int = 0
    attempts: AttemptLevels | Unavailable | UnsetType = UNSET


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


class CommandFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A command outside the road of a message. verb: upper case, "" for one that is not known. text: what follows it
    (VRFY, EXPN). idle: commands since the last recipient was accepted, those in a transaction left out."""

    session: SessionFacts
    verb: str
    text: str = ""
    idle: int = 0
    levels: CommandLevels | Unavailable | UnsetType = UNSET
    scope: ListScope | Unavailable | UnsetType = UNSET


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


class MailFacts(msgspec.Struct, frozen=True, kw_only=True):
    """MAIL. syntax: the ready refusal of a malformed command. sender_allowed: whether the account may use this
    reverse-path. sender_is_ours: its domain is one of ours. spf: the result of RFC 7208, "" while nobody has looked."""

    session: SessionFacts
    reverse_path: Path = NULL_PATH
    syntax: Reply | None = None
    smtputf8: bool = False
    size: int | None = None
    sender_allowed: bool | Unavailable | UnsetType = UNSET
    sender_is_ours: bool | UnsetType = UNSET
    spf: str = ""
    sender_dns: DomainDns | Unavailable | UnsetType = UNSET
    callout: AddressAnswer | UnsetType = UNSET
    allowances: tuple[LimitLevel, ...] | Unavailable | UnsetType = UNSET


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


class RcptFacts(msgspec.Struct, frozen=True, kw_only=True):
    """RCPT. accepted: recipients of this transaction so far. resolution: what the forward-path is here ("account",
    "unknown", "foreign", ... of `accounts.model.Resolution`). carried: refusals of earlier stages that waited."""

    session: SessionFacts
    reverse_path: Path
    forward_path: Path = NULL_PATH
    syntax: Reply | None = None
    smtputf8: bool = False
    accepted: int = 0
    carried: tuple[Verdict, ...] = ()
    resolution: str | Unavailable | UnsetType = UNSET
    harvest: HarvestLevel | Unavailable | UnsetType = UNSET
    # The recipient's domain; what the next hop says of the recipient; what the sender's mail host says of the sender.
    recipient_dns: DomainDns | Unavailable | UnsetType = UNSET
    probe: AddressAnswer | UnsetType = UNSET
    callout: AddressAnswer | UnsetType = UNSET
    # Announced; what MAIL found of the sender's limits; the subjects to which this recipient is new; what this
    # recipient may get; the maildrops behind it that have a quota; the list that it is.
    size: int | None = None
    allowances: tuple[LimitLevel, ...] | Unavailable | UnsetType = UNSET
    pending: Pending = Pending()
    unseen: tuple[str, ...] | Unavailable | UnsetType = UNSET
    recipient_levels: tuple[LimitLevel, ...] | Unavailable | UnsetType = UNSET
    rooms: tuple[Room, ...] | Unavailable | UnsetType = UNSET
    list_standing: ListStanding | Unavailable | None | UnsetType = UNSET
    # None: no rule can be about it. UNSET where `[[seal.rule]]` may be.
    seal: SealNeed | Unavailable | None | UnsetType = None

    @property
    def is_ours(self) -> bool:
        return isinstance(self.resolution, str) and self.resolution != "foreign"


class HeaderFacts(msgspec.Struct, frozen=True):
    """What one pass over the header section found (`mail.header`).

    counts: of the fields that may stand once, by lower-case name. defects: what breaks RFC 5322 syntax.
    delivered_to: the value of each such field. authors, submitters: the raw values of From and Sender. has_autocrypt:
    a key came along.
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


class MessageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The content, when all of it has come. defects: of the framing ("bare-lf", "bare-cr", "nul")."""

    session: SessionFacts
    reverse_path: Path
    recipients: tuple[Path, ...]
    octets: int
    header: HeaderFacts
    defects: tuple[str, ...] = ()
    longest_line: int = 0
    has_8bit: bool = False
    declared_8bit: bool = False
    smtputf8: bool = False
    from_: FromFacts | Unavailable | UnsetType = UNSET
    # Accepted recipients that are new to a subject; the limits of recipients; the counters with this message in them.
    new: dict[str, int] = {}
    recipient_limits: tuple[Limit, ...] = ()
    charged: Charged | Unavailable | UnsetType = UNSET
    account_hold: AccountHold | Unavailable | None | UnsetType = UNSET
    # How it is encrypted as a whole ("openpgp", "smime"), "" where it is not; None: nobody has to know.
    sealed: str | Unavailable | None | UnsetType = UNSET
    # None: neither a rule nor an account wants anything encrypted.
    seal: SealPlan | Unavailable | None | UnsetType = None


Facts = ConnectFacts | HeloFacts | AuthFacts | CommandFacts | MailFacts | RcptFacts | MessageFacts
