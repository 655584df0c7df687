"""`client.connections`: how many connections one address, one network and all peers together may have at once."""

from __future__ import annotations

from typing import Final

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, ConnectFacts, Stage
from gatepost.policy.findings import ConnectionCounts
from gatepost.policy.verdict import Verdict

NAME = "client.connections"


FULL: Final = Reply(421, "4.3.2", "Too many connections, try again later")
"""What peers hear when it is not their own number that is too high."""


class Settings(CheckSettings, frozen=True, kw_only=True):
    """total: in all workers together. per_address, per_prefix (/24 or /64): `trusted` peers have no such limit."""

    total: int = 20000
    per_address: int = 50
    per_prefix: int = 200


def decide(facts: ConnectFacts, settings: Settings) -> Verdict | None:
    """Over a limit: 421, and the peer tries later. Without counters nobody is refused: a limit is no reason to lose
    mail."""
    counts = facts.connections
    if not isinstance(counts, ConnectionCounts):
        return None
    if counts.total > settings.total:
        return Verdict(NAME, FULL, f"{counts.total} connections in all, {settings.total} are allowed", close=True)
    if facts.session.trusted:
        return None
    busy = Reply(421, "4.7.0", "Too many connections from your network, try again later")
    if counts.address > settings.per_address:
        reason = f"{counts.address} connections from this address, {settings.per_address} are allowed"
        return Verdict(NAME, busy, reason, close=True)
    if counts.prefix > settings.per_prefix:
        reason = f"{counts.prefix} connections from this network, {settings.per_prefix} are allowed"
        return Verdict(NAME, busy, reason, close=True)
    return None


CHECK = Check(
    NAME,
    "connections at once per address, per /24 or /64, and in all",
    (Step(Stage.CONNECT, decide, needs=("connections",), reads=("session.client_ip", "connections")),),
    dict.fromkeys(SERVICES, "enforce"),
    Settings(),
)
