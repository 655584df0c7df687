"""`client.rate`: how many new connections one address and one network may make in a period."""

from __future__ import annotations

from math import ceil, isfinite

from gatepost.mail.reply import Reply
from gatepost.mail.units import Quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, ConnectFacts, Stage
from gatepost.policy.findings import ArrivalWaits
from gatepost.policy.verdict import Verdict

NAME = "client.rate"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """per_address; per_prefix: from one /24 or /64. `trusted` peers have no such limit."""

    per_address: Quota = Quota(120, 60.0)
    per_prefix: Quota = Quota(480, 60.0)


def decide(facts: ConnectFacts, settings: Settings) -> Verdict | None:
    """Over a rate: 421, and when to come back. Without counters nobody is refused: a limit is no reason to lose
    mail."""
    waits = facts.arrivals
    if not isinstance(waits, ArrivalWaits) or facts.session.trusted:
        return None
    for wait, quota, whence in (
        (waits.address, settings.per_address, "this address"),
        (waits.prefix, settings.per_prefix, "this network"),
    ):
        if wait > 0:
            seconds = ceil(wait) if isfinite(wait) else ceil(quota.period)
            text = f"Too many new connections from your network, try again in {seconds} seconds"
            reason = f"more than {quota.units} new connections in {quota.period:g} seconds from {whence}"
            return Verdict(NAME, Reply(421, "4.7.0", text), reason, close=True)
    return None


CHECK = Check(
    NAME,
    "new connections per period, per address and per /24 or /64",
    (Step(Stage.CONNECT, decide, needs=("arrivals",), reads=("session.client_ip", "arrivals")),),
    dict.fromkeys(SERVICES, "enforce"),
    Settings(),
)
