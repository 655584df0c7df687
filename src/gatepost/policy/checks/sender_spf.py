"""`sender.spf`: the domain of the sender lets the peer send in its name (RFC 7208)."""

from __future__ import annotations

from typing import Final, Literal

from gatepost.mail.reply import Reply
from gatepost.mail.spf import SpfResult
from gatepost.mail.text import printable
from gatepost.mail.units import Duration
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "sender.spf"
Refusable = Literal["fail", "softfail", "permerror", "temperror"]
REFUSABLE: Final[tuple[Refusable, ...]] = ("fail", "softfail", "permerror", "temperror")
WAITING: Final = ("fail", "softfail")  # a signature may say more than they do


class Settings(CheckSettings, frozen=True, kw_only=True):
    """refuse: results that refuse; the others are noted. explain: whether the peer hears what the domain says about a
    fail. timeout: until a result must be there (RFC 7208 §4.6.4: 20 s or more)."""

    refuse: tuple[Refusable, ...] = ("fail",)
    explain: bool = False
    timeout: Duration = 20.0


def waits(found: SpfResult | None, settings: Settings) -> bool:
    """Whether it refuses only once the content is there: the domain has a DMARC record, so an aligned signature counts
    as much, and forwarded mail may have one (RFC 7489 §10.1)."""
    return found is not None and found.has_dmarc and found.result in WAITING and found.result in settings.refuse


def decide(facts: MailFacts, settings: Settings) -> Verdict | None:
    """A result that refuses, and does not wait."""
    found = facts.spf
    if not isinstance(found, SpfResult) or found.result not in settings.refuse or waits(found, settings):
        return None
    return _refusal(found, settings)


def note(facts: MailFacts, settings: Settings) -> Verdict | None:
    """A result that would refuse if the settings said so."""
    found = facts.spf
    if not isinstance(found, SpfResult) or found.result not in REFUSABLE or found.result in settings.refuse:
        return None
    return _refusal(found, settings)


def decide_content(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """A result that waited, and that no aligned signature excuses."""
    found = facts.spf
    if found is None or not waits(found, settings) or facts.spf_excuse:
        return None
    return _refusal(found, settings, "; no aligned DKIM signature excuses it")


def _refusal(found: SpfResult, settings: Settings, more: str = "") -> Verdict:
    domain = printable(found.domain, 100)
    match found.result:
        case "temperror":
            text = f"The SPF record of {domain} cannot be looked up now, try again later"
            reply = Reply(451, "4.7.24", text)  # RFC 7372 §3.2
        case "permerror":
            reply = Reply(550, "5.7.24", f"The SPF record of {domain} is in error; its postmaster can mend it")
        case _:
            text = f"The SPF record of {domain} does not let your address send in its name"
            said = f" ({domain} says: {found.explanation})" if settings.explain and found.explanation else ""
            reply = Reply(550, "5.7.23", text + said)  # RFC 7372 §3.1
    return Verdict(NAME, reply, f"SPF {found.result} for {domain}: {found.reason}{more}")


_READS: Final = ("session.client_ip", "session.helo", "reverse_path", "spf")
CHECK = Check(
    NAME,
    "the sender's domain lets this peer send in its name (SPF)",
    (
        Step(Stage.MAIL, decide, needs=("spf",), reads=_READS),
        Step(Stage.MAIL, note, needs=("spf",), reads=_READS, only_noted=True),
        # Behind what looks at the content for its own sake; `last`, though it counts nothing: it costs a look-up.
        Step(Stage.MESSAGE, decide_content, needs=("spf_excuse",), reads=(*_READS, "header.authors"), last=True),
    ),
    {"mx": "enforce"},
    Settings(),
    strangers_only=True,
)
