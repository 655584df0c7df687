"""`message.size`: announced by the SIZE parameter (RFC 1870), then the octets themselves."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import Octets, show_size
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SMTP_SERVICES, MailFacts, MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "message.size"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """limit: octets of a message, header section included."""

    limit: Octets = 50 * 2**20


def announced(facts: MailFacts, settings: Settings) -> Verdict | None:
    return _verdict(facts.size, settings, "announced") if facts.size is not None else None


def arrived(facts: MessageFacts, settings: Settings) -> Verdict | None:
    return _verdict(facts.octets, settings, "arrived")


def _verdict(octets: int, settings: Settings, how: str) -> Verdict | None:
    if octets <= settings.limit:
        return None
    reply = Reply(552, "5.3.4", f"Message too large: at most {show_size(settings.limit)} are accepted")
    return Verdict(NAME, reply, f"{octets} octets {how}, {settings.limit} are allowed")


CHECK = Check(
    NAME,
    "the size of a message, as announced and as it arrived",
    (Step(Stage.MAIL, announced, reads=("size",)), Step(Stage.MESSAGE, arrived, reads=("octets",))),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
