"""A sudden rise of what an account sends: its password, or its owner's machine, is in other hands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from gatepost.audit.detectors.model import DAY, LOCAL, Finding, Seen, found
from gatepost.audit.settings import Sending

NAME: Final = "sending"
HOUR: Final = 3600.0


def sudden_rise(account: str, seen: Sequence[Seen], settings: Sending) -> Finding | None:
    """An account that sent many times more in the last hour than in any hour before, or from many addresses at once.

    From networks that it has used for over a day much more is let pass: who sends a circular from home is no thief, and
    `sender.rate` sets the limit. Only an account that is used from elsewhere is to be held.
    """
    now = max((each.until for each in seen), default=0.0)
    sent = [each for each in seen if each.deed == "sent" and each.until > now - settings.history]
    hour = [each for each in sent if each.until > now - HOUR]
    if not hour:
        return None
    began = min(each.at for each in hour)
    home = {each.network for each in seen if each.deed in ("login", "sent") and each.at < began - DAY} | {LOCAL}
    away = {each.network for each in hour} - home
    accounts = (account,) if away and settings.action == "hold" else ()
    if len(away) >= settings.addresses:
        reason = f"sent from {len(away)} addresses within an hour, none of which it had used before"
        return found(NAME, "many addresses", account, reason, hour, accounts=accounts)
    messages, recipients = sum(each.count for each in hour), sum(each.recipients for each in hour)
    most_messages, most_recipients = _busiest(sent, now)
    more = 1 if away else settings.home_factor
    for unit, number, least, most in (
        ("messages", messages, settings.messages, most_messages),
        ("recipients", recipients, settings.recipients, most_recipients),
    ):
        if number >= least * more and number >= settings.factor * more * most:
            where = (
                f"from {', '.join(sorted(away)[:3])}, which it had not used before" if away else "from where it is used"
            )
            reason = f"{number} {unit} within an hour, {most} in the busiest hour before; {where}"
            return found(NAME, "sudden rise", account, reason, hour, accounts=accounts)
    return None


def _busiest(sent: Sequence[Seen], now: float) -> tuple[int, int]:
    """Messages and recipients of the hours in which there were most, the last one left out. Each hour counts back from
    `now`."""
    messages, recipients = Counter[int](), Counter[int]()
    for each in sent:
        ago = int((now - each.until) // HOUR)
        if ago > 0:
            messages[ago] += each.count
            recipients[ago] += each.recipients
    return max(messages.values(), default=0), max(recipients.values(), default=0)
