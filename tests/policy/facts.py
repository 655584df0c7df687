"""Facts with everything in order; a test changes what its row is about."""

from __future__ import annotations

from typing import Any

from gatepost.mail.address import NULL_PATH, Path, parse_mailbox
from gatepost.mail.spf import SpfResult
from gatepost.mail.units import parse_octet_quota, parse_quota
from gatepost.policy.facts import (
    AuthFacts,
    CommandFacts,
    ConnectFacts,
    HeloFacts,
    MailFacts,
    MessageFacts,
    RcptFacts,
    SessionFacts,
)
from gatepost.policy.findings import (
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
    Pending,
    Unavailable,
)
from gatepost.policy.limits import Charged, Limit, LimitLevel

NOT_LISTED = Listing()
NOTHING_PENDING = Pending()
OWN_LIST = ListScope(True, domain=True)
NOT_COUNTED = HarvestLevel(0, 0, counts=False)
NO_WAIT = ArrivalWaits(0, 0)
HAS_MX = DomainDns("example.net", "mx")
NOT_ASKED = AddressAnswer("not asked", "there is nobody to ask")


def spf(result: Any, **changes: Any) -> SpfResult:
    return SpfResult(result, "example.net", reason="-all is about 192.0.2.7", **changes)


def path(text: str) -> Path:
    return parse_mailbox(text) if text else NULL_PATH


def session(**changes: Any) -> SessionFacts:
    """A stranger of mx, who greeted well."""
    values: dict[str, Any] = {
        "service": "mx",
        "hostname": "mx.example.org",
        "client_ip": "192.0.2.7",
        "helo": "client.example.net",
        "extended": True,
    }
    return SessionFacts(**{**values, **changes})


def connect(
    address: int = 1,
    prefix: int = 1,
    total: int = 1,
    *,
    access: Listing = NOT_LISTED,
    ban: Ban | Unavailable | None = None,
    arrivals: ArrivalWaits | Unavailable = NO_WAIT,
    **peer: Any,
) -> ConnectFacts:
    counts = ConnectionCounts(address, prefix, total)
    return ConnectFacts(session=session(**peer), access=access, ban=ban, connections=counts, arrivals=arrivals)


def banned(network: str = "192.0.2.7", by: str = "", until: float = 1_764_003_600.0) -> Ban:
    return Ban(network, "harvesting", until, "01ARZ3NDEKTSV4RRFFQ69G5FAV", by)


def helo(name: str = "client.example.net", *, well_formed: bool = True, literal: str = "", **peer: Any) -> HeloFacts:
    return HeloFacts(session=session(**peer), name=name, well_formed=well_formed, literal_ip=literal)


def auth(
    *, account_wait: float = 0, prefix_wait: float = 0, known_good: bool = False, in_session: int = 0, **peer: Any
) -> AuthFacts:
    levels = AttemptLevels(account_wait, prefix_wait, 0, known_good)
    given = {"service": "submission", "tls_version": "TLSv1.3", **peer}
    return AuthFacts(
        session=session(**given),
        mechanism="PLAIN",
        name="ada@example.org",
        failures_in_session=in_session,
        attempts=levels,
    )


def command(
    verb: str,
    *,
    idle: int = 0,
    wait: float = 0,
    counted: Any = "",
    scope: Any = OWN_LIST,
    **peer: Any,
) -> CommandFacts:
    levels = CommandLevels(wait, counted)
    return CommandFacts(session=session(**peer), verb=verb, idle=idle, levels=levels, scope=scope)


def dns(by: Any) -> DomainDns:
    return DomainDns("far.example", by)


def answer(says: Any) -> AddressAnswer:
    """What a mail host said about an address."""
    return AddressAnswer(says, "550 5.1.1 no such user at inner.example", "mx.far.example[192.0.2.25]:25")


def harvest(unknown: float, known: float = 0, **changes: Any) -> HarvestLevel:
    return HarvestLevel(unknown, known, **changes)


def mail(
    sender: str = "bob@example.net",
    *,
    allowed: bool = True,
    size: int | None = None,
    smtputf8: bool = False,
    ours: bool = False,
    spf: Any = None,
    allowances: Any = (),
    dns: Any = HAS_MX,
    callout: AddressAnswer = NOT_ASKED,
    **peer: Any,
) -> MailFacts:
    return MailFacts(
        session=session(**peer),
        reverse_path=path(sender),
        sender_allowed=allowed,
        sender_is_ours=ours,
        spf=spf,
        sender_dns=dns,
        callout=callout,
        allowances=allowances,
        size=size,
        smtputf8=smtputf8,
    )


def rcpt(
    recipient: str = "ada@example.org",
    resolution: Any = "account",
    *,
    accepted: int = 0,
    smtputf8: bool = False,
    carried: Any = (),
    harvest: Any = NOT_COUNTED,
    sender: str = "bob@example.net",
    size: int | None = None,
    allowances: Any = (),
    pending: Any = NOTHING_PENDING,
    unseen: Any = (),
    recipient_levels: Any = (),
    rooms: Any = (),
    list_standing: Any = None,
    seal: Any = None,
    dns: Any = HAS_MX,
    probe: AddressAnswer = NOT_ASKED,
    callout: AddressAnswer = NOT_ASKED,
    **peer: Any,
) -> RcptFacts:
    return RcptFacts(
        session=session(**peer),
        reverse_path=path(sender),
        forward_path=path(recipient),
        resolution=resolution,
        accepted=accepted,
        smtputf8=smtputf8,
        carried=carried,
        harvest=harvest,
        size=size,
        allowances=allowances,
        pending=pending,
        unseen=unseen,
        recipient_levels=recipient_levels,
        rooms=rooms,
        list_standing=list_standing,
        seal=seal,
        recipient_dns=dns,
        probe=probe,
        callout=callout,
    )


def level(
    unit: Any,
    used: float,
    quota: str = "200/1h",
    *,
    spare: float = 0.0,
    subject: Any = "account",
    of: str = "ada@example.org",
) -> LimitLevel:
    """How one limit of a sender stands."""
    rate = parse_octet_quota(quota) if unit == "octets" else parse_quota(quota)
    return LimitLevel(Limit(subject, of, unit, rate), used, spare)


def header(**changes: Any) -> HeaderFacts:
    values: dict[str, Any] = {
        "octets": 300,
        "fields": 8,
        "received": 2,
        "counts": {"from": 1, "date": 1, "message-id": 1},
    }
    return HeaderFacts(**{**values, **changes})


def message(
    sender: str = "bob@example.net",
    recipients: tuple[str, ...] = ("ada@example.org",),
    *,
    peer: dict[str, Any] | None = None,
    **changes: Any,
) -> MessageFacts:
    values: dict[str, Any] = {"octets": 2000, "header": header(), "from_": FromFacts(("ada@example.org",))}
    values["charged"] = Charged()
    values["account_hold"] = None
    values["sealed"] = None
    return MessageFacts(
        session=session(**(peer or {})),
        reverse_path=path(sender),
        recipients=tuple(path(each) for each in recipients),
        **{**values, **changes},
    )
