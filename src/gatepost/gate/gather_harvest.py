"""The gatherer of `recipient.harvest`: how many recipients of a peer exist, and how many do not.

Those that exist are counted in the session and told to `standing` together with the next one that does not, or with
the end of the connection: an honest message costs no transaction of its own for this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from gatepost.accounts.addresses import key_of, without_detail
from gatepost.gate.later import had, then
from gatepost.gate.probes import probe
from gatepost.mail.address import AddressError
from gatepost.mail.network import holder_of
from gatepost.policy.checks import recipient_harvest
from gatepost.policy.facts import RcptFacts
from gatepost.policy.findings import AddressAnswer, HarvestLevel, Unavailable
from gatepost.standing.port import Charge, Level, Operation, Peek, Rate, Result

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

NOT_COUNTED: Final = HarvestLevel(0.0, 0.0, counts=False)
MAX_KNOWN: Final = 10_000  # recipients that are counted as existing; more tell nothing new about a share


def harvest(session: GateSession, facts: RcptFacts) -> Any:
    """The peer's level, this recipient counted; at once, and not counted, for one that exists and is no decoy."""
    settings = session.parts.policy.settings_of(recipient_harvest.CHECK)
    assert isinstance(settings, recipient_harvest.Settings)
    if isinstance(facts.resolution, Unavailable):
        return NOT_COUNTED  # it is deferred; nothing is known about it
    if facts.resolution == "relay" and facts.probe is UNSET:
        asked = probe(session, facts)  # remembered: `recipient.exists` finds it there
        return then(asked, lambda answer: harvest(session, msgspec.structs.replace(facts, probe=answer)))
    decoy = bool(settings.decoys) and is_decoy(facts, settings.decoys)
    is_unknown = facts.resolution == "unknown" or (isinstance(facts.probe, AddressAnswer) and facts.probe.says == "no")
    if not is_unknown and not decoy:
        if facts.is_ours and not session.only_asks:
            session.known_recipients += 1
        return NOT_COUNTED
    if session.facts.trusted:
        return NOT_COUNTED
    who, rate = _who(session), _rate(settings)
    cost = min(settings.decoy_cost if decoy else 1, rate.units)
    if session.only_asks:
        operations: list[Operation] = [Peek(_unknown(who), rate, cost), Peek(_known(who), _known_rate(rate), 0)]
    else:
        operations = [Charge(_unknown(who), rate, cost), _known_charge(session, who, rate)]
    parts = session.parts

    def levels(results: list[Result]) -> HarvestLevel:
        unknown, known = results
        assert isinstance(unknown, Level)
        assert isinstance(known, Level)
        used = unknown.used + (cost if not unknown.allowed else 0)
        return HarvestLevel(used, known.used, is_full=not unknown.allowed, decoy=decoy)

    return had(lambda: parts.standing.tally(operations, parts.clock.unix()), levels)


def left_to_count(session: GateSession) -> list[Operation]:
    """What is to be counted when the connection ends."""
    if not session.known_recipients or session.facts.trusted:
        return []
    settings = session.parts.policy.settings_of(recipient_harvest.CHECK)
    assert isinstance(settings, recipient_harvest.Settings)
    return [_known_charge(session, _who(session), _rate(settings))]


def is_decoy(facts: RcptFacts, decoys: tuple[str, ...]) -> bool:
    """Whether the forward-path is one of the decoys, or a detail of one."""
    try:
        key = key_of(facts.forward_path)
    except AddressError:
        return False
    return key in decoys or without_detail(key) in decoys


def _known_charge(session: GateSession, who: str, rate: Rate) -> Charge:
    known, session.known_recipients = session.known_recipients, 0
    return Charge(_known(who), _known_rate(rate), min(known, MAX_KNOWN))


def _who(session: GateSession) -> str:
    account, ip = session.facts.account, session.peer.ip
    return account or (holder_of(ip) if ip else "unix")


def _rate(settings: recipient_harvest.Settings) -> Rate:
    return Rate(settings.limit.units, settings.limit.period)


def _known_rate(rate: Rate) -> Rate:
    """Counted over the same time, so that the two can be compared."""
    return Rate(MAX_KNOWN, rate.period)


def _unknown(who: str) -> str:
    return f"harvest:no:{who}"


def _known(who: str) -> str:
    return f"harvest:yes:{who}"
