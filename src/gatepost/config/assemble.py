"""From tables to the one frozen value: each part's settings from the tables that speak of it.

Not here: what settings of several tables may not say together (`config.together`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from gatepost.accounts.model import Domain
from gatepost.audit.settings import AlertSettings, AuditSettings, DetectorSettings
from gatepost.config.declared import struct_of
from gatepost.config.files import Secret
from gatepost.config.model import Config
from gatepost.config.problem import Problems
from gatepost.config.schema import Alerts, Audit, Delivery, Dns, Limits, Relay, Seal, Spool, Submission, Tls
from gatepost.config.sealing import read_sealing
from gatepost.config.sections import Sections
from gatepost.config.together import check_together
from gatepost.delivery.schedule import Schedule
from gatepost.delivery.settings import DeliverySettings, HopUrl, Route, Smarthost
from gatepost.intake.settings import IntakeSettings
from gatepost.mail.network import NetworkSet
from gatepost.net.dns.settings import DnsSettings
from gatepost.net.listener import Listener
from gatepost.net.tls import TlsSettings
from gatepost.policy.check import CheckSettings
from gatepost.policy.checks import client_connections, message_size, recipient_count, sender_rate
from gatepost.seal.rules import SealSettings
from gatepost.seal.settings import METHODS, DiscoverySettings
from gatepost.spool.settings import SpoolSettings
from gatepost.standing.grants import GrantSettings


def assemble(sections: Sections, problems: Problems) -> Config | None:
    """The configuration, None when something is wrong: what was found in single tables before, or here."""
    check_together(sections, problems)
    sealing = read_sealing(sections.seal, problems) if sections.seal is not None else SealSettings()
    if problems.errors or sections.top is None:
        return None
    top = sections.top
    workers = top.workers or len(os.sched_getaffinity(0))
    return Config(
        file=problems.file,
        hostname=top.hostname,
        data=top.data,
        user=top.user,
        trusted=NetworkSet(top.trusted),
        postmaster=top.postmaster,
        workers=workers,
        listeners=tuple(
            Listener(str(listen.address), listen.service, listen.proxy_protocol, listen.xclient)
            for listen in sections.listen.values()
        ),
        tls=_tls(_given(sections.tls)),
        domains={
            name: Domain(name, hop_text(table.relay_to) if table.relay_to else "", table.cut_through)
            for name, (_, table) in sections.domain.items()
        },
        relay_networks=NetworkSet(_given(sections.relay).networks),
        grants=struct_of(_given(sections.relay).pop_before_smtp, GrantSettings()),
        policy=_policy(sections.policy, _given(sections.limits)),
        delivery=_delivery(top.hostname, sections),
        dns=_dns(_given(sections.dns)),
        intake=_intake(_given(sections.submission)),
        spool=_spool(_given(sections.limits), _given(sections.spool), workers),
        audit=_audit(_given(sections.audit)),
        alerts=_alerts(_given(sections.alerts)),
        detectors=struct_of(_given(sections.detectors), DetectorSettings()),
        discovery=_discovery(_given(sections.seal)),
        sealing=sealing,
        metrics_token=_token(_given(sections.admin).metrics_token),
        grants_token=_token(_given(sections.admin).grants_token),
        warnings=tuple(problems.warnings),
    )


def _given(section: Any) -> Any:
    assert section is not None  # a table that is not there has a mistake, and then we are not here
    return section


def _set(**values: Any) -> dict[str, Any]:
    """Those that the file sets; the others keep the default of the part."""
    return {name: value for name, value in values.items() if value is not None}


def _tls(tls: Tls) -> TlsSettings:
    first = [(tls.certificate, tls.key)] if "certificate" in tls.model_fields_set else []
    client_ca = tls.client_ca if "client_ca" in tls.model_fields_set else None
    return TlsSettings((*first, *((table.certificate, table.key) for table in tls.sni)), client_ca)


def _policy(tables: Mapping[str, CheckSettings], limits: Limits) -> dict[str, CheckSettings]:
    """The checks' tables, with `[limits]` in them; the same setting in both places has been refused."""
    settings = dict(tables)
    connections = limits.connections
    for check, values in (
        (message_size.CHECK, _set(limit=limits.message_size)),
        (recipient_count.CHECK, _set(limit=limits.recipients)),
        (
            client_connections.CHECK,
            _set(total=connections.total, per_address=connections.per_address, per_prefix=connections.per_prefix),
        ),
    ):
        if values:
            settings[check.name] = msgspec.structs.replace(settings.get(check.name, check.settings), **values)
    if limits.account.model_fields_set:
        rates = settings.get(sender_rate.NAME, sender_rate.CHECK.settings)
        assert isinstance(rates, sender_rate.Settings)
        settings[sender_rate.NAME] = msgspec.structs.replace(rates, account=struct_of(limits.account, rates.account))
    return settings


def _delivery(hostname: str, sections: Sections) -> DeliverySettings:
    table: Delivery = _given(sections.delivery)
    relay: Relay = _given(sections.relay)
    times = _set(
        lifetime=table.lifetime, first=table.first_retry, longest=table.longest_retry, delay_notice=table.delay_notice
    )
    connections = table.connections
    return DeliverySettings(
        hostname=hostname,
        schedule=Schedule(**{name: timedelta(seconds=seconds) for name, seconds in times.items()}),
        source=tuple(table.source),
        ipv6=table.ipv6,
        private=table.private,
        paused=table.paused,
        routes={name: Route(route.to, route.tls) for name, (_, route) in sections.route.items()},  # type: ignore[arg-type]  # one of its words
        relay_to={name: domain.relay_to for name, (_, domain) in sections.domain.items() if domain.relay_to},
        smarthost=Smarthost(relay.smarthost, relay.smarthost_password.text if relay.smarthost_password else "")
        if relay.smarthost
        else None,
        **_set(
            total=connections.total,
            per_destination=connections.per_destination,
            per_address=connections.per_address,
        ),
    )


def hop_text(hop: HopUrl) -> str:
    """A next hop as a person writes it."""
    if hop.host.startswith("unix:"):
        return f"lmtp:{hop.host}"
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return f"{hop.protocol}://{host}:{hop.port}"


def _dns(table: Dns) -> DnsSettings:
    return DnsSettings(tuple(table.resolvers), table.validating, **_set(timeout=table.timeout))


def _intake(table: Submission) -> IntakeSettings:
    return IntakeSettings(received_address=table.received_address)


def _discovery(table: Seal) -> DiscoverySettings:
    return DiscoverySettings(
        tuple(method for method in METHODS if method in table.discovery),
        table.cache,
        table.cache_absence,
        table.timeout,
    )


def _audit(table: Audit) -> AuditSettings:
    return AuditSettings(table.keep)


def _alerts(table: Alerts) -> AlertSettings:
    return AlertSettings(
        mail=table.mail, webhook=table.webhook, token=_token(table.webhook_token), private=table.webhook_private
    )


def _token(secret: Secret | None) -> str:
    return secret.text if secret else ""


def _spool(limits: Limits, spool: Spool, workers: int) -> SpoolSettings:
    """Each worker has a spool of its own; what the file grants is for all of them together."""
    share = max(1, limits.spool // workers) if limits.spool is not None else None
    room = _set(size_limit_octets=share, free_limit_octets=limits.free_disk, memory_octets=limits.content_memory)
    return SpoolSettings(key=_token(spool.key), previous_keys=tuple(key.text for key in spool.previous_keys), **room)
