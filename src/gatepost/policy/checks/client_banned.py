"""`client.banned`: a ban that a detector or an administrator laid, until it ends."""

from __future__ import annotations

from datetime import UTC, datetime

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, ConnectFacts, Stage
from gatepost.policy.findings import Ban
from gatepost.policy.verdict import Verdict

NAME = "client.banned"


def decide(facts: ConnectFacts, settings: CheckSettings) -> Verdict | None:
    """A person's ban is meant for good (554); a detector may have met somebody behind the same address, whose mail
    waits in its queue until the ban ends (421). Where bans cannot be read nobody is taken for banned."""
    ban = facts.ban
    if not isinstance(ban, Ban) or facts.session.trusted:
        return None
    end = datetime.fromtimestamp(ban.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if ban.by_hand:
        text = f"Your network is banned until {end}; if that is wrong, tell the postmaster by other means"
        reply = Reply(554, "5.7.1", text)
    else:
        reply = Reply(421, "4.7.0", f"Your network is banned for abuse until {end}; try again after that")
    return Verdict(NAME, reply, f"{ban.network} is banned until {end}: {ban.reason}", close=True)


CHECK = Check(
    NAME,
    "a ban with its reason and end, laid by detectors or by hand",
    (Step(Stage.CONNECT, decide, needs=("ban",), reads=("session.client_ip", "ban")),),
    dict.fromkeys(SERVICES, "enforce"),
)
