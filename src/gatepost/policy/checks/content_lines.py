"""`content.lines`: how long lines and header sections may be, and 8-bit octets that nobody announced."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import Octets, show_size
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "content.lines"
MAX_LINE_OCTETS = 998  # RFC 5322 §2.1.1, without CRLF


class Settings(CheckSettings, frozen=True, kw_only=True):
    """longest_line: octets without CRLF. header: octets of the header section. fields: header fields."""

    longest_line: Octets = 65536
    header: Octets = 131072
    fields: int = 1000


def decide(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """What no honest program writes and what other programs break on."""
    header = facts.header
    if header.octets > settings.header:
        return _refusal(f"the header section has over {show_size(settings.header)}")
    if header.fields > settings.fields:
        return _refusal(f"there are more than {settings.fields} header fields")
    if facts.longest_line > settings.longest_line:
        return _refusal(f"a line is longer than {show_size(settings.longest_line)}")
    return None


def _refusal(what: str) -> Verdict:
    return Verdict(NAME, Reply(554, "5.6.0", f"Message not acceptable: {what}"), what)


def noted(facts: MessageFacts, settings: CheckSettings) -> Verdict | None:
    """Lines over 998 octets and undeclared 8-bit octets: wrong, and much honest mail has them."""
    if facts.longest_line > MAX_LINE_OCTETS:
        what = f"a line of {facts.longest_line} octets, {MAX_LINE_OCTETS} are allowed"
    elif facts.has_8bit and not facts.declared_8bit:
        what = "8-bit octets without BODY=8BITMIME"
    else:
        return None
    return Verdict(NAME, Reply(554, "5.6.0", f"Message not acceptable: {what}"), what)


CHECK = Check(
    NAME,
    "the longest line, the size of the header section and its number of fields",
    (
        Step(Stage.MESSAGE, decide, reads=("longest_line", "header.octets", "header.fields")),
        Step(Stage.MESSAGE, noted, reads=("longest_line", "has_8bit"), only_noted=True),
    ),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
