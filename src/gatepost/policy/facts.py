"""What is known when something is decided: one value for each stage, gathered beforehand.

A field that is UNSET has not been gathered; a check that needs it says so (`Needs`). A fact that could not be had is
`Unavailable`, and the check that reads it defers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import force_setattr

from gatepost.mail.address import NULL_PATH, Path
from gatepost.mail.dkim import DkimResult
from gatepost.mail.reply import Reply
from gatepost.mail.spf import SpfResult
from gatepost.policy.findings import (
    AccountHold,
    AddressAnswer,
    ArrivalWaits,
    AttemptLevels,
    Ban,
    CommandLevels,
    ConnectionCounts,
    DomainDns,
    FromFacts,
    HarvestLevel,
    HeaderFacts,
    Listing,
    ListScope,
    ListStanding,
    Pending,
    Room,
    SealNeed,
    SealPlan,
    Unavailable,
)
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

    # What follows from them is set with them: it is asked for two dozen times a message.
    account: str = ""
    """The account this peer acts for, "" for none."""
    may_relay_by: RelayBy | None = None
    """What gives this peer the right to relay; None: it is a stranger (being trusted gives none)."""
    submits: bool = False
    """Whether this is a user's program that hands in new mail (RFC 6409): on a submission service, or by a grant on
    mx."""

    def __post_init__(self) -> None:
        force_setattr(self, "account", self.login or self.certificate or self.grant)
        by: RelayBy | None = "grant" if self.grant else None
        if self.login:
            by = "login"
        elif self.certificate:
            by = "certificate"
        elif self.network_may_relay:
            by = "network"
        force_setattr(self, "may_relay_by", by)
        force_setattr(self, "submits", self.service in SUBMISSION or bool(self.grant))


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


class AuthFacts(msgspec.Struct, frozen=True, kw_only=True):
    """AUTH, USER or a SASL exchange before the password is looked at. name: "" while the mechanism has not told it."""

    session: SessionFacts
    mechanism: str
    name: str = ""
    failures_in_session: int = 0
    attempts: AttemptLevels | Unavailable | UnsetType = UNSET


class CommandFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A command outside the road of a message. verb: upper case, "" for one that is not known. text: what follows it
    (VRFY, EXPN). idle: commands since the last recipient was accepted, those in a transaction left out."""

    session: SessionFacts
    verb: str
    text: str = ""
    idle: int = 0
    levels: CommandLevels | Unavailable | UnsetType = UNSET
    scope: ListScope | Unavailable | UnsetType = UNSET


class MailFacts(msgspec.Struct, frozen=True, kw_only=True):
    """MAIL. syntax: the ready refusal of a malformed command. sender_allowed: whether the account may use this
    reverse-path. sender_is_ours: its domain is one of ours. spf: None where nobody looks."""

    session: SessionFacts
    reverse_path: Path = NULL_PATH
    syntax: Reply | None = None
    smtputf8: bool = False
    size: int | None = None
    sender_allowed: bool | Unavailable | UnsetType = UNSET
    sender_is_ours: bool | UnsetType = UNSET
    spf: SpfResult | UnsetType | None = None
    sender_dns: DomainDns | Unavailable | UnsetType = UNSET
    callout: AddressAnswer | UnsetType = UNSET
    allowances: tuple[LimitLevel, ...] | Unavailable | UnsetType = UNSET


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


class MessageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The content, when all of it has come. defects: of the framing ("bare-lf", "bare-cr", "nul"). spf: found at MAIL.
    spf_excuse: the domain of the signature that speaks for a sender whose SPF failed, "" for none."""

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
    spf: SpfResult | None = None
    spf_excuse: str | UnsetType = ""
    dkim: tuple[DkimResult, ...] | UnsetType = ()  # of each signature, from the top; none: no field DKIM-Signature
    # How it is encrypted as a whole ("openpgp", "smime"), "" where it is not; None: nobody has to know.
    sealed: str | Unavailable | None | UnsetType = UNSET
    # None: neither a rule nor an account wants anything encrypted.
    seal: SealPlan | Unavailable | None | UnsetType = None


Facts = ConnectFacts | HeloFacts | AuthFacts | CommandFacts | MailFacts | RcptFacts | MessageFacts
