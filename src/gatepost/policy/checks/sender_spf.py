"""`sender.spf`: the domain of the sender lets the peer send in its name (RFC 7208)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from gatepost.mail.dkim import DkimResult
from gatepost.mail.reply import Reply
from gatepost.mail.spf import SpfResult
from gatepost.mail.text import printable
from gatepost.mail.units import Duration
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "sender.spf"
Refusable = Literal["fail", "softfail", "permerror", "temperror"]
_NOTHING: Final = Reply(250, "2.1.0", "Sender ok")  # nobody hears it: a note refuses nothing
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
    """A refusal where the settings want one; whatever else was found is noted, and what waits for the content."""
    found = facts.spf
    if not isinstance(found, SpfResult):
        return None
    if found.result not in settings.refuse:
        return _note(found)
    if waits(found, settings):
        return _note(found, "; a DMARC record lets it wait for the content")
    return _refusal(found, settings)


def decide_content(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """What waited is refused, unless an aligned signature excuses it."""
    found = facts.spf
    if found is None or not waits(found, settings):
        return None
    if facts.spf_excuse:
        return _note(found, f"; the DKIM signature of {facts.spf_excuse} excuses it")
    return _refusal(found, settings, "; no aligned DKIM signature excuses it")


def _note(found: SpfResult, more: str = "") -> Verdict:
    return Verdict(NAME, _NOTHING, f"{_reason(found)}{more}", action="note")


def _reason(found: SpfResult) -> str:
    why = found.reason or f"{found.mechanism} in the record of {found.found_at}"
    return f"SPF {found.result} for {found.domain}: {why}"


def excusing(signatures: Iterable[DkimResult], domains: Iterable[str]) -> str:
    """The domain of the first passing signature that is aligned with one of `domains` ("" is none), "" for none.

    Aligned: the same, above or below it, as in DMARC's relaxed mode where both have their records in one zone (RFC
    7489 §3.1.1). What a domain that is only trying DKIM has signed proves nothing (RFC 6376 §3.6.1).
    """
    wanted = [domain for domain in domains if domain]
    for each in signatures:
        if each.result == "pass" and not each.is_testing and any(_are_in_line(each.domain, one) for one in wanted):
            return each.domain
    return ""


def _are_in_line(one: str, other: str) -> bool:
    """Whether they are the same domain, or one is below the other; a top-level domain is nobody's."""
    shorter, longer = sorted((one, other), key=len)
    return "." in shorter and (shorter == longer or longer.endswith(f".{shorter}"))


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
    return Verdict(NAME, reply, f"{_reason(found)}{more}")


CHECK = Check(
    NAME,
    "the sender's domain lets this peer send in its name (SPF)",
    (
        Step(Stage.MAIL, decide, needs=("spf",), reads=("spf",)),
        # `last`: signatures are verified by then, for the check that they have of their own.
        Step(Stage.MESSAGE, decide_content, needs=("spf_excuse",), reads=("spf",), last=True),
    ),
    {"mx": "enforce"},
    Settings(),
    strangers_only=True,
)
