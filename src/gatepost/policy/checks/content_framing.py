"""`content.framing`: the end of data is CRLF.CRLF and nothing else, so nobody sees two messages where we see one."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import NetworkText
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "content.framing"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """repair: peers of `relay.networks`, as CIDR, whose bare LF is made CRLF before it is read (an old scanner)."""

    repair: tuple[NetworkText, ...] = ()


def decide(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """Bare CR, bare LF and NUL are refused (RFC 5321 §2.3.8, §4.5.2), and the connection ends: a next host that
    takes a bare LF for a line end would read commands in the middle of this message."""
    if not facts.defects:
        return None
    found = ", ".join(facts.defects)
    return Verdict(NAME, Reply(550, "5.6.0", "Lines must end in CR LF; bare CR, bare LF and NUL are not accepted"),
                   f"found {found} in the content", close=True)  # fmt: skip


CHECK = Check(
    NAME,
    "only CRLF ends lines and only CRLF.CRLF ends data",
    (Step(Stage.MESSAGE, decide, reads=("defects",)),),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
    optional=False,
)
