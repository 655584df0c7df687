"""From events to what was seen of peers and accounts: one event may tell several things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gatepost.audit.detectors.model import LOCAL, Seen
from gatepost.audit.lines import Line, begins
from gatepost.policy.checks import recipient_exists, recipient_harvest, relay

OBSERVED: Final = begins("auth", "smtp.message")
"""With what the lines begin from which something may be seen."""


def seen_in(line: Line) -> Iterator[Seen]:
    """What `line` tells."""
    if line.kind == "auth":
        yield from _login(line)
    elif line.kind == "smtp.message" and line.service != "delivery":
        if line.login:
            yield from _sent(line)
        elif line.holder:
            yield from _tried(line)


def _login(line: Line) -> Iterator[Seen]:
    network = line.holder
    if not network:
        return  # a program of this machine is who the kernel says it is
    told = line.told()
    if "reason" in told:
        yield Seen(line.at, "failure", network, str(told.get("tried", "")), event=line.id)
    elif line.login:
        yield Seen(line.at, "login", network, line.login, event=line.id)


def _sent(line: Line) -> Iterator[Seen]:
    if line.reply.startswith("2"):
        network = line.holder or LOCAL
        yield Seen(line.at, "sent", network, line.login, recipients=len(line.recipients), event=line.id)


def _tried(line: Line) -> Iterator[Seen]:
    """What a stranger wanted to send, and to whom."""
    at, network = line.at, line.holder
    if line.recipients:
        yield Seen(at, "known", network, count=len(line.recipients))
    for verdict in line.verdicts:
        whom = verdict.facts.forward_path
        if verdict.verdict not in ("reject", "defer") or not isinstance(whom, str):
            continue
        if verdict.check in (recipient_exists.NAME, recipient_harvest.NAME):
            if verdict.verdict == "reject" or verdict.check == recipient_harvest.NAME:
                yield Seen(at, "unknown", network, whom=whom.lower(), event=line.id)
        elif verdict.check == relay.NAME and verdict.verdict == "reject":
            yield Seen(at, "relay", network, whom=whom.lower(), sender=(line.sender or "").lower(), event=line.id)
