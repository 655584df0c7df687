"""`recipient.harvest`: a peer that tries names is slowed down, then sent away and banned."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gatepost.mail.reply import Reply
from gatepost.mail.units import AddressText, DurationOrNone, Quota, show_quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, RcptFacts, Stage
from gatepost.policy.findings import HarvestLevel
from gatepost.policy.verdict import Verdict

NAME = "recipient.harvest"
TOO_MANY: Final = Reply(421, "4.7.0", "Too many recipients that do not exist, try again later")


class Settings(CheckSettings, frozen=True, kw_only=True):
    """limit: unknown recipients of one peer, an address or /64 (of one account, when it has logged in). free: so many
    of them are answered at once; from then on each answer waits, `wait` longer for each, up to `longest_wait`.
    share: percent of all the peer's recipients that must be unknown before it is sent away: an old list of
    subscribers has some, a harvester little else. decoys: addresses that only a harvester knows. decoy_cost: what
    naming one counts. ban: how long the peer is banned; zero for not at all."""

    limit: Quota = Quota(30, 3600.0)
    free: int = 5
    wait: DurationOrNone = 2.0
    longest_wait: DurationOrNone = 20.0
    share: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    decoys: tuple[AddressText, ...] = ()
    decoy_cost: int = 15
    ban: DurationOrNone = 3600.0


def decide(facts: RcptFacts, settings: Settings) -> Verdict | None:
    """Only an unknown recipient, or a decoy, is slowed down or refused here. A peer that may relay is never banned: it
    is known, and its own limits are `sender.rate`'s. `trusted` peers pass: they bring the mail of others. Without
    counters nobody is held up."""
    level = facts.harvest
    if not isinstance(level, HarvestLevel) or not level.counts or facts.session.trusted:
        return None
    percent = 100.0 * level.unknown / max(level.unknown + level.known, 1.0)
    if level.is_full and (percent >= settings.share or level.decoy):
        what = "a decoy and " if level.decoy else ""
        reason = f"{what}{level.unknown:.0f} unknown recipients, {percent:.0f} % of all; {show_quota(settings.limit)}"
        ban = 0.0 if facts.session.may_relay_by else settings.ban
        return Verdict(NAME, TOO_MANY, f"{reason} are allowed", close=True, ban=ban)
    over = level.unknown - settings.free
    if over <= 0:
        return None
    seconds = min(over * settings.wait, settings.longest_wait)
    return Verdict(NAME, TOO_MANY, f"{level.unknown:.0f} unknown recipients", action="slow", wait=seconds)


CHECK = Check(
    NAME,
    "many recipients that do not exist: slow down, then ban",
    (
        Step(
            Stage.RCPT, decide, needs=("resolution", "harvest"), reads=("session.client_ip", "forward_path", "harvest")
        ),
    ),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
