"""The configuration as one frozen value; `app` hands its parts to those that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from gatepost.accounts.model import Domain
from gatepost.audit.settings import AlertSettings, AuditSettings, DetectorSettings
from gatepost.config.problem import Problem
from gatepost.delivery.settings import DeliverySettings
from gatepost.intake.settings import IntakeSettings
from gatepost.mail.address import Path as MailPath
from gatepost.mail.network import NetworkSet
from gatepost.net.dns.settings import DnsSettings
from gatepost.net.listener import Listener
from gatepost.net.tls import TlsSettings
from gatepost.policy.check import CheckSettings
from gatepost.seal.rules import SealSettings
from gatepost.seal.settings import DiscoverySettings
from gatepost.spool.settings import SpoolSettings
from gatepost.standing.grants import GrantSettings


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What gatepost.toml says, checked.

    file: where it was read, absolute. data: absolute. user: whom to drop to, "" for nobody. trusted: never banned or
    greylisted; no right to relay. postmaster: None to keep that mail aside. workers: 1 or more. domains: by name
    (lower case, A-labels). policy: by the name of the check; absent ones have their defaults. delivery: complete but
    for `own`, which takes the addresses of the interfaces. spool: for one of the spools of `workers` workers.
    metrics_token: opens /metrics to whoever is not trusted, "" for nobody; grants_token: the same for POST /api/grants.
    warnings: what is legal and probably not meant.
    """

    file: Path
    hostname: str
    data: Path
    workers: int
    listeners: tuple[Listener, ...]
    user: str = ""
    trusted: NetworkSet = NetworkSet()
    postmaster: MailPath | None = None
    tls: TlsSettings = TlsSettings()
    domains: Mapping[str, Domain] = {}
    relay_networks: NetworkSet = NetworkSet()
    grants: GrantSettings = GrantSettings()
    policy: Mapping[str, CheckSettings] = {}
    delivery: DeliverySettings
    dns: DnsSettings = DnsSettings()
    intake: IntakeSettings = IntakeSettings()
    spool: SpoolSettings = SpoolSettings()
    audit: AuditSettings = AuditSettings()
    alerts: AlertSettings = AlertSettings()
    detectors: DetectorSettings = DetectorSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    sealing: SealSettings = SealSettings()
    metrics_token: str = ""
    grants_token: str = ""
    warnings: tuple[Problem, ...] = ()

    def __repr__(self) -> str:
        """Short: a settings value ends up in logs and tracebacks."""
        return f"Config({str(self.file)!r})"
