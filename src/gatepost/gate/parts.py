"""What every session shares, joined once per worker by the wiring."""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.accounts.authentication import Authenticator
from gatepost.accounts.directory import Directory
from gatepost.audit.event import Recorder
from gatepost.mail.network import NetworkSet
from gatepost.policy.engine import Policy
from gatepost.ports.clock import Clock, Ids
from gatepost.standing.port import StandingStore


@dataclass(frozen=True)
class GateParts:
    """The gate's tools.

    trusted: never banned, may use XCLIENT and PROXY; no right to relay. relay_networks: may relay without a login.
    secret: keys the hashes of what must be recognised but not read (login names of unknown accounts).
    """

    hostname: str
    policy: Policy
    directory: Directory
    authenticator: Authenticator
    standing: StandingStore
    recorder: Recorder
    clock: Clock
    ids: Ids
    secret: bytes
    trusted: NetworkSet
    relay_networks: NetworkSet
