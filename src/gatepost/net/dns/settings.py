"""What an administrator says about the DNS (`[dns]`); `config` fills it."""

from __future__ import annotations

import msgspec


class DnsSettings(msgspec.Struct, frozen=True):
    """Whom to ask, and how far to believe them.

    resolvers: "address", "address:port" or "[v6]:port", asked in this order; empty: the system's.
    validating: they check DNSSEC and are reached safely, so that their AD bit is believed.
    timeout: seconds for a look-up as a whole, every retry included.
    """

    resolvers: tuple[str, ...] = ()
    validating: bool = False
    timeout: float = 10.0
