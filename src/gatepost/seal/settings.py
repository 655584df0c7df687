"""What an administrator says about finding keys (`[seal]`); `config` fills it."""

from __future__ import annotations

from typing import Final

import msgspec

from gatepost.mail.units import Duration
from gatepost.seal.model import DiscoveryMethod

METHODS: Final[tuple[DiscoveryMethod, ...]] = ("pinned", "imported", "wkd", "autocrypt", "openpgpkey", "smimea")
"""In the order in which they are tried."""


class DiscoverySettings(msgspec.Struct, frozen=True):
    """discovery: in this order; what is not listed is not asked. cache, cache_absence: seconds that a found key is
    used, and that a look-up in vain is not repeated. timeout: seconds for one request to a web server."""

    discovery: tuple[DiscoveryMethod, ...] = METHODS
    cache: Duration = 86400.0
    cache_absence: Duration = 3600.0
    timeout: Duration = 10.0
