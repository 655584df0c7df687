"""`content.dkim`: who has signed the message, as a finding for the record, the next reader and later checks."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gatepost.mail.dkim import DkimResult
from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MessageFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "content.dkim"
_NOTHING = Reply(250, "2.0.0", "Message accepted")  # nobody hears it: a note refuses nothing


class Settings(CheckSettings, frozen=True, kw_only=True):
    """minimum_key_bits: shorter RSA keys prove nothing. max_signatures: that are looked at, from the top."""

    minimum_key_bits: Annotated[int, msgspec.Meta(ge=1024, le=4096)] = 1024
    max_signatures: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10


def decide(facts: MessageFacts, settings: Settings) -> Verdict | None:
    """Never a refusal: a signature that is broken or missing says no more than none (RFC 6376 §6.3). What was found is
    noted."""
    if not facts.dkim:
        return None
    reason = "; ".join(_said(result) for result in facts.dkim)
    return Verdict(NAME, _NOTHING, reason, action="note")


def _said(result: DkimResult) -> str:
    who = f" {result.domain}" if result.domain else ""
    key = f" ({result.algorithm}, {result.key_bits} bits)" if result.key_bits else ""
    testing = ", but the domain is only testing" if result.is_testing else ""
    return f"{result.result}{who}{key}{testing}{f': {result.reason}' if result.reason else ''}"


CHECK = Check(
    NAME,
    "DKIM signatures are verified and the results noted; nothing is refused for them",
    (Step(Stage.MESSAGE, decide, needs=("dkim",), reads=("dkim",)),),
    {"mx": "enforce"},
    Settings(),
    strangers_only=True,
)
