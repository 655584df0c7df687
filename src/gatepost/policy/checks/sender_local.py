"""`sender.local`: a stranger does not send as one of us."""

from __future__ import annotations

from gatepost.mail.network import NetworkSet
from gatepost.mail.reply import Reply
from gatepost.mail.units import NetworkText
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "sender.local"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """networks: strangers that may write our domains into the envelope all the same (a service that sends newsletters
    for us), as CIDR. It gives them no right to relay."""

    networks: tuple[NetworkText, ...] = ()


def decide(facts: MailFacts, settings: Settings) -> Verdict | None:
    """Our domains, and this host's own name. Programs of this machine and other `trusted` peers pass, as they do where
    they call themselves by our name; so does whom the domain's own SPF record names."""
    session = facts.session
    if not facts.sender_is_ours or session.trusted or (facts.spf and facts.spf.result == "pass"):
        return None
    if settings.networks and session.client_ip in NetworkSet(settings.networks):
        return None
    if session.grant_unknown:
        return Verdict(NAME, Reply(451, "4.3.0", "Temporary failure, try again later"), session.grant_unknown)
    return Verdict(NAME, Reply(550, "5.7.1", "That sender is an address of this server: log in to use it"),
                   f"a stranger sends as {facts.reverse_path}, and {facts.reverse_path.domain} is ours")  # fmt: skip


CHECK = Check(
    NAME,
    "a stranger does not claim one of our domains as sender",
    (Step(Stage.MAIL, decide, needs=("sender_is_ours", "spf"), reads=("session.client_ip", "reverse_path", "spf")),),
    {"mx": "enforce"},
    Settings(),
    strangers_only=True,
)
