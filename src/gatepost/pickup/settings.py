"""What pickup is told."""

from __future__ import annotations

import msgspec

from gatepost.mail.units import Duration


class PickupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """timeout: how long a peer may be silent (RFC 1939 §3: 10 minutes or more). auth_delay: seconds that the answer to
    a failed login waits, for each failure so far. mistakes: commands refused before a login until the connection
    ends."""

    timeout: Duration = 600.0
    auth_delay: Duration = 1.0
    longest_auth_delay: Duration = 5.0
    mistakes: int = 20
