"""What `[audit]` and `[detectors]` say."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gatepost.mail.units import Duration

Count = Annotated[int, msgspec.Meta(ge=1)]
DetectorMode = Literal["enforce", "shadow", "off"]
"""enforce: an alert, and what follows from it; shadow: the alert alone; off: it does not look."""


class AuditSettings(msgspec.Struct, frozen=True):
    """keep: seconds that a day of the record is kept after its end."""

    keep: float = 90 * 86400.0


class Guessing(msgspec.Struct, frozen=True, kw_only=True):
    """accounts: that one address fails with and never gets into. addresses: that fail at one account. failures: of one
    address at one account, without a login. window: how far back that is counted. ban: how long an address that
    guesses is banned, twice as long each further time."""

    mode: DetectorMode = "enforce"
    accounts: Count = 10
    addresses: Count = 20
    failures: Count = 100
    window: Duration = 86400.0
    ban: Duration = 3600.0


class Harvesting(msgspec.Struct, frozen=True, kw_only=True):
    """recipients: different ones of a stranger that do not exist. share: percent of all its recipients that these must
    be. window, ban: as for guessing."""

    mode: DetectorMode = "enforce"
    recipients: Count = 40
    share: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    window: Duration = 86400.0
    ban: Duration = 3600.0


class Relaying(msgspec.Struct, frozen=True, kw_only=True):
    """attempts: different pairs of sender and recipient, none of them ours, that an address wanted to pass on. domains:
    of these recipients; less is mail that was sent the wrong way, not a probe. window, ban: as for guessing."""

    mode: DetectorMode = "enforce"
    attempts: Count = 6
    domains: Count = 3
    window: Duration = 86400.0
    ban: Duration = 3600.0


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """messages, recipients: of one account in an hour, from which on a rise is looked at. factor: how many times the
    busiest hour before. home_factor: how much more is let pass from networks that the account has used for over a day.
    addresses: from which one account sends in an hour. history: how far back the hours before are known. action: what
    becomes of an account that is suddenly used from elsewhere."""

    mode: DetectorMode = "enforce"
    messages: Count = 60
    recipients: Count = 200
    factor: Count = 5
    home_factor: Count = 3
    addresses: Count = 10
    history: Duration = 7 * 86400.0
    action: Literal["hold", "alert"] = "hold"


class DetectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who is looked for in the record."""

    guessing: Guessing = Guessing()
    harvesting: Harvesting = Harvesting()
    relaying: Relaying = Relaying()
    sending: Sending = Sending()


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of alerts. mail: the postmaster. webhook: an https URL, "" for none. token: goes with it as a bearer
    token. private: the webhook may be a loopback or private address."""

    mail: bool = True
    webhook: str = ""
    token: str = ""
    private: bool = False
