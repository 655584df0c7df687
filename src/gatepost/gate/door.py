"""Who may start a session, joined for one worker: tables, bans, gateways, floods, and what they need to be kept up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gatepost.audit.event import Recorder
from gatepost.gate.access import AccessTables
from gatepost.gate.bans import Bans
from gatepost.gate.expelling import Expelling
from gatepost.gate.flood import Floods
from gatepost.gate.gateway import Gateways
from gatepost.gate.shedding import Shedding
from gatepost.mail.network import NetworkSet
from gatepost.policy.checks import client_access
from gatepost.policy.engine import Policy
from gatepost.ports.clock import Clock, Ids
from gatepost.ports.resolver import Resolver
from gatepost.standing.port import StandingStore

Report = Callable[[str, str], None]
"""Puts an alert on the record: what it is about, and the problem in words for the operator."""


class Door:
    """The parts of `gate.parts.GateParts` that decide who starts a session."""

    def __init__(
        self,
        policy: Policy,
        standing: StandingStore,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
        *,
        trusted: NetworkSet,
        resolver: Resolver,
        report: Report,
    ) -> None:
        settings = policy.settings_of(client_access.CHECK)
        assert isinstance(settings, client_access.Settings)
        self.access = AccessTables(settings, resolver, lambda problem: report(client_access.NAME, problem))
        self.bans = Bans(standing, recorder, clock, ids, trusted)
        self.gateways = Gateways(standing, clock, lambda problem: report("gateway", problem))
        self.floods = Floods(recorder, clock, ids)
        self.shedding = Shedding(recorder, clock, ids)
        self.expelling = Expelling(policy, self.bans, standing, clock)
        self._watching: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Returns when the tables are read; no connection may be accepted before. Raises AccessError."""
        await self.access.load()
        loop = asyncio.get_running_loop()
        self._watching.append(loop.create_task(self.expelling.watch()))
        if self.access.has_files:
            self._watching.append(loop.create_task(self.access.watch()))

    async def keep(self) -> None:
        """What is due every few seconds. Raises StandingError."""
        self.floods.flush()
        self.shedding.flush()
        await self.gateways.review()

    async def close(self) -> None:
        """What is still counted goes on the record."""
        self.floods.close()
        self.shedding.close()
        for task in self._watching:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
