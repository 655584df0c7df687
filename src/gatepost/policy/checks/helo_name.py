"""`helo.name`: what a peer calls itself (RFC 5321 §4.1.1.1, §4.1.4)."""

from __future__ import annotations

from typing import Literal

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step, spoken_at_rcpt
from gatepost.policy.facts import HeloFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "helo.name"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """refuse_at: when a refusal for the name's content is spoken; one for its syntax is spoken at once."""

    refuse_at: Literal["helo", "rcpt"] = "rcpt"


def decide(facts: HeloFacts, settings: Settings) -> Verdict | None:
    """Syntax first; then nobody but ourselves is called as we are, and an address literal is the peer's own.

    A name that does not resolve is no reason to refuse (§4.1.4). An underscore in a label passes.
    """
    if not facts.well_formed:
        return Verdict(NAME, Reply(501, "", "Syntax: a host name or an address literal such as [192.0.2.1] is needed"),
                       "the name is neither a domain nor an address literal")  # fmt: skip
    session = facts.session
    later = settings.refuse_at == "rcpt"
    # A program of this machine says our own name rightly, and so may a trusted peer that stands for us.
    if facts.name.lower().rstrip(".") == session.hostname and not (session.is_loopback or session.trusted):
        return Verdict(NAME, Reply(550, "5.7.1", "That name is ours: greet with your own host name"),
                       f"the peer calls itself {session.hostname}, which is this server", later=later)  # fmt: skip
    return None


def literal(facts: HeloFacts, settings: Settings) -> Verdict | None:
    """An address literal that names another address than the peer's (devices behind NAT do that honestly)."""
    if facts.literal_ip and facts.session.client_ip and facts.literal_ip != facts.session.client_ip:
        return Verdict(NAME, Reply(550, "5.7.1", "The address in your greeting is not the one you connect from"),
                       f"greets as [{facts.literal_ip}] from {facts.session.client_ip}")  # fmt: skip
    return None


READS = ("name", "session.client_ip")
CHECK = Check(
    NAME,
    "the name a peer greets with: syntax, and nobody is called as we are",
    (
        Step(Stage.HELO, decide, reads=READS),
        Step(Stage.HELO, literal, reads=READS, only_noted=True),
        spoken_at_rcpt(NAME),
    ),
    dict.fromkeys(("mx", "lmtp"), "enforce"),
    Settings(),
    strangers_only=True,
)
