"""The tables and keys of gatepost.toml and their types, one model for each table.

A key that is absent from the file has the default that stands here, or the one of the part that it is for (`None`).
Not here: what several keys mean together (`config.checked`), and the tables of checks, whose keys the checks declare
(`config.policy`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field, PlainValidator

from gatepost.audit.settings import AuditSettings, DetectorSettings
from gatepost.config.declared import model_of
from gatepost.config.files import FileName, Secret, read_secret
from gatepost.config.hosts import (
    HostnameText,
    IpText,
    NetworkText,
    ResolverText,
    UserText,
    next_hop,
    no_strangers,
    read_domain,
    read_https_url,
    read_mailbox,
)
from gatepost.config.listen import SERVICES, UNBUILT_SERVICES, Address, read_address
from gatepost.config.locate import DATA
from gatepost.config.table import Table
from gatepost.config.texts import Count, DurationText, SizeText, Switch, choice, counted, sized
from gatepost.delivery.settings import HopUrl
from gatepost.mail.address import Path as MailPath
from gatepost.policy.limits import Allowance
from gatepost.seal.rules import SealRule
from gatepost.seal.settings import METHODS, DiscoverySettings
from gatepost.standing.grants import GrantSettings

MAX_WORKERS: Final = 256
LEAST_RECIPIENTS: Final = 100  # RFC 5321 §4.5.3.1.8
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class Top(Table):
    """What stands before the first table."""

    hostname: HostnameText
    data: FileName = DATA
    user: UserText = ""
    trusted: Annotated[list[NetworkText], AfterValidator(no_strangers("their hosts could pose as others"))] = Field(
        default_factory=lambda: list(LOOPBACK)
    )
    postmaster: Annotated[MailPath | None, PlainValidator(read_mailbox)] = None
    workers: Annotated[int, PlainValidator(counted(1, MAX_WORKERS))] = 0


class Listen(Table):
    """`[[listen]]`"""

    address: Annotated[Address, PlainValidator(read_address)]
    service: Annotated[str, PlainValidator(choice(SERVICES, UNBUILT_SERVICES))]
    proxy_protocol: Switch = False
    xclient: Switch = False


class CertificateTable(Table):
    """`[[tls.sni]]`: a further certificate, for the names that stand in it."""

    certificate: FileName
    key: FileName


class Tls(Table):
    """`[tls]`"""

    certificate: FileName = Path()
    key: FileName = Path()
    client_ca: FileName = Path()
    sni: list[CertificateTable] = Field(default_factory=list)


class DomainTable(Table):
    """`[domain."example.org"]`"""

    relay_to: Annotated[HopUrl | None, PlainValidator(next_hop(("smtp", "smtps", "lmtp"), ("http", "https")))] = None
    cut_through: Switch = False


if TYPE_CHECKING:
    PopBeforeSmtp = Table
else:
    PopBeforeSmtp = model_of(GrantSettings)


class Relay(Table):
    """`[relay]`"""

    networks: Annotated[list[NetworkText], AfterValidator(no_strangers("this would be an open relay"))] = Field(
        default_factory=list
    )
    smarthost: Annotated[HopUrl | None, PlainValidator(next_hop(("smtp", "smtps"), login=True))] = None
    smarthost_password: Annotated[Secret | None, PlainValidator(read_secret)] = None
    pop_before_smtp: PopBeforeSmtp = PopBeforeSmtp()


class RouteTable(Table):
    """`[route."partner.example"]`"""

    to: Annotated[HopUrl, PlainValidator(next_hop(("smtp", "smtps", "lmtp")))]
    tls: Annotated[str, PlainValidator(choice(("may", "encrypt", "verify"), ("dane",)))] = "may"


class Connections(Table):
    """`limits.connections`; an absent key has the default of the check `client.connections`."""

    total: Count | None = None
    per_address: Count | None = None
    per_prefix: Count | None = None


if TYPE_CHECKING:
    AccountAllowance = Table
    Detectors = Table
else:
    Detectors = model_of(DetectorSettings)  # `[detectors]`, as the detectors declare it
    AccountAllowance = model_of(Allowance)  # `[limits.account]`, with the keys that `sender.rate` declares


class Limits(Table):
    """`[limits]`: the short way to the settings of four checks, and the room that the spool may take."""

    message_size: SizeText | None = None
    recipients: Annotated[
        int | None, PlainValidator(counted(LEAST_RECIPIENTS, why="; RFC 5321 allows no lower limit"))
    ] = None
    connections: Connections = Connections()
    account: AccountAllowance = AccountAllowance()
    spool: SizeText | None = None
    free_disk: SizeText | None = None
    content_memory: Annotated[
        int | None, PlainValidator(sized("1MiB", "no header section would fit in while others arrive"))
    ] = None


class DeliveryConnections(Table):
    """`delivery.connections`"""

    total: Count | None = None
    per_destination: Count | None = None
    per_address: Count | None = None


class Delivery(Table):
    """`[delivery]`"""

    lifetime: DurationText | None = None
    first_retry: DurationText | None = None
    longest_retry: DurationText | None = None
    delay_notice: DurationText | None = None
    source: list[IpText] = Field(default_factory=list)
    ipv6: Switch = True
    private: Switch = False
    paused: Switch = False
    connections: DeliveryConnections = DeliveryConnections()


class Dns(Table):
    """`[dns]`"""

    resolvers: list[ResolverText] = Field(default_factory=list)
    validating: Switch = False
    timeout: DurationText | None = None


class Audit(Table):
    """`[audit]`"""

    keep: DurationText = AuditSettings().keep


class Alerts(Table):
    """`[alerts]`"""

    mail: Switch = True
    webhook: Annotated[str, PlainValidator(read_https_url)] = ""
    webhook_token: Annotated[Secret | None, PlainValidator(read_secret)] = None
    webhook_private: Switch = False


class Admin(Table):
    """`[admin]`"""

    metrics_token: Annotated[Secret | None, PlainValidator(read_secret)] = None
    grants_token: Annotated[Secret | None, PlainValidator(read_secret)] = None


if TYPE_CHECKING:
    SealRuleTable = Table
else:
    SealRuleTable = model_of(SealRule)  # `[[seal.rule]]`, as the gate declares it


class SignerTable(Table):
    """`[[seal.signer]]`"""

    domain: Annotated[str, PlainValidator(read_domain)]
    key: FileName
    passphrase: Annotated[Secret | None, PlainValidator(read_secret)] = None


class Seal(Table):
    """`[seal]`"""

    discovery: list[Annotated[str, PlainValidator(choice(METHODS))]] = Field(
        default_factory=lambda: [*map(str, METHODS)]
    )
    cache: DurationText = DiscoverySettings().cache
    cache_absence: DurationText = DiscoverySettings().cache_absence
    timeout: DurationText = DiscoverySettings().timeout
    rule: list[SealRuleTable] = Field(default_factory=list)
    signer: list[SignerTable] = Field(default_factory=list)


class Spool(Table):
    """`[spool]`"""

    key: Annotated[Secret | None, PlainValidator(read_secret)] = None
    previous_keys: list[Annotated[Secret, PlainValidator(read_secret)]] = Field(default_factory=list)


class Submission(Table):
    """`[submission]`"""

    received_address: Switch = False


TABLES: Final[dict[str, type[Table]]] = {
    "tls": Tls, "relay": Relay, "limits": Limits, "delivery": Delivery, "dns": Dns, "audit": Audit,
    "alerts": Alerts, "detectors": Detectors, "admin": Admin, "submission": Submission,
    "seal": Seal, "spool": Spool,
}  # fmt: skip
"""The tables that stand once, by name."""
ARRAYS: Final[dict[str, type[Table]]] = {"listen": Listen}
NAMED: Final[dict[str, type[Table]]] = {"domain": DomainTable, "route": RouteTable}
"""Tables of tables, one for each domain."""
POLICY: Final = "policy"
UNBUILT: Final = (
    ("policy", "rule"), ("audit", "anchor"), ("audit", "mask"), ("cluster",),
)  # fmt: skip
"""What the manual of a later version describes: refused in words of its own, as a key that does nothing is a lie."""
