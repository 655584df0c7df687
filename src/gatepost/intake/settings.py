"""What intake is told: times, and how it treats what users submit."""

from __future__ import annotations

import msgspec

from gatepost.mail.units import Duration
from gatepost.protocol.smtp.limits import COMMAND_TIMEOUT


class IntakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """timeout: how long a peer may be silent (RFC 5321 §4.5.3.2.7). received_address: whether the Received field of
    submitted mail names the submitter's address. auth_delay: seconds that the answer to a failed login waits, for
    each failure so far."""

    timeout: Duration = COMMAND_TIMEOUT.total_seconds()
    received_address: bool = False
    auth_delay: Duration = 1.0
    longest_auth_delay: Duration = 5.0


class ListenerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one listener adds. xclient: XCLIENT is offered to `trusted` peers."""

    xclient: bool = False
