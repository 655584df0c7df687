"""How long the configured resolvers take for names that they cannot have remembered."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.app.benchmark.measured import Dns
from gatepost.net.clock import SystemClock
from gatepost.net.dns.resolver import DnsResolver
from gatepost.net.dns.servers import system_servers
from gatepost.net.dns.settings import DnsSettings
from gatepost.ports.resolver import Outcome

ASKED: Final = 5
WAIT_SECONDS: Final = 5.0


async def latencies(settings: DnsSettings, domain: str) -> list[Dns]:
    """One entry for each resolver, in their order. domain: below it names are asked that nobody ever asked."""
    servers: Sequence[str] = settings.resolvers or tuple(map(str, system_servers()))
    return [await _latency(settings, server, domain) for server in servers]


async def _latency(settings: DnsSettings, server: str, domain: str) -> Dns:
    one = msgspec.structs.replace(settings, resolvers=(server,), timeout=min(settings.timeout, WAIT_SECONDS))
    resolver = DnsResolver(one, SystemClock())
    taken: list[float] = []
    failed = 0
    try:
        for _ in range(ASKED):
            began = time.perf_counter()
            answer = await resolver.query(f"{secrets.token_hex(6)}.{domain}", "A")
            if answer.outcome is Outcome.FAILED:
                failed += 1
                if failed > 1:  # it will not get better, and a person waits
                    break
            else:
                taken.append((time.perf_counter() - began) * 1000)
    finally:
        await resolver.aclose()
    return Dns(
        server, len(taken) + failed, failed, statistics.median(taken) if taken else 0.0, max(taken, default=0.0)
    )  # fmt: skip
